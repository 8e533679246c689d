"""BPF objects that are new after a test, and whose they are.

    ledger = Ledger()
    before = residue.snapshot()
    ...
    ledger.note(before, "the test's name")   # cheap: asks for ids only
    ledger.check()                           # those of some time ago; raises AssertionError
    ledger.settle()                          # at the end: all

BPF ids are the whole machine's. With runs side by side most of what is new was made by another one, and to find that out costs
more than a test does: what is open or pinned elsewhere can be seen, at a price, but what is merely attached, or is in a table of
programs, can only be waited for. So what is new is noted with the name of the test, and judged when whoever made it has had time
to take it away.
"""
from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.lib import residue

_LATER = 60.0  # seconds; longer than all but a few tests take
_Object = tuple[str, int]  # kind and id, which the kernel does not give twice


@dataclass
class ObjectLedger:
    noted: dict[_Object, tuple[str, float]] = field(default_factory=dict)  # the test, and when

    def note(self, before: residue.Snapshot, test: str) -> None:
        """What is there now and was neither before the test nor noted of an earlier one."""
        there = residue.objects()
        self.noted = {each: note for each, note in self.noted.items() if each in there}
        for kind, identity in there:
            if identity not in getattr(before, kind):
                self.noted.setdefault((kind, identity), (test, time.monotonic()))

    def check(self, older_than: float = _LATER) -> None:
        """Judge what was noted `older_than` seconds ago or earlier, once. Raises AssertionError."""
        now = time.monotonic()
        due = {each: test for each, (test, since) in self.noted.items() if now - since >= older_than}
        if due:
            left = self._ours(due)
            for each in due:
                del self.noted[each]
            _refuse(left)

    def settle(self, wait: float = _LATER) -> None:
        """Judge all that was noted, and give what others made `wait` seconds to go. Raises AssertionError."""
        began = time.monotonic()
        left = self._ours({each: test for each, (test, _) in self.noted.items()})
        while left and time.monotonic() - began < wait:
            time.sleep(0.05)
            left = self._ours(left)
        _refuse(left)

    @staticmethod
    def _ours(candidates: dict[_Object, str]) -> dict[_Object, str]:
        """Those that are still there, and that no other process has open or pinned."""
        if not candidates:  # an ordinary user, who notes nothing, may not even ask
            return {}
        there = residue.objects()
        candidates = {each: test for each, test in candidates.items() if each in there}
        held = residue.held_elsewhere() if candidates else {}
        return {(kind, identity): test for (kind, identity), test in candidates.items() if identity not in held[kind]}


def _refuse(left: dict[_Object, str]) -> None:
    if left:
        raise AssertionError("left behind: " + "; ".join(f"{kind} {identity} by {test}" for (kind, identity), test in left.items()))
