"""Combines C texts into the single translation unit that BCC compiles.

pcn's extensions are resolved here: constants get offsets, log formats and the names of filters become numbers, the scopes of
tables are recorded and their macros become BCC's.

No line is inserted in or removed from the middle of a file. BCC shifts lines while it rewrites, and reports the line of an
instruction only for its main file; so every line of the unit gets a `#line` wherever one is allowed, and `Prepared.lines` maps
its number to the real line.
"""
from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from reconciler.compiler.reach import refuse_other_files
from reconciler.compiler.sources import FRAMEWORK, Source, Sources, complaint, plain
from reconciler.compiler.tokens import Call, Token, calls, literal, tokenize
from reconciler.errors import CompileError

MAIN = "/virtual/main.c"  # BCC's name of the main file
LOG_ARGUMENTS = 4
FILTER_NUMBERS = 0x0FFFFFFF  # mask of filters' numbers, hashes of their names
LOG_CONVERSIONS = "diuxXocIMP"  # no %s: a record of the log has no strings
LONG_LOG_CONVERSIONS = {**dict.fromkeys(LOG_CONVERSIONS, 1), "A": 2, "S": 4, "N": 1, "T": 1}
LONG_LOG_ARGUMENTS = 14  # PCN_LONG_LOG
"""A long line's arguments at most; a conversion takes as many of them as LONG_LOG_CONVERSIONS has."""

_CONVERSION = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?(?:hh?|ll?|z|j)?([A-Za-z]))")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A unit ready for BCC. Line n of its diagnostics is `lines[n - 1]`: a source and a line in it.

    `constants` are byte offsets by name; `scopes` has shared:<namespace> and public tables only; `inner`: of a map of maps the
    table that is its template; `log_formats` and `filters` by number.
    """

    text: str
    service: Source
    lines: tuple[tuple[Source, int], ...]
    constants: dict[str, int]
    log_formats: dict[int, str]
    scopes: dict[str, str]
    externs: frozenset[str]
    inner: dict[str, str]
    filters: dict[int, str]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


@dataclass(slots=True)
class _Unit:
    """A translation unit under construction."""

    out: list[str] = field(default_factory=list)
    lines: list[tuple[Source, int]] = field(default_factory=list)
    included: set[str] = field(default_factory=lambda: {FRAMEWORK})
    constants: set[str] = field(default_factory=set)
    log_formats: dict[int, str] = field(default_factory=dict)
    scopes: dict[str, str] = field(default_factory=dict)
    externs: set[str] = field(default_factory=set)
    inner: dict[str, str] = field(default_factory=dict)
    filters: dict[int, str] = field(default_factory=dict)


def prepare(sources: Sources, macros: Mapping[str, str], renames: Mapping[str, str] = MappingProxyType({})) -> Prepared:
    """One translation unit of the framework and the service; `renames` replaces names in the service's own text (a macro cannot
    rename BCC's tables). Raises CompileError with file and line."""
    unit = _Unit()
    _add(unit, sources.framework, sources.beside, framework=True)
    _add(unit, sources.service, sources.beside, framework=False, renames=renames)
    constants = {name: 4 * i for i, name in enumerate(sorted(unit.constants))}
    head = ['#line 1 "<defines>"', *(f"#define {name} {value}" for name, value in macros.items()),
            *(f"#define PCN_OFFSET_{name} {offset}" for name, offset in constants.items()), f'#line 1 "{MAIN}"']
    return Prepared("\n".join([*head, *unit.out, ""]), sources.service, tuple(unit.lines), constants, unit.log_formats,
                    unit.scopes, frozenset(unit.externs), unit.inner, unit.filters)


def _add(
    unit: _Unit, source: Source, beside: Mapping[str, Source], *, framework: bool,
    renames: Mapping[str, str] = MappingProxyType({}),
) -> None:
    found, inside = tokenize(source.text)
    refuse_other_files(source, found)
    edits = [_replace([token], renames[token.text]) for token in found if token.kind == "name" and token.text in renames]
    for call in calls(found, frozenset(_REWRITES)):
        edits += _REWRITES[call.name.text](unit, source, call, framework)
    includes = {token.line: token for token in found if token.directive == "include" and token.kind == "string"}
    pragmas = {token.line for token in found if token.directive == "pragma" and token.text == "once"}
    for number, line in enumerate(_apply(source.text, edits).split("\n"), 1):
        if number not in inside:
            unit.out.append(f"#line {len(unit.lines) + 1}")
        unit.out.append("" if number in includes or number in pragmas else line)
        unit.lines.append((source, number))
        if number in includes:
            _include(unit, source, includes[number], beside, framework)


def _include(unit: _Unit, source: Source, token: Token, beside: Mapping[str, Source], framework: bool) -> None:
    """Inline an included file, once: every file has an implicit include guard."""
    name = token.text[1:-1]
    if not plain(name):
        raise complaint(source, token.line, f"{token.text} is no plain file name; headers of the kernel are in <>")
    if name in unit.included:
        return
    if name not in beside:
        raise complaint(source, token.line, f"there is no {name} beside {source.path}")
    unit.included.add(name)
    _add(unit, beside[name], beside, framework=framework or name.startswith("framework/"))


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    """The edited text; each edit is followed by the line ends that it replaces, so that line numbers do not change."""
    pieces, at = [], 0
    for edit in sorted(edits):
        kept = "".join(re.findall(r"\\?\n", text[edit.start:edit.end]))
        pieces += [text[at:edit.start], edit.text, kept]
        at = edit.end
    return "".join([*pieces, text[at:]])


def _replace(tokens: Sequence[Token], text: str) -> _Edit:
    return _Edit(tokens[0].start, tokens[-1].end, text)


def _constant(unit: _Unit, source: Source, call: Call, _framework: bool) -> list[_Edit]:
    tokens = [token for argument in call.arguments for token in argument]
    if len(tokens) != 1 or tokens[0].kind != "name":
        raise complaint(source, call.name.line, "PCN_CONST takes the name of a constant")
    unit.constants.add(tokens[0].text)
    return []


def _filter(unit: _Unit, source: Source, call: Call, framework: bool) -> list[_Edit]:
    name = call.arguments[1] if len(call.arguments) == 2 else ()
    if len(name) != 1 or name[0].kind != "name":
        raise complaint(source, call.name.line, "pcn_filter takes the context, and the name that the model has in pcn:filter")
    number = zlib.crc32(name[0].text.encode()) & FILTER_NUMBERS
    unit.filters[number] = name[0].text
    return [_replace(name, f"{number:#x}")]


def _log(unit: _Unit, source: Source, call: Call, framework: bool) -> list[_Edit]:
    line = call.name.line
    text = literal(call.arguments[2]) if len(call.arguments) > 2 else None
    if text is None:
        if framework:
            return []  # a helper that passes its format on
        raise complaint(source, line, "pcn_log(ctx, level, format, ...) takes a string literal as its format")
    given = len(call.arguments) - 3
    if given > LOG_ARGUMENTS:
        raise complaint(source, line, f"pcn_log takes at most {LOG_ARGUMENTS} arguments after its format, not {given}")
    conversions = [match.group(1) for match in _CONVERSION.finditer(text) if match.group(1)]
    foreign = next((letter for letter in conversions if letter not in LOG_CONVERSIONS), None)
    if foreign is not None:
        raise complaint(source, line, f"pcn_log knows no %{foreign}: it hands up numbers, %d %u %x %I (IPv4) %M (MAC) %P (port)")
    wanted = len(conversions)
    if wanted != given:
        raise complaint(source, line, f"pcn_log's format asks for {wanted} arguments and {given} are given")
    return [_replace(call.arguments[2], _format_number(unit, source, line, text))]


def _log_format(unit: _Unit, source: Source, call: Call, framework: bool) -> list[_Edit]:
    line = call.name.line
    text = literal(call.arguments[0]) if len(call.arguments) == 1 else None
    if text is None:
        if framework:
            return []
        raise complaint(source, line, 'pcn_log_format("...") takes a string literal')
    conversions = [match.group(1) for match in _CONVERSION.finditer(text) if match.group(1)]
    if any(letter not in LONG_LOG_CONVERSIONS for letter in conversions):
        raise complaint(source, line, f"a long line of the log knows only %{' %'.join(LONG_LOG_CONVERSIONS)}")
    if sum(LONG_LOG_CONVERSIONS[letter] for letter in conversions) > LONG_LOG_ARGUMENTS:
        raise complaint(source, line, f"this format asks for more than {LONG_LOG_ARGUMENTS} arguments")
    return [_replace(call.arguments[0], _format_number(unit, source, line, text))]


def _format_number(unit: _Unit, source: Source, line: int, text: str) -> str:
    number = zlib.crc32(text.encode())
    if unit.log_formats.setdefault(number, text) != text:
        raise complaint(source, line, f"this format has the number of another one ({unit.log_formats[number]!r}): reword it")
    return f"{number:#010x}u"


_TABLE_ARGUMENTS = {"BPF_TABLE": 5, "BPF_F_TABLE": 6, "BPF_TABLE_PUBLIC": 5, "BPF_TABLE_SHARED": 6}


def _table(unit: _Unit, source: Source, call: Call, framework: bool) -> list[_Edit]:
    macro, line, arguments = call.name.text, call.name.line, call.arguments
    if len(arguments) != _TABLE_ARGUMENTS[macro] or not all(arguments):
        raise complaint(source, line, f"{macro} takes {_TABLE_ARGUMENTS[macro]} arguments" + (
            ": type, key, leaf, name, size, namespace" if macro == "BPF_TABLE_SHARED" else ""))
    kind, name = literal(arguments[0]) or "", arguments[3][-1].text
    scope = _scope(macro, arguments)
    if call.name.directive and (scope or kind == "extern"):
        raise complaint(source, line, f"{macro} inside a macro: pcn cannot tell which table this is; declare it in full")
    if not framework and name.startswith("pcn_"):
        raise complaint(source, line, f"{name}: names that start with pcn_ are the framework's")
    if ":" in kind:
        raise _pinned(source, line)
    if kind.partition("$")[2]:
        unit.inner[name] = kind.partition("$")[2]
    edits: list[_Edit] = []
    if scope:
        if unit.scopes.setdefault(name, scope) != scope:
            raise complaint(source, line, f"{name} is declared as {unit.scopes[name]} elsewhere")
        edits.append(_replace([call.name], "BPF_TABLE"))
    if macro == "BPF_TABLE_SHARED":
        edits.append(_Edit(arguments[4][-1].end, call.close.start, ""))
    if kind == "extern":  # BCC would look it up in this process; any type has the methods that BCC checks
        unit.externs.add(name)
        edits += [_replace(arguments[0], '"hash"'), _replace(arguments[4], "1")]
    return edits


def _scope(macro: str, arguments: Sequence[Sequence[Token]]) -> str:
    if macro == "BPF_TABLE_SHARED":
        return "shared:" + (literal(arguments[5]) or "".join(token.text for token in arguments[5]))
    return "public" if macro == "BPF_TABLE_PUBLIC" else ""


def _of_maps(unit: _Unit, _source: Source, call: Call, _framework: bool) -> list[_Edit]:
    inner = next((text for text in map(literal, call.arguments) if text), None)
    if inner and call.arguments[0]:
        unit.inner[call.arguments[0][-1].text] = inner
    return []


def _refuse_pin(_unit: _Unit, source: Source, call: Call, _framework: bool) -> list[_Edit]:
    raise _pinned(source, call.name.line)


def _pinned(source: Source, line: int) -> CompileError:
    return complaint(source, line, "BCC would pin this table while it compiles; pcn pins tables (BPF_TABLE_PUBLIC shares one)")


_REWRITES: Mapping[str, Callable[[_Unit, Source, Call, bool], list[_Edit]]] = {
    "PCN_CONST": _constant, "pcn_filter": _filter, "pcn_log": _log, "pcn_log_format": _log_format,
    **dict.fromkeys(_TABLE_ARGUMENTS, _table),
    "BPF_ARRAY_OF_MAPS": _of_maps, "BPF_HASH_OF_MAPS": _of_maps,
    "BPF_TABLE_PINNED": _refuse_pin, "BPF_QUEUESTACK_PINNED": _refuse_pin,
}
