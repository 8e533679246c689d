"""Resource paths: module and name of each node, and keys of entries (RFC 8040, 3.5.3). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from reconciler.api.answers import Refusal


@dataclass(frozen=True, slots=True)
class Segment:
    """A node; `module` is empty if inherited from the parent, `keys` if absent."""

    name: str
    module: str = ""
    keys: tuple[str, ...] = ()


def segments(raw_path: bytes) -> tuple[Segment, ...]:
    """The nodes of a raw path, still encoded: a key may contain a slash, a comma or an equals sign. Raises Refusal."""
    return tuple(_segment(part) for part in raw_path.split(b"/") if part)


def _segment(part: bytes) -> Segment:
    node, equals, keys = part.partition(b"=")
    module, colon, name = _text(node).rpartition(":")
    if not name or (colon and not module):
        raise Refusal(400, "invalid-value", f"{_text(part)!r} is no node: write module:name=key,key")
    return Segment(name, module, tuple(map(_text, keys.split(b","))) if equals else ())


def _text(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "malformed-message", "the path is not UTF-8") from None


def written(path: Sequence[Segment]) -> str:
    """The path of a data resource, for Location: the inverse of `segments`."""
    return "/restconf/data/" + "/".join(map(_written, path))


def _written(segment: Segment) -> str:
    node = f"{segment.module}:{segment.name}" if segment.module else segment.name
    return f"{node}={','.join(quote(key, safe=':[]') for key in segment.keys)}" if segment.keys else node


def checked(path: Sequence[Segment], modules: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The service, and the segments below it of a data path: cube, nodes and keys. Raises Refusal."""
    top = path[0]
    module = top.module or top.name
    if module not in modules or top.name != module:
        raise Refusal(404, "unknown-element", f"data begins with a service's list, such as router:router, not {top.name}")
    words: list[str] = list(top.keys)
    for each in path[1:]:
        if each.module not in ("", module):
            raise Refusal(400, "unknown-element", f"{each.module}:{each.name}: nodes of a cube are all of module {module}")
        words += [each.name, *each.keys]
    if len(top.keys) > 1 or (len(path) > 1 and not top.keys):
        raise Refusal(400, "invalid-value", f"a cube has one key, its name: write {top.name}:{top.name}=NAME")
    return module, tuple(words)
