"""Every way in which pcn can fail, and the exit code that each one becomes.

The tree (exit codes follow sysexits(3) where it has a word for it):

    PcnError                      1   anything below; never raised itself
    ├── UsageError               64   the command line is off
    ├── DocumentError            65   a document is wrong; carries every Problem found
    ├── ServiceAway               1   a service elsewhere does not answer; what is loaded of it stays
    ├── ServiceRefused           65   what a service elsewhere says of itself is not believed
    ├── EditRefused              65   an edit of a document cannot be made; carries RFC 8040's word for why
    ├── CompileError              1   a service's C does not compile
    ├── KernelError               1   a system call failed; carries errno and what was attempted
    │   ├── VerifierError         1   the verifier refused a program; carries its last words
    │   └── NotPermitted         77   EPERM / EACCES: not root, or a capability is missing
    ├── NotTrusted               77   others than root could change what root would rely on
    ├── FeatureMissing           69   this kernel lacks what the document needs
    ├── HookHeld                  1   somebody else's program is where ours should go
    ├── NotEnoughMemory       1   the tables would not fit; nothing was written
    ├── NewerFormat              76   what is in bpffs was created by a newer pcn; nothing was read or touched
    ├── LockBusy                 75   another writer is at work on the same bpffs root
    ├── ApplyFailed               1   a step failed; everything done was undone
    │   ├── VerifyFailed          4   applied, read back, not equal; undone
    │   └── RollbackIncomplete    5   undoing failed too; carries what is left
    └── Interrupted               1   a signal arrived; everything done was undone

2 (changes pending) and 3 (drift) are answers, not errors: see `reconciler.cli`. 74: all is done, but the
answer could not be written (see `cli.terminal`).
"""
from __future__ import annotations

import errno as errno_names
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a document. Lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Hint:
    """Words that are searched for only when they are shown: finding a near miss among 20,000 names takes a while, and a document
    may have as many unknown names, of which 20 are shown."""

    def __init__(self, look: Callable[[], str]) -> None:
        self._look = look

    def __str__(self) -> str:
        return self._look()

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document, said so that it can be mended without looking anything up."""

    message: str
    path: str = ""
    where: Position | None = None
    hint: str | Hint = ""
    severity: str = "error"
    related: tuple[tuple[Position, str], ...] = field(default=())
    passing: bool = False
    """Whether the same document may be right another time."""

    def __str__(self) -> str:
        parts = [str(self.where)] if self.where else []
        parts += [self.path] if self.path else []
        hint = str(self.hint)
        return ": ".join([*parts, self.message]) + (f" ({hint})" if hint else "")


class PcnError(Exception):
    """Base of all errors that pcn raises on purpose."""

    exit_code = 1


class UsageError(PcnError):
    exit_code = 64


class DocumentError(PcnError):
    """The document cannot be applied. Nothing has been touched."""

    exit_code = 65

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)
        if problems and all(problem.passing for problem in problems if problem.severity == "error"):
            self.exit_code = PcnError.exit_code

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class EditRefused(PcnError):
    """An edit of a document cannot be made; the document is as it was. `tag` is what RFC 8040 calls the reason, `path` where
    it is, `info` the name of the node that is to blame."""

    exit_code = 65

    def __init__(self, tag: str, message: str, path: str = "", info: str = "") -> None:
        self.tag, self.message, self.path, self.info = tag, message, path, info
        super().__init__(f"{path}: {message}" if path else message)


class ServiceAway(PcnError):
    """A service elsewhere does not answer a question that it has not been asked before."""


class ServiceRefused(PcnError):
    """A service elsewhere is not what was agreed on, or answers what cannot be true. Nothing of it is loaded."""

    exit_code = 65


def of_code(error: Exception) -> str:
    """What a service's own code raised, and where: 'NameError: … (toy.py, line 3)'. A SyntaxError says the place itself."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{'' if isinstance(error, SyntaxError) else place}"


class CompileError(PcnError):
    """A C source does not compile; the text is the compiler's, with file and line."""


class KernelError(PcnError):
    """A system call failed while pcn tried to do `attempt`."""

    def __init__(self, attempt: str, errno: int, detail: str = "") -> None:
        self.attempt, self.errno, self.detail = attempt, errno, detail
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(f"cannot {attempt}: {os.strerror(errno)} ({name})" + (f"\n{detail}" if detail else ""))


class VerifierError(KernelError):
    """The kernel's verifier refused a program. `detail` is its log, shortened to its last words."""


class NotPermitted(KernelError):
    exit_code = 77


class NotTrusted(PcnError):
    """A directory, a file or a socket that root would rely on is, or can be changed by, an ordinary user's. It is untouched."""

    exit_code = 77


class FeatureMissing(PcnError):
    exit_code = 69


class HookHeld(PcnError):
    """A hook that pcn needs is held by somebody else, who is named."""


class NotEnoughMemory(PcnError):
    """Tables that are to be created take more memory than there is. Nothing has been touched."""


class LockBusy(PcnError):
    exit_code = 75


class NewerFormat(PcnError):
    """What is below the root has a layout that only a newer pcn knows. Nothing has been read or touched."""

    exit_code = 76


class ApplyFailed(PcnError):
    """A step failed; the kernel holds what it held before."""


class VerifyFailed(ApplyFailed):
    exit_code = 4


class RollbackIncomplete(ApplyFailed):
    exit_code = 5


class Interrupted(PcnError):
    """SIGINT or SIGTERM; the kernel holds what it held before."""


class Overtaken(PcnError):
    """A poll of the kernel made way for somebody who waits behind it."""


def kernel_error(attempt: str, errno: int, detail: str = "") -> KernelError:
    """The KernelError that fits an errno: permission has a class and an exit code of its own."""
    if errno in (errno_names.EPERM, errno_names.EACCES):
        return NotPermitted(attempt, errno, detail or "pcn needs root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN)")
    return KernelError(attempt, errno, detail)
