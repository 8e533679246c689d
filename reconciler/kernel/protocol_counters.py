"""Counters of the kernel's protocols in this network namespace (/proc/net/snmp), read lazily."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

_FILE = "/proc/thread-self/net/snmp"


class ProtocolCounters(Mapping[str, Mapping[str, int]]):
    """Counters by protocol and by name, such as ["Tcp"]["AttemptFails"]. Empty where there is no such file."""

    def __getitem__(self, protocol: str) -> Mapping[str, int]:
        return self._read[protocol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    @functools.cached_property
    def _read(self) -> dict[str, dict[str, int]]:
        try:
            with open(_FILE, encoding="ascii") as file:
                lines = [line.split() for line in file]
        except OSError:
            return {}
        pairs = zip(lines[::2], lines[1::2], strict=False)  # a line of names, and one of values
        return {names[0].rstrip(":"): dict(zip(names[1:], map(int, values[1:]), strict=True)) for names, values in pairs}
