"""The version of a firewall's sets, as the two rows of `set_versions` (bpf/firewall/firewall.h).

A change writes the next number to the other row, and deletes the previous row after the removed members: rows are deleted in the
order of their tables' names, and `set_hosts` and `set_prefixes` sort before `set_versions`. So a packet that matched a removed
member has a version that is outdated afterwards. Beside the number is a digest of the members: if a change was interrupted
before the number was written, the next one finds another digest.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from cubes.lib.epochs import INDEX, Rows

ROW = struct.Struct("=I4xQ")  # struct set_version


def version_rows(live: Mapping[str, Mapping[bytes, bytes]], digest: int | None) -> Rows:
    """The present row, or the next one if the digest of the sets differs. None: no rematch, so the present row stays."""
    rows = {key: row for key, row in live.get("set_versions", {}).items() if any(row)}
    key, row = max(rows.items(), key=lambda each: ROW.unpack(each[1])[0], default=(INDEX.pack(1), bytes(ROW.size)))
    number, known = ROW.unpack(row)
    if digest is None or (number and known == digest):
        return {key: row} if number else {}
    return {INDEX.pack(1 - INDEX.unpack(key)[0]): ROW.pack(number + 1, digest)}
