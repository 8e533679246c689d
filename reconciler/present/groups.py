"""The steps of a plan, grouped by the cube, netdev or namespace that they belong to, with a line for each change.

The purpose of steps is reported; their mechanics (directories, stubs, hops that follow from a peer) are only counted. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler import pins
from reconciler.present import ROWS, ROWS_IN_TEXT
from reconciler.present.leaves import changed_leaves, counted, value_words
from reconciler.present.renumbered import changed_entries

Steps = Sequence[Mapping[str, Any]]
MARKS = {"create": "+", "enter": "+", "delete": "-"}
"""Any other action is a change: ~. A loss is !."""


@dataclass(slots=True)
class ChangeGroup:
    """The changes of one object: `about` is printed beside its name, `lines` are (mark, text) below it; `objects` are the
    addresses of its steps."""

    name: str
    mark: str = "~"
    about: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)


def grouped(steps: Steps, configurations: Mapping[str, Any]) -> list[ChangeGroup]:
    """Steps by their object, in the order of their first step. Steps for bookkeeping have no group. `configurations`: the
    changes of cubes' configurations, where their rows do not show them."""
    by_subject: dict[str, list[Mapping[str, Any]]] = {}
    for step in _one_each(steps):
        by_subject.setdefault(_home(step), []).append(step)
    for cube in configurations:  # even without steps: if only a description changes
        by_subject.setdefault(f"cube/{cube}", [])
    groups = []
    for subject, own in by_subject.items():
        kind, _, name = subject.partition("/")
        group = ChangeGroup(name or kind, objects={address for step in own for address in (step["address"], step["subject"])})
        for step in own:
            for what, number in step["counts"].items():
                group.counts[what] = group.counts.get(what, 0) + number
        filler = _FILLERS.get(kind)
        if kind == "cube" and name in configurations:
            group.lines += _configuration_lines(configurations[name], own)
        if filler is not None:
            filler(group, own)
        group.lines += dict.fromkeys(("!", f"connections cut: {step['cuts']}") for step in own if step["cuts"])
        if group.lines or group.about or group.counts:
            groups.append(group)
    return _together(groups) or list(_texts(steps))


def _texts(steps: Steps) -> Iterator[ChangeGroup]:
    """Topologies whose stored document changes; shown if nothing else does."""
    for step in steps:
        kind, _, name = step["subject"].partition("/")
        if kind == "topology" and step["action"] == "update":
            yield ChangeGroup(name, about="its text alone, of which nothing in the kernel depends")


def _one_each(steps: Steps) -> Iterator[Mapping[str, Any]]:
    """The steps, with one for each netdev of a batch deletion."""
    for step in steps:
        if step["operation"] != "delete_links":
            yield step
            continue
        for name, about in step["before"].items():
            netns, _, netdev = name.rpartition("/")
            yield {
                **step,
                "address": f"link/{netns}:{netdev}",
                "subject": f"netdev/{name}",
                "before": about,
                "counts": {"link_changes": 1},
            }


_OF_SHADOW = f"cube/{pins.shadow('')}"


def _home(step: Mapping[str, Any]) -> str:
    subject = str(step["subject"])
    if subject.startswith("leftover/"):
        return "leftovers"
    if subject.startswith(_OF_SHADOW):
        return f"shadow/{subject.removeprefix(_OF_SHADOW)}"
    return "flood pairs" if pins.is_hidden(subject.removeprefix("netdev/")) else subject


def _together(groups: Iterable[ChangeGroup]) -> list[ChangeGroup]:
    """Consecutive namespaces with the same mark share a group."""
    found: list[ChangeGroup] = []
    for group in groups:
        last = found[-1] if found else None
        if last is not None and group.name == "namespace" and last.name.startswith("namespace") and last.mark == group.mark:
            last.name, last.about = "namespaces", f"{last.about}, {group.about}"
        else:
            found.append(group)
    return found


def _fill_namespace(group: ChangeGroup, steps: Steps) -> None:
    group.mark = MARKS.get(steps[0]["action"], "~")
    group.about = group.name if group.mark != "~" else f"{group.name} {steps[0]['reason']}"
    group.name = "namespace"


def _fill_leftovers(group: ChangeGroup, steps: Steps) -> None:
    group.mark, group.about = "-", f"{counted(len(steps), 'object')} that an interrupted apply left"


def _fill_flood_pairs(group: ChangeGroup, steps: Steps) -> None:
    made = {mark for step in steps if step["address"].startswith("link/") and (mark := MARKS.get(step["action"]))}
    group.mark = made.pop() if len(made) == 1 else "~"
    told = any(step["operation"] == "tell_end" for step in steps)
    group.about = "hidden veths for copies to other cubes" + (", and into the namespaces of shadows" if told else "")


def _fill_shadow(group: ChangeGroup, steps: Steps) -> None:
    made = [MARKS.get(step["action"], "~") for step in steps if step["address"] == f"cube/{pins.shadow(group.name)}"]
    group.mark = made[0] if made else "~"
    group.about = f"of {group.name}, the netdevs in {pins.shadow_namespace(group.name)}"
    group.name = "shadow"


# -- netdevs --------------------------------------------------------------------------------------------------------------


def _fill_netdev(group: ChangeGroup, steps: Steps) -> None:
    made = [step for step in steps if step["action"] in ("create", "delete") and step["address"].startswith("link/")]
    anew = {step["action"] for step in made} == {"create", "delete"}
    if made:
        group.mark = "~" if anew else MARKS[made[-1]["action"]]
        group.about = made[-1]["after"] or made[-1]["before"]
    if anew:
        group.lines.append(("!", made[0]["reason"]))
    for step in steps:
        if step["operation"] == "configure_end":
            group.lines += _settings(step, group, new=bool(made))
        elif step["operation"] == "set_offload":
            words = [text for _, text in changed_leaves(step["before"], step["after"])]
            group.lines.append(("~", f"{', '.join(words)} ({step['reason']})"))
        elif step["operation"] == "set_promiscuous":
            group.lines.append(("~", f"promiscuous: {'on' if step['action'] == 'create' else 'off'} ({step['reason']})"))
    if not made:
        group.lines += _hooks(steps)
        if len(group.lines) == 1:
            group.mark = group.lines[0][0]


def _settings(step: Mapping[str, Any], group: ChangeGroup, *, new: bool) -> Iterator[tuple[str, str]]:
    """Changed settings of a netdev's ends; those of a new netdev in one line for each end."""
    for end, wanted in step["after"].items():
        if new:
            words = ", ".join(value_words(value) for value in wanted.values())
            yield "+", f"{end}: {words}" if end != group.name else words
            continue
        prefix = "" if end == group.name else f"{end} "
        for mark, text in changed_leaves(step["before"][end], wanted):
            yield mark, prefix + text


def _hooks(steps: Steps) -> Iterator[tuple[str, str]]:
    for mark, verb in (("+", "attached at"), ("~", "leads elsewhere at"), ("-", "detached from")):
        points = [
            step["address"].rpartition("/")[2]
            for step in steps
            if step["address"].startswith("hook/") and MARKS.get(step["action"], "~") == mark
        ]
        if points:
            yield mark, f"{verb} {', '.join(dict.fromkeys(points))}"


# -- cubes ----------------------------------------------------------------------------------------------------------------


def _fill_cube(group: ChangeGroup, steps: Steps) -> None:
    own = [step for step in steps if step["address"] == f"cube/{group.name}"]
    replaced = next((step for step in own if step["action"] == "replace"), None)
    if replaced is not None:
        group.about = f"{replaced['before']} -> {replaced['after']}"
        group.lines.append(("!", "is made anew: what it learned and counted is lost"))
    elif own and own[0]["action"] in MARKS:
        group.mark = MARKS[own[0]["action"]]
        group.about = own[0]["after"] or own[0]["before"] or ""
    elif own:
        group.about = f"{own[0]['reason']}: {own[0]['before']} -> {own[0]['after']}"
    group.lines += _port_lines(steps)
    for step in steps:
        if step["operation"] in ROWS:
            group.lines += _row_lines(step)
        elif replaced is None and group.mark == "~":
            group.lines += _inner_lines(step)
    group.lines = _without_switches(dict.fromkeys(group.lines))  # two programs with the same constant have the same line
    if not group.lines and not group.about:
        group.lines += _derived_lines(steps)
    if not group.about:
        group.lines += _way_lines(steps if not group.lines else [step for step in steps if step["disruption"] != "none"])


def _without_switches(lines: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without 'LIST has entries', if entries of the list are reported."""
    lines = list(lines)
    lists = {words.partition("[")[0] for _, words in lines}
    switches = {f"{name} has entries" for name in lists}
    return [(mark, words) for mark, words in lines if words.partition(": ")[0] not in switches]


def _port_lines(steps: Steps) -> Iterator[tuple[str, str]]:
    for step in steps:
        _, _, inner = step["address"].partition("/")[2].partition("/")
        kind, _, name = inner.partition("/")
        if kind != "port":
            continue
        before, after, mark = step["before"], step["after"], MARKS.get(step["action"], "~")
        if mark == "~":
            yield mark, f"port {name}: {before} -> {after}"
        else:
            peer = before if after is None else after
            yield mark, f"port {name}" + (f" -> {peer}" if peer != "-" else "")


def _configuration_lines(changed: Mapping[str, Any], steps: Steps) -> Iterator[tuple[str, str]]:
    """Changes of a configuration, except entries that are reported as rows."""
    rows = {entry for step in steps if step["operation"] in ROWS for side in ("before", "after") for entry in step[side] or ()}
    before, after = ({entry: each for entry, each in changed[side].items() if entry not in rows} for side in ("before", "after"))
    yield from changed_entries(before, after)


def _derived_lines(steps: Steps) -> Iterator[tuple[str, str]]:
    """The number of derived rows that change; -v shows their tables."""
    unsaid = [step for step in steps if step["operation"] in ROWS and not (step["before"] or step["after"])]
    if rows := sum(number for step in unsaid for number in step["counts"].values()):
        yield "~", f"{counted(rows, 'row')} that its configuration comes to"


def _row_lines(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not (step["before"] or step["after"]):
        return
    before, after = step["before"] or {}, step["after"] or {}
    shown = list(changed_leaves(before, after))[:ROWS_IN_TEXT]
    yield from shown
    rest = sum(step["counts"].values()) - max(len(before), len(after))
    if rest > 0:
        yield (shown[0][0] if shown else "~"), f"… and {counted(rest, 'more row')}"


def _inner_lines(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Changes of programs and tables, of a cube that is not replaced."""
    name, operation = step["address"].rpartition("/")[2], step["operation"]
    if operation == "load_program":
        leaves = list(changed_leaves(step["before"], step["after"])) if isinstance(step["after"], Mapping) else []
        yield from leaves or [(MARKS.get(step["action"], "~"), f"program {name} {step['reason']}")]
    elif operation == "create_map" and step["action"] == "replace":
        kept = step["disruption"] == "none"
        yield "~" if kept else "!", f"table {name} {step['reason']}: {'its rows are kept' if kept else 'what it held is lost'}"
    elif operation == "adopt_map":
        yield "~", f"table {name}: {step['reason']}"


def _way_lines(steps: Steps) -> Iterator[tuple[str, str]]:
    """Changes of next hops, flood tables and stubs."""
    words = {"set_hop": "way out", "set_member": "copies", "load_stub": "way in"}
    for step in steps:
        if step["operation"] in words:
            sides = " -> ".join(str(side) for side in (step["before"], step["after"]) if side)
            if step["disruption"] != "none":
                yield "!", f"next hop {step['address'].rpartition('/')[2]} {step['reason']} ({step['disruption']})"
            else:
                yield MARKS.get(step["action"], "~"), words[step["operation"]] + (f": {sides}" if sides else _of_port(step))


def _of_port(step: Mapping[str, Any]) -> str:
    """' of port NAME', from the name of a stub's pin; '' if the port has no name."""
    port = pins.unescape(step["address"].rpartition("/")[2].partition("_")[2])
    return "" if port in ("wire", "inner", "") else f" of port {port}"


_FILLERS: dict[str, Callable[[ChangeGroup, Steps], None]] = {
    "cube": _fill_cube,
    "netdev": _fill_netdev,
    "namespace": _fill_namespace,
    "leftovers": _fill_leftovers,
    "flood pairs": _fill_flood_pairs,
    "shadow": _fill_shadow,
}
