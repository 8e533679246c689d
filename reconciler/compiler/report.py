"""Messages of clang and the verifier, mapped to source lines."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reconciler.compiler.sources import excerpt, text_of

if TYPE_CHECKING:
    from reconciler.compiler.object import Object
    from reconciler.compiler.prepare import Prepared

_MOST = 20  # diagnostics shown
_VERIFIER_LINES = 8  # of the end of the verifier's log

_DIAGNOSTIC = re.compile(r"^(\S+?):(\d+):(\d+): (fatal error|error|warning|note): (.*)$")
_GUTTER = re.compile(r" *\d+ \| ")
_PLACE = re.compile(r"/virtual/main\.c:(\d+)(?::\d+)?")
_COUNTS = re.compile(r"^\d+ (?:warning|error)s?(?: and \d+ errors?)? generated\.$")
_INSTRUCTION = re.compile(r"^(\d+): \(([0-9a-f]{2})\) (.*)$")
_NAMED = re.compile(r"\b(?:insn|instruction) (\d+)\b")


def diagnostics(said: str, unit: Prepared) -> str:
    """Clang's errors and their notes, with real files and lines, without duplicates."""
    blocks: list[str] = []
    wanted = False
    for block in _blocks(said):
        match = _DIAGNOSTIC.match(block[0])
        if match is None or match.group(4) != "note":
            wanted = match is not None and match.group(4).endswith("error")
        if match is not None and wanted:
            text = _located(match, block, unit)
            if text not in blocks:
                blocks.append(text)
    if len(blocks) > _MOST:
        blocks[_MOST:] = [f"and {len(blocks) - _MOST} more"]
    return "\n".join(blocks) or _other(said, unit)


def _blocks(said: str) -> Iterator[list[str]]:
    """Each diagnostic with the lines that follow it; disassembly and counts are omitted."""
    block: list[str] = []
    for line in said.splitlines():
        if _DIAGNOSTIC.match(line):
            if block:
                yield block
            block = [line]
        elif block and not _COUNTS.match(line):
            block.append(line)
    if block:
        yield block


def _located(match: re.Match[str], block: list[str], unit: Prepared) -> str:
    file, line, column, severity, message = match.groups()
    if file != "/virtual/main.c" or not 0 < int(line) <= len(unit.lines):
        return "\n".join(_moved(text, unit) for text in block)
    source, number = unit.lines[int(line) - 1]
    text, (shown, caret) = text_of(source, number), _excerpted(block)
    same = caret and shown == text  # otherwise the columns are those of rewritten text
    place = f"{source.path}:{number}" + (f":{column}" if same else "")
    return f"{place}: {severity}: {message}\n{excerpt(number, text, caret if same else '')}"


def _excerpted(block: list[str]) -> tuple[str, str]:
    """The line that clang shows, and its caret; without the line's number, with which clang prefixes it since version 16."""
    if len(block) < 3:
        return "", ""
    gutter = _GUTTER.match(block[1])
    width = gutter.end() if gutter else 0
    return block[1][width:].rstrip(), block[2][width:].rstrip()


def _moved(text: str, unit: Prepared) -> str:
    def place(match: re.Match[str]) -> str:
        line = int(match.group(1))
        if not 0 < line <= len(unit.lines):
            return unit.service.path
        source, number = unit.lines[line - 1]
        return f"{source.path}:{number}"
    return _PLACE.sub(place, text)


def _other(said: str, unit: Prepared) -> str:
    """Output without diagnostics: BCC's and LLVM's lines with 'error', else the last lines."""
    lines = [line for line in said.splitlines() if line.strip() and not _COUNTS.match(line)]
    kept = [line for line in lines if "error" in line.lower()] or lines[-_MOST:]
    return "\n".join(_moved(line, unit) for line in kept[:_MOST]) or f"{unit.service.path}: the compiler gave up without a word"


def verifier_report(log: str, obj: Object) -> str:
    """Where and why the kernel's verifier rejected a program: the C line, the instruction, its last message.

    `log` is the verifier's, of level 1 or above, and may be truncated at either end. About 15 lines.
    """
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("processed ", "verification time", "stack depth", "max_states"))]
    last = max((i for i, line in enumerate(lines) if _INSTRUCTION.match(line)), default=-1)
    words = lines[last + 1:][-_VERIFIER_LINES:]
    named = next((int(match.group(1)) for word in reversed(words) if (match := _NAMED.search(word))), None)
    instruction = _INSTRUCTION.match(lines[last]) if last >= 0 else None
    index = named if named is not None else int(instruction.group(1)) if instruction else None
    shown = [f"the verifier refused {obj.source} ({obj.flavour}, {obj.direction})"]
    line = obj.line_of(index) if index is not None else None
    if line is not None:
        shown[0] += f" at {line.file}:{line.line}"
        shown.append(excerpt(line.line, line.text))
    if instruction is not None and named in (None, int(instruction.group(1))):
        shown.append(f"instruction {instruction.group(1)}: {instruction.group(3)}")
    return "\n".join([*shown, *words])
