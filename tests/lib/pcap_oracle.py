"""libpcap itself, in this process: what it compiles a filter to, and what it says of frames."""

from __future__ import annotations

import ctypes


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


class _Header(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("micros", ctypes.c_long), ("captured", ctypes.c_uint), ("length", ctypes.c_uint))


class Oracle:
    """One filter, as text or in classic BPF. Raises ValueError for a text that is none."""

    def __init__(self, said: str | bytes) -> None:
        self._pcap = ctypes.CDLL("libpcap.so.0.8")
        self._pcap.pcap_open_dead.restype, self._pcap.pcap_offline_filter.restype = ctypes.c_void_p, ctypes.c_uint
        if isinstance(said, str):
            self._compile(said)
        else:
            self.classic, self._kept = said, ctypes.create_string_buffer(said)
            self._program = _Program(len(said) // 8, ctypes.addressof(self._kept))

    def _compile(self, text: str) -> None:
        handle, self._program = ctypes.c_void_p(self._pcap.pcap_open_dead(1, 262144)), _Program()
        if self._pcap.pcap_compile(handle, ctypes.byref(self._program), text.encode(), 1, ctypes.c_uint(0xFFFFFFFF)):
            raise ValueError(text)
        self.classic = ctypes.string_at(self._program.instructions, 8 * self._program.length)

    def wants(self, frame: bytes) -> int:
        """How many bytes of it."""
        header = _Header(0, 0, len(frame), len(frame))
        return int(self._pcap.pcap_offline_filter(ctypes.byref(self._program), ctypes.byref(header), frame))
