"""Applies that are killed ahead of a chosen step: `python -m tests.upgrade.killed DIR`, in the environment of a release.

Each line of standard input is a step's number; the answer is `killed`, `done` (there is no such step), or what went wrong.
What an apply imports and compiles is there before, so that each one takes no longer than its work.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from reconciler.document import Document
from reconciler.document.load import load
from reconciler.engine.apply import Options, apply, plan_for


def main() -> None:
    documents, options = load([sys.argv[1]]), Options()
    plan_for(documents, options)
    import reconciler.live.execute  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _apply(documents, int(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("done" if code == 0 else "killed" if code == -signal.SIGKILL else f"exit {code}", flush=True)  # noqa: T201


def _apply(documents: list[Document], number: int) -> None:
    try:
        apply(documents, Options(before=lambda now, _: os.kill(os.getpid(), signal.SIGKILL) if now == number else None))
    except BaseException:  # noqa: BLE001 - a child has nobody to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
