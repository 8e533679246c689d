"""A filter's text on stdin, its classic BPF on stdout; libpcap's message on stderr and exit code 65 if it is invalid.

Run as a script, by `libpcap`: libpcap's parser is C that reads untrusted text, and would resolve host names by DNS. So this
process has no network, does not stay root, and is short-lived. It imports nothing of pcn's.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

NOT_THERE, REFUSED = 69, 65  # sysexits: EX_UNAVAILABLE, EX_DATAERR
_ETHERNET, _ALL, _NO_NETMASK = 1, 262144, 0xFFFFFFFF  # DLT_EN10MB, bytes, PCAP_NETMASK_UNKNOWN
_NEW_USER, _NEW_NET, _NO_NEW_PRIVS = 0x10000000, 0x40000000, 38
_NOBODY = 65534
LIBRARIES = ("libpcap.so.1", "libpcap.so.0.8")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


def _library() -> ctypes.CDLL:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    sys.exit(NOT_THERE)


def _confine() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "__nss_configure_lookup"):  # host names are resolved by /etc/hosts only
        libc.__nss_configure_lookup(b"hosts", b"files")
    if libc.unshare(_NEW_NET) and libc.unshare(_NEW_USER | _NEW_NET):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # no socket can be opened; nor /etc/services
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError:  # root of a user namespace without other ids
            pass
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, most in ((resource.RLIMIT_CPU, 2), (resource.RLIMIT_AS, 1 << 30), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (most, most))


def main() -> None:
    text = sys.stdin.buffer.read()
    pcap = _library()
    _confine()
    pcap.pcap_open_dead.restype, pcap.pcap_geterr.restype = ctypes.c_void_p, ctypes.c_char_p
    handle, program = ctypes.c_void_p(pcap.pcap_open_dead(_ETHERNET, _ALL)), _Program()
    if pcap.pcap_compile(handle, ctypes.byref(program), text, 1, ctypes.c_uint(_NO_NETMASK)):
        sys.stderr.write(pcap.pcap_geterr(handle).decode(errors="replace"))
        sys.exit(REFUSED)
    sys.stdout.buffer.write(ctypes.string_at(program.instructions, 8 * program.length))


if __name__ == "__main__":
    main()
