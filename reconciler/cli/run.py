"""One run of the command: its arguments, and how it ends.

An error is reported once, here: with an excerpt of the file, as a sentence, or as the `errors` of a JSON document, with the exit
code of its class.
"""

from __future__ import annotations

import errno
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.errors import ApplyFailed, DocumentError, Interrupted, NotPermitted, PcnError, Problem, RollbackIncomplete

if TYPE_CHECKING:
    from reconciler.cli.given import Given
    from reconciler.cli.terminal import Terminal
    from reconciler.document import Document
    from reconciler.engine.apply import ApplyResult, Options
    from reconciler.plan.steps import Step
    from reconciler.service.registry import Services

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}  # linux/capability.h
_OF_SYS_ADMIN = ("CAP_BPF", "CAP_PERFMON")  # implied by it


@dataclass(slots=True)
class Run:
    """`sources`: texts of the files that were read, for excerpts; `started`: steps that began; `finished`: none of them was
    rolled back."""

    args: Namespace
    verb: str
    terminal: Terminal
    sources: dict[str, str] = field(default_factory=dict)
    started: list[Step] = field(default_factory=list)
    results: list[ApplyResult] = field(default_factory=list)
    finished: bool = False
    given: Given | None = None
    """The files of another host if the verb runs for one: no other file is read."""

    # -- what verbs need --------------------------------------------------------------------------------------------

    @property
    def format(self) -> str:
        return str(getattr(self.args, "output", "text"))

    @property
    def structured(self) -> bool:
        """Whether errors are part of the output document. `show` prints files, which have no place for them."""
        return self.format in ("json", "yaml") and self.verb != "show"

    def services(self) -> Services:
        from reconciler.service.registry import Services

        return Services(getattr(self.args, "services", ()))

    def options(self) -> Options:
        """Options of an apply, from this verb's arguments."""
        from reconciler.engine.apply import Options

        args = self.args
        options = Options(services=self.services(), progress=self._step, compiling=self.terminal.compiling)
        options.doing = self.terminal.doing
        if getattr(args, "bpffs", None):
            options.root = args.bpffs
        if not options.root.isprintable():
            from reconciler.errors import UsageError

            raise UsageError(f"{options.root!r} cannot be where the live graph is kept: netdevs are marked with it, in UTF-8")
        options.lock_timeout = getattr(args, "lock_timeout", options.lock_timeout)
        options.prune, options.merge = getattr(args, "prune", False), getattr(args, "merge", False)
        options.planned = self.planned
        options.warn = self.warn
        return options

    def _step(self, number: int, total: int, step: Step) -> None:
        self.started.append(step)
        self.terminal.step(number, total, step)

    def load(self, paths: Sequence[str]) -> list[Document]:
        """Load the documents in files, directories and stdin."""
        import sys

        from reconciler.document.load import load

        self.terminal.doing(f"loading {', '.join(paths)}")
        if self.given is not None:
            from reconciler.cli.given import of_texts

            return of_texts(self.given, paths, self.sources)
        return load(paths, stdin=sys.stdin.buffer, sources=self.sources)

    def is_file(self, word: str) -> bool:
        """Whether an argument is a file name rather than a topology's. Names have no slash; a missing file is better reported as
        missing than as an unknown topology."""
        from reconciler.document.load import SUFFIXES

        if self.given is not None:
            return word in self.given
        return word == "-" or "/" in word or word.endswith(SUFFIXES) or os.path.exists(word)

    def load_for_here(self, paths: Sequence[str]) -> list[Document]:
        """As `load`, without topologies for other hosts, which it reports."""
        from reconciler.document import hosts

        documents, host = self.load(paths), hosts.this_host()
        for document in documents:
            if not hosts.is_for(document, host):
                self.terminal.complain(f"{document.file} is for {hosts.for_whom(document)}, and not for {host.name}: left out")
        return [document for document in documents if hosts.is_for(document, host)]

    def need(self, what: str, *, change: bool = False) -> None:
        """Raises NotPermitted if the kernel would refuse every step. Capabilities of single steps (CAP_SYS_ADMIN for namespaces)
        are reported by the kernel at the step."""
        wanted = ("CAP_BPF", "CAP_NET_ADMIN", *(("CAP_PERFMON",) if change else ()))  # hooks: CAP_NET_ADMIN
        if missing := lacking(wanted):
            error = NotPermitted(what, errno.EPERM)
            error.args = (f"pcn needs root to {what}, or {', '.join(wanted)}: this process lacks {', '.join(missing)}",)
            raise error

    # -- how it ends ------------------------------------------------------------------------------------------------

    def emit(self, document: Mapping[str, Any] | Sequence[Any]) -> None:
        """Print a document as JSON or YAML."""
        self.terminal.print(dumped(document, self.format))

    def warn(self, problems: Sequence[Problem]) -> None:
        if problems and not self.terminal.quiet:
            from reconciler.document.diagnostics import render_all

            self.terminal.complain(render_all(problems, self.sources, self.terminal.colour_err))

    def planned(self, result: ApplyResult) -> None:
        """Called with the plan before its first step."""
        self.results.append(result)
        self.warn_of_lockouts(result)

    def warn_of_lockouts(self, result: ApplyResult) -> None:
        """Warn on stderr before the first step; JSON and YAML output has the warnings too."""
        if not result.plan.lockouts:
            return
        from reconciler.cli.lockouts import problems

        trial = getattr(self.args, "try_seconds", None) is not None
        found = problems(result.plan.lockouts, trial=trial, can_try=not getattr(self.args, "delete", False))
        self.warn(found)
        if self.structured:
            result.warnings += tuple(found)

    def failed(self, error: PcnError) -> int:
        if self.terminal.verbose:
            self._traceback(error)
        if self.structured:
            self.emit(self._failure(error))
        if not self.structured or self.terminal.lost:
            self.terminal.complain(self._words(error))
        return error.exit_code

    def interrupted(self) -> int:
        """Ctrl-C outside of an apply: applies handle it themselves, and roll back."""
        what = "what was applied stays" if self.started else "nothing was changed"
        self.finished = True
        return self.failed(Interrupted(f"stopped by Ctrl-C; {what}"))

    def unexpected(self, error: Exception) -> int:
        """A bug of pcn's."""
        hint = "" if self.terminal.verbose else "; -v shows where"
        wrapped = ApplyFailed(f"unexpected {type(error).__name__}: {error} (a mistake in pcn{hint})")
        wrapped.__cause__ = error
        return self.failed(wrapped)

    def _failure(self, error: PcnError) -> dict[str, Any]:
        from reconciler.present import DONE, UNDONE, UNSURE, Report, document
        from reconciler.present.rows import Decoder

        session = self.results[-1].session if self.results else None
        result = DONE if self.finished else UNSURE if isinstance(error, RollbackIncomplete) else UNDONE
        decoder = Decoder(session, self.services()) if session else None
        report = Report(session, decoder, self.started, result, error=error)
        return document(report)

    def _words(self, error: PcnError) -> str:
        from reconciler.document.diagnostics import escape, render_all

        if isinstance(error, DocumentError):
            count = sum(problem.severity == "error" for problem in error.problems)
            found = render_all(error.problems, self.sources, self.terminal.colour_err)
            return f"{found}\n{count} error{'' if count == 1 else 's'}; nothing was changed" if self.verb != "validate" else found
        lines = [*str(error).splitlines(), *(note for note in getattr(error, "__notes__", ()) if note)]
        return "\n".join(
            [f"{self.terminal.paint_err('red', 'error:')} {escape(lines[0])}", *(f"  {escape(line)}" for line in lines[1:])]
        )

    def _traceback(self, error: BaseException) -> None:
        import traceback

        self.terminal.complain("".join(traceback.format_exception(error)).rstrip())


def lacking(wanted: Sequence[str]) -> list[str]:
    """The capabilities that this process lacks. If they are unreadable, root has all."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        held = -1 if os.geteuid() == 0 else 0
    implied = _OF_SYS_ADMIN if held >> _CAPABILITIES["CAP_SYS_ADMIN"] & 1 else ()
    return [name for name in wanted if not held >> _CAPABILITIES[name] & 1 and name not in implied]


def dumped(document: Any, form: str) -> str:
    if form == "json":
        import json

        return json.dumps(document, indent=2, ensure_ascii=False)
    from reconciler.document.emitter import dump_yaml

    return dump_yaml(document)
