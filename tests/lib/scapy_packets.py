"""scapy's idea of packets: the oracle for what the C library reads and writes. Of scapy only layers are used: it sends nothing here."""
from __future__ import annotations

import logging
import warnings

logging.getLogger("scapy").setLevel(logging.ERROR)  # on import it tells of interfaces and routes that it does not find
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of scapy's own imports
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_RR
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6NDOptDstLLAddr,
        ICMPv6NDOptSrcLLAddr,
        ICMPv6PacketTooBig,
        ICMPv6TimeExceeded,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
    from scapy.packet import Packet, Raw
    from scapy.utils import checksum as scapy_checksum

__all__ = ["ARP", "ICMP", "IP", "TCP", "UDP", "Dot1AD", "Dot1Q", "Ether", "ICMPv6DestUnreach", "ICMPv6EchoReply", "ICMPv6EchoRequest",
           "ICMPv6NDOptDstLLAddr", "ICMPv6NDOptSrcLLAddr", "ICMPv6ND_NA", "ICMPv6ND_NS", "ICMPv6PacketTooBig", "ICMPv6TimeExceeded",
           "IPOption", "IPOption_RR", "IPv6", "IPv6ExtHdrDestOpt", "IPv6ExtHdrFragment", "IPv6ExtHdrHopByHop", "IPv6ExtHdrRouting",
           "Packet", "Raw", "built", "scapy_checksum"]  # fmt: skip


def built(packet: Packet, least: int = 0) -> bytes:
    """The frame on the wire, with lengths and checksums filled in, and padded to `least` bytes."""
    return bytes(packet).ljust(least, b"\0")
