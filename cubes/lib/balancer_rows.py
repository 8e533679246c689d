"""The rows of all services of a load balancer, built incrementally.

An agent calls it repeatedly, with the same services but for one. Then the answer is the last one without the rows of removed
services and with those of added ones: it equals a build of all services (tests/services/lbrp/test_edits.py), and where it
might not, everything is built.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cubes.lib import maglev
from cubes.lib.balancer import ECHO, Config, Layouts, Made, Rows, echo_key, make
from cubes.lib.layout import pack
from cubes.lib.vip_marks import marks, marks_after
from reconciler.service.sdk import EntryMemo, Owned, row_delta, unchanged

TABLES = ("services", "members", "rings", "client_ranges")
_MOST = 256  # services; more that come and go at once are put together anew
_FEW = 32  # services; so many are not remembered


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """The rows of these services. `numbers` are theirs; None: some differ from what follows from their names, because of
    collisions. `at` has the services by virtual address."""

    made: Sequence[Made]
    rows: Mapping[str, Rows]
    numbers: frozenset[int] | None
    at: Mapping[bytes, tuple[Made, ...]]


@dataclass(slots=True)
class _Partial:
    """What follows from a service without some of its backends: the last answer, since a long ring takes a while."""

    service: Config | None = None
    down: frozenset[str] = frozenset()
    made: Made | None = None


_SERVICES: Owned[EntryMemo[Made]] = Owned(EntryMemo)
_ANSWERS: Owned[deque[_Answer]] = Owned(lambda: deque(maxlen=8))
_OF_A_LIST = 2  # what is in force, and what is planned
_PARTIAL = Owned(_Partial)  # by the service's name


def derive(config: Config, layouts: Layouts, down: frozenset[str] = frozenset()) -> Mapping[str, Rows]:
    """Rows by table. `down`: the backends of services with a health-check that are to be left out (lib/health.py)."""
    services = config.get("service", ())
    made: Sequence[Made] = _SERVICES().each(services, lambda _, service: make(service, layouts))
    if down:
        made = [_without(services[place], whole, down, layouts) for place, whole in enumerate(made)]
    if len(made) < _FEW:
        return _anew(services, made, layouts, down).rows
    answers = _ANSWERS()
    related = [known for known in answers if known.made[0] is made[0] or known.made[-1] is made[-1]]
    for known in related:
        if known.made is made:
            return known.rows
    edited = (_edited(known, made, layouts) for known in related)
    answer = next((found for found in edited if found is not None), None) or _anew(services, made, layouts, down)
    for old in related[_OF_A_LIST - 1 :]:
        answers.remove(old)
    answers.appendleft(answer)
    return answer.rows


def _without(service: Config, whole: Made, down: frozenset[str], layouts: Layouts) -> Made:
    own = whole.asked & down
    if not own:
        return whole
    known = _PARTIAL.of(whole.name)
    if known.made is None or known.service is not service or known.down != own:
        known.service, known.down, known.made = service, own, make(service, layouts, down=own)
    return known.made


def _anew(services: Sequence[Config], made: Sequence[Made], layouts: Layouts, down: frozenset[str]) -> _Answer:
    rows: dict[str, Rows] = {name: {} for name in TABLES}
    taken: set[int] = set()
    at: dict[bytes, tuple[Made, ...]] = {}
    moved = False
    for place in sorted(range(len(made)), key=lambda place: made[place].order):
        each = made[place]
        if each.number in taken:
            moved, other = True, maglev.number(each.name, taken)
            each = make(services[place], layouts, number=other, down=down & each.asked)
        taken.add(each.number)
        at[each.vip] = (*at.get(each.vip, ()), each)
        for name in TABLES:
            rows[name].update(each.rows[name])
    rows["services"].update(_echoes(at, at, layouts))
    rows["vip_marks"] = marks(at)
    return _Answer(made, rows, None if moved else frozenset(taken), at)


def _echoes(vips: Iterable[bytes], at: Mapping[bytes, tuple[Made, ...]], layouts: Layouts) -> Rows:
    """Which service gets echo requests to these addresses: the first one that handles them; if none does, they are answered
    here."""
    answers = pack(layouts["services"].value, flags=ECHO)
    return {echo_key(layouts, vip): next((each.word for each in at[vip] if each.echoes), answers) for vip in vips}


def _edited(known: _Answer, made: Sequence[Made], layouts: Layouts) -> _Answer | None:
    start, rest = unchanged(known.made, made)
    gone, new = known.made[start : len(known.made) - rest], made[start : len(made) - rest]
    if known.numbers is None or len(gone) + len(new) > _MOST:
        return None
    numbers = known.numbers.difference(each.number for each in gone)
    wanted = {each.number for each in new}
    if len(wanted) < len(new) or not numbers.isdisjoint(wanted):
        return None
    at, vips = dict(known.at), {each.vip for each in (*gone, *new)}
    for vip in vips:
        kept = [each for each in at.get(vip, ()) if all(each is not one for one in gone)]
        at[vip] = tuple(sorted((*kept, *(each for each in new if each.vip == vip)), key=lambda each: each.order))
    there = {vip for vip in vips if at[vip]}
    before = {name: _rows_of(gone, name) for name in TABLES}
    after = {name: _rows_of(new, name) for name in TABLES}
    before["services"] |= dict.fromkeys((echo_key(layouts, vip) for vip in vips), b"")
    after["services"] |= _echoes(there, at, layouts)
    for vip in vips - there:
        del at[vip]
    rows = {name: _changed(known.rows[name], before[name], after[name]) for name in TABLES}
    rows["vip_marks"] = marks_after(known.rows["vip_marks"], (vip for vip in vips if (vip in at) != (vip in known.at)), at)
    return _Answer(made, rows, numbers | wanted, at)


def _rows_of(some: Iterable[Made], table: str) -> Rows:
    return {key: row for each in some for key, row in each.rows[table].items()}


def _changed(rows: Rows, before: Rows, after: Rows) -> Rows:
    """The same object, if nothing is another one: it is not compared again."""
    gone = [key for key in before.keys() - after.keys() if key in rows]
    more = {key: row for key, row in after.items() if rows.get(key) != row}
    return row_delta(rows, gone, more) if gone or more else rows
