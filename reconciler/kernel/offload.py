"""Offloads of a netdev, by the ethtool ioctl: three of them affect whether packets arrive, and in which form.

These are properties of veths, and tested (tests/kernel/test_offload.py, test_vlan_tags.py):

- A frame that XDP redirects into a veth reaches the other end only if that end polls (NAPI): if GRO is on there, or an
  XDP program is. Otherwise the kernel drops it silently.
- TCP from a host whose packets are forwarded by XDP does not connect while that host leaves checksums to its "hardware":
  the redirect loses the mark that the checksum is not computed yet. TX checksumming must be off at the sending end.
- A VLAN tag that the sender's kernel keeps beside the packet ("hardware" inserts it) is not seen by an XDP program, and a
  redirect of native XDP loses it: the frame arrives untagged. TX VLAN insertion must be off at the sending end, of 802.1Q
  and 802.1ad tags; then the kernel writes the tag into the frame.
"""
from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from reconciler.errors import kernel_error
from reconciler.kernel import netns as namespaces

Offload = Literal["rx-checksum", "tx-checksum", "tso", "gso", "gro", "tx-vlan"]

_SIOCETHTOOL = 0x8946
# ETHTOOL_G… and ETHTOOL_S… of <linux/ethtool.h>
_COMMANDS: dict[Offload, tuple[int, int]] = {
    "rx-checksum": (0x14, 0x15),
    "tx-checksum": (0x16, 0x17),
    "tso": (0x1E, 0x1F),
    "gso": (0x23, 0x24),
    "gro": (0x2B, 0x2C),
}
# The others are features: bits whose positions differ between kernels, and are found by name in the kernel's list.
_FEATURES: dict[Offload, frozenset[bytes]] = {"tx-vlan": frozenset((b"tx-vlan-hw-insert", b"tx-vlan-stag-hw-insert"))}
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_FEATURE_NAMES, _NAME = 4, 32  # ETH_SS_FEATURES, ETH_GSTRING_LEN


def get(name: str, offload: Offload, netns: str | None = None) -> bool:
    """Whether an offload is on. Raises KernelError (ENODEV: no such netdev; EOPNOTSUPP: the netdev has no such offload)."""
    attempt = f"read the offload {offload} of '{name}'"
    with _asked(name, netns, attempt) as ethtool:
        return _is_on(ethtool, offload)


def put(name: str, offload: Offload, on: bool, netns: str | None = None) -> bool:
    """Switch an offload; True if that changed it. Raises KernelError, also if the netdev ignores the request."""
    if get(name, offload, netns) == on:
        return False
    attempt = f"switch the offload {offload} of '{name}' {'on' if on else 'off'}"
    with _asked(name, netns, attempt) as ethtool:
        _switch(ethtool, offload, on)
        if _is_on(ethtool, offload) != on:
            raise kernel_error(attempt, errno.EOPNOTSUPP, "the netdev has this offload fixed")
    return True


_Ethtool = Callable[[bytes], bytes]  # one ioctl: takes a command with its arguments, returns the buffer with the results


@contextmanager
def _asked(name: str, netns: str | None, attempt: str) -> Iterator[_Ethtool]:
    with namespaces.inside(netns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:

        def ethtool(command: bytes) -> bytes:
            argument = ctypes.create_string_buffer(command, len(command))
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(argument)))
            return argument.raw

        try:
            yield ethtool
        except OSError as failure:
            raise kernel_error(attempt, failure.errno or 0) from failure


def _is_on(ethtool: _Ethtool, offload: Offload) -> bool:
    """Whether an offload is on; a feature of several bits if any is, since the netdev may lack some of them."""
    if offload in _COMMANDS:
        return bool(struct.unpack_from("=I", ethtool(struct.pack("=II", _COMMANDS[offload][0], 0)), 4)[0])
    bits, blocks = _bits(ethtool, offload)
    state = ethtool(struct.pack("=II", _GFEATURES, blocks) + bytes(16 * blocks))
    return any(_word(state, 8 + 16 * (bit // 32) + 8) >> bit % 32 & 1 for bit in bits)


def _switch(ethtool: _Ethtool, offload: Offload, on: bool) -> None:
    if offload in _COMMANDS:
        ethtool(struct.pack("=II", _COMMANDS[offload][1], int(on)))
        return
    bits, blocks = _bits(ethtool, offload)
    words = [0] * 2 * blocks  # two for each block: the mask of bits to change, and their values
    for bit in bits:
        words[2 * (bit // 32)] |= 1 << bit % 32
        words[2 * (bit // 32) + 1] |= on << bit % 32
    ethtool(struct.pack(f"=II{len(words)}I", _SFEATURES, blocks, *words))


def _bits(ethtool: _Ethtool, offload: Offload) -> tuple[list[int], int]:
    """The bits of a feature on this kernel, and the number of blocks of 32 bits."""
    count = _word(ethtool(struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _FEATURE_NAMES, 0)), 16)
    names = ethtool(struct.pack("=III", _GSTRINGS, _FEATURE_NAMES, count) + bytes(_NAME * count))[12:]
    found = [bit for bit in range(count) if names[bit * _NAME : (bit + 1) * _NAME].rstrip(b"\0") in _FEATURES[offload]]
    return found, (count + 31) // 32


def _word(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", raw, offset)[0])
