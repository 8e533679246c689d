"""The verbs of pcn as functions, for commands, the agent and tests.

plan_for(...)   what an apply would do            read only
apply(...)      make the kernel hold these topologies
drift(...)      how the kernel differs from what was last applied   read only
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from reconciler import pins
from reconciler.document import Document, collector_paused
from reconciler.engine.builder import Builder
from reconciler.engine.options import ApplyResult, Options
from reconciler.engine.own_code import say_where
from reconciler.engine.preflight import Places, preflight, refuse_old_kernel, without_ethernet
from reconciler.engine.session import Reconciler, Session
from reconciler.engine.transaction import carry_out
from reconciler.errors import CompileError, DocumentError, Position, Problem, VerifierError
from reconciler.graph.desired import document_text
from reconciler.graph.diff import Change, diff
from reconciler.graph.records import (
    Grouped,
    Live,
    OfNetwork,
    Record,
    State,
    TableRecord,
    TopologyRecord,
    global_records,
)
from reconciler.incremental.row_delta import may_differ
from reconciler.kernel.bpffs import Bpffs
from reconciler.live.applied import APPLIED, applied_documents, name_of
from reconciler.live.quarantine import HELD
from reconciler.model import Topology
from reconciler.plan.steps import cubes_of

__all__ = [
    "ApplyResult", "Options", "apply", "drift", "drift_session", "placed", "plan_for", "quarantined_warnings", "read_back",
    "unfinished",
]  # fmt: skip


def _reconciler(options: Options, *, stored: bool = False) -> Reconciler:
    """`stored`: compiled objects are taken from the root where possible."""
    builder = Builder(options.services, options.compiling, options.root, stored=stored)
    return Reconciler(options.root, options.services, builder, options.drop, options.hold, options.kept)


def plan_for(documents: Sequence[Document], options: Options | None = None, *, delete: bool = False) -> ApplyResult:
    """The plan of an `apply` now. Reads only. Raises DocumentError, CompileError, KernelError, HookHeld, NotEnoughMemory."""
    chosen = options or Options()
    reconciler = _reconciler(chosen, stored=delete)
    with Bpffs(chosen.root).read_locked(chosen.lock_timeout), collector_paused():
        result = _session(documents, chosen, reconciler, delete)
        preflight(result.session, _places(documents, chosen))
    return result


def apply(documents: Sequence[Document], options: Options | None = None, *, delete: bool = False) -> ApplyResult:
    """Make the kernel hold these documents (`delete`: not hold them), beside the topologies it holds already.

    Atomic: everything is done and verified, or nothing. Raises as `plan_for`, and LockBusy, ApplyFailed, VerifyFailed,
    RollbackIncomplete, Interrupted.
    """
    chosen = options or Options()
    reconciler = _reconciler(chosen, stored=delete)
    if not documents and delete and not chosen.drop:
        raise DocumentError([Problem("there is nothing to delete")])
    from reconciler.live.stored import keep

    root = Bpffs(chosen.root)
    with root.locked(chosen.lock_timeout), collector_paused():
        try:
            result = _session_of_edit(documents, chosen, reconciler) or _session(documents, chosen, reconciler, delete)
            preflight(result.session, _places(documents, chosen))
            if chosen.planned:
                chosen.planned(result)
            if result.plan.steps:
                _do(result, documents, root, reconciler, chosen, delete=delete)
            else:
                chosen.in_force(result)
            builder = reconciler.builder
            wanted = reconciler.tapped(result.wanted, result.session.live)
            built = {key: builder.built[key] for key in builder.keys_of(wanted) if key in builder.built}
            keep(root, built, builder.digests, reconciler.same(result.session.live))
        except VerifierError as error:
            say_where(error, _formed(documents, chosen), chosen.services)
            raise
        finally:
            root.remove_if_empty()
    return result


def _do(
    result: ApplyResult, documents: Sequence[Document], root: Bpffs, reconciler: Reconciler, options: Options, *, delete: bool
) -> None:
    """Carry out the plan, and once more for what depends on created netdevs."""
    from reconciler.plan.effects import SEEN, SOON_OVER, is_all, is_news

    steps, found = result.plan.steps, list[Live]()
    early = is_all(SOON_OVER, steps)

    def verified(read: Live) -> None:
        found.append(read)
        if early:
            options.in_force(result)

    result.warnings += (warnings := _carry_out(result.session, root, reconciler, options, verified))
    if early and is_all(SEEN, steps):
        result.verified = found[0]
    elif early and not warnings:
        from reconciler.live.rows_after import after_retirement  # not imported by commands that apply an edit
        result.verified = after_retirement(found[0], steps, result.session.desired.state)
    if is_news(steps, result.session.facts, result.wanted):
        result.warnings += _once_more(documents, root, reconciler, options, delete=delete)
    options.kept.topologies = {document_text(topology): topology for topology in result.wanted}
    if not early:
        options.in_force(result)


def _once_more(
    documents: Sequence[Document], root: Bpffs, reconciler: Reconciler, options: Options, *, delete: bool
) -> tuple[Problem, ...]:
    """Plan again: a netdev has an ifindex only after its creation, and rows refer to it."""
    found = _session(documents, options, reconciler, delete)
    return _carry_out(found.session, root, reconciler, options) if found.plan.steps else ()


def _carry_out(
    session: Session, root: Bpffs, reconciler: Reconciler, options: Options, verified: Callable[[Live], object] = lambda _: None
) -> tuple[Problem, ...]:
    """Returns warnings about fallbacks, and about garbage that could not be retired. `verified` is called with the state that was
    read back, if it is as desired, before anything is retired."""
    from reconciler.live.execute import Executor

    def verify() -> list[str]:
        options.doing("verifying")
        read = read_back(session, reconciler, whole=options.recent is None)
        if not (wrong := unfinished(session, reconciler, read)):
            verified(read)
        return wrong

    executor = Executor(root, session.objects, (step.operation for step in session.plan.steps), options.services)
    try:
        left = carry_out(session.plan, executor, verify, progress=options.progress, before=options.before)
        otherwise = [Problem(words, severity="warning") for words in executor.warnings]
        uncleared = [Problem(words, severity="warning", hint="the next apply clears it away") for words in left]
        return (*otherwise, *uncleared)
    finally:
        executor.close()


def _session_of_edit(documents: Sequence[Document], options: Options, reconciler: Reconciler) -> ApplyResult | None:
    """The plan on the snapshot of a recent poll. None if that is insufficient: another apply happened since, there are no steps,
    or a cube needs more than writes of rows. Foreign writes to those rows since the poll are detected by the verification; other
    drift is for the next poll."""
    live = reconciler.still(options.recent, connecting=options.connecting) if options.recent is not None else None
    if live is None:
        return None
    result = _session(documents, options, reconciler, delete=False, live=live)
    if not (result.plan.steps or options.connecting):
        return None
    from reconciler.plan.effects import CONNECTING, OF_ROWS

    few = CONNECTING if options.connecting else OF_ROWS
    more = cubes_of(step for step in result.plan.steps if not isinstance(step.operation, few))
    return None if more & {pins.cube(cube) for cube in live.generations} else result


def _session(
    documents: Sequence[Document], options: Options, reconciler: Reconciler, delete: bool, live: Live | None = None
) -> ApplyResult:
    from reconciler.check import check

    options.doing("reading the kernel")
    formed = _formed(documents, options)
    named = {name_of(document) for document in formed}
    if live is None:
        expected = [] if delete else reconciler.expected(documents, named, merge=options.merge)
        live = reconciler.live(spare=named)
        del expected
    options.doing("checking")
    known = {name_of(document) for document in applied_documents(live)}
    doomed: Sequence[Topology] = ()
    if delete and not named <= known:  # remains of an interrupted apply are found by the documents' contents
        doomed = [t for t in check(documents, options.services, merge=options.merge)[0] if t.name not in known]
    given = [] if delete else documents
    wanted, warnings, live = _wanted(given, named | options.drop, live, reconciler, options)
    if not delete:
        refuse_old_kernel(formed, options.services)
    options.doing("planning")
    if _is_applied(wanted, live):
        texts = {record.name: record.document for record in live.documents}
        options.kept.topologies = {texts[topology.name]: topology for topology in wanted}
        applied: Sequence[Topology] = wanted
    else:
        applied, live = reconciler.applied(live, named | options.drop)
    try:
        session = reconciler.session(wanted, [*applied, *doomed] if doomed else applied, live)
    except DocumentError as error:
        raise DocumentError([placed(problem, [] if delete else formed) for problem in error.problems]) from None
    except CompileError as error:
        say_where(error, [] if delete else formed, options.services)
        raise
    if doomed and not session.plan.steps:  # none of it exists, which is no drift, as they were not applied
        session.drift = []
    refused, unusable = without_ethernet(session, [] if delete else formed)
    if refused and not options.partial:
        raise DocumentError(refused)
    warnings += [*quarantined_warnings(live), *unusable]
    return ApplyResult(session, tuple(warnings), tuple(t for t in wanted if t.name in named), tuple(wanted), tuple(refused))


def _formed(documents: Sequence[Document], options: Options) -> list[Document]:
    """The documents as topologies; a list of cubes becomes one."""
    from reconciler.check.polycube import topology_of

    return [topology_of(document, options.services)[0] for document in documents if isinstance(document.data, dict | list)]


def _wanted(
    given: Sequence[Document], replaced: Collection[str], live: Live, reconciler: Reconciler, options: Options
) -> tuple[list[Topology], list[Problem], Live]:
    """The given documents with those that stay as applied, warnings, and the live state without omissions. The applied documents
    must be valid together with the given ones. If they were valid before, the change is refused; if not, they are omitted."""
    from reconciler.check import check

    def stays(live: Live) -> list[Document]:
        return [] if options.prune else [d for d in applied_documents(live) if name_of(d) not in replaced]

    while together := [*stays(live), *given]:
        try:
            return *check(together, options.services, merge=options.merge), live
        except DocumentError as error:
            before, (_, live) = live, reconciler.applied(live, replaced)
            if len(live.sealed) == len(before.sealed):
                raise DocumentError([_of_what_stays(problem) for problem in error.problems]) from None
    return [], [], live


def placed(problem: Problem, documents: Sequence[Document]) -> Problem:
    """A problem of a cube that only its compiled tables or libpcap revealed, with the position of the cube or its leaf."""
    _, *steps = problem.path.split("/")
    is_of_cube = problem.where is None and steps[:2] == ["spec", "cubes"]
    where = _position("cubes", steps[2], documents, tuple(steps[3:])) if is_of_cube else None
    return replace(problem, where=where) if where else problem


def _position(among: str, name: str, documents: Sequence[Document], leaf: tuple[str, ...] = ()) -> Position | None:
    """The position of a cube or a link, or of a leaf of it."""
    for document in documents:
        for place, entry in enumerate(document.data.get("spec", {}).get(among) or ()):
            if entry["name"] == name:
                return document.position(("spec", among, place, *leaf))
    return None


def _places(documents: Sequence[Document], options: Options) -> Places:
    from reconciler.check.polycube import topology_of

    return lambda among, name: _position(among, name, [topology_of(document, options.services)[0] for document in documents])


def _of_what_stays(problem: Problem) -> Problem:
    """A problem that the change would cause in an applied document, with advice, since there is no file to refer to."""
    if problem.where is None or not problem.where.file.startswith(APPLIED):
        return problem
    name = problem.where.file.removeprefix(APPLIED)
    hint = f"topology {name} is applied and would stay: change it in the same apply, or delete it too"
    return replace(problem, hint=hint)


def quarantined_warnings(live: Live) -> list[Problem]:
    """Warnings about the topologies that cannot be read here."""
    said = "topology {} is left as it is, for it cannot be read here: {}"
    hint = "apply its file again, or 'pcn delete {}'"
    unreadable = {name: why for name, why in live.sealed.items() if why != HELD}
    return [Problem(said.format(name, why), severity="warning", hint=hint.format(name)) for name, why in unreadable.items()]


def _is_applied(wanted: Sequence[Topology], live: Live) -> bool:
    """Whether the applied documents are exactly these: the common case, which needs no second comparison."""
    kept = {record.name: record for record in live.documents}
    return kept == {topology.name: TopologyRecord(topology.name, document_text(topology)) for topology in wanted}


def drift(options: Options | None = None) -> list[Change]:
    """Differences between the kernel and what was last applied. Reads only; needs no file."""
    return drift_session(options).drift


def drift_session(options: Options | None = None) -> Session:
    """The applied against the live state, with what is needed to describe the difference."""
    chosen = options or Options()
    reconciler = _reconciler(chosen, stored=True)
    with Bpffs(chosen.root).read_locked(chosen.lock_timeout):
        live = reconciler.live()
        applied, live = reconciler.applied(live)
        if chosen.warn:
            chosen.warn(quarantined_warnings(live))
        return reconciler.session(applied, applied, live)


def read_back(session: Session, reconciler: Reconciler, *, whole: bool = True) -> Live:
    """The kernel's state after a commit. For cubes that no step names the previous read is valid: steps write only below
    paths that they name, and the lock excludes other writers. Everything else is read again, hooks and netdevs too; but, if not
    `whole`, of cubes whose hops alone were set only the hops, and of long tables the rows that steps name (live/rows_after)."""
    from reconciler.live.observe import ways_of
    from reconciler.plan.effects import OF_WAYS
    steps, state, cubes = session.plan.steps, session.live.state, session.live.generations.keys()
    touched = cubes_of(step for step in steps if whole or not isinstance(step.operation, OF_WAYS))
    since = {cube for cube in cubes if pins.cube(cube) not in touched}
    stands = since | {ways_of(cube) for cube in cubes if pins.cube(cube) not in cubes_of(steps)}
    if whole or not isinstance(state, Grouped):
        return reconciler.live(since=stands)
    from reconciler.live.rows_after import rows_after  # commands read all

    records = (record for cube in cubes - since for record in state.groups.get(cube, {}).values())
    return reconciler.live(since=stands, known=rows_after(Bpffs(reconciler.root), records, steps, session.desired.state))


def unfinished(session: Session, reconciler: Reconciler, live: Live) -> list[str]:
    """Differences between the state that was read back and the plan, as sentences. Objects yet to be retired are none."""
    network = [r for r in global_records(session.desired.state).values() if isinstance(r, OfNetwork)]
    state, _ = reconciler.with_links(live, network)
    return [
        f"{change.address}: wanted {_short(change.after)}, found {_short(change.before)}"
        for change in diff(session.desired.state, state)
        if change.after is not None and _matters(change, state)
    ]


def _matters(change: Change, state: State) -> bool:
    """Whether a difference is an error: a staged table may still have rows yet to be retired; other records must be equal."""
    found, wanted = state.get(change.address), change.after
    if isinstance(found, TableRecord) and isinstance(wanted, TableRecord) and wanted.staged and found.rows is not None:
        if replace(found, rows=None) != replace(wanted, rows=None):
            return True
        keys = may_differ(found.rows, wanted.rows or {})
        rows = {key: wanted.rows[key] for key in keys if key in wanted.rows} if keys is not None and wanted.rows else wanted.rows
        return not (rows or {}).items() <= found.rows.items()
    return found != wanted


def _short(record: Record | None) -> str:
    return "nothing" if record is None else str(record)[:300]
