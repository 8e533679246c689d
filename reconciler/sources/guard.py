"""Whether a new revision deletes too many topologies. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.document.hosts import Host, is_for
from reconciler.document.load import decode, parse
from reconciler.errors import DocumentError


def too_much(before: Mapping[str, bytes], after: Mapping[str, bytes], host: Host) -> str:
    """The reason for a refusal, '' if it is allowed. More than half of a host's topologies are deleted only on request."""
    was, now = topologies(before, host), topologies(after, host)
    stays = {name for name, file in was.items() if name in now or _is_broken(after.get(file))}
    gone = sorted(was.keys() - stays)
    if 2 * len(gone) <= len(was):
        return ""
    return f"it takes away {len(gone)} of {len(was)} topologies ({', '.join(gone[:5])}{', …' if gone[5:] else ''})"


def topologies(files: Mapping[str, bytes], host: Host) -> dict[str, str]:
    """The topologies for a host, with their files."""
    found = {}
    for file, content in files.items():
        try:
            documents = parse(decode(content, file), file)
        except DocumentError:
            continue
        for document in documents:
            data = document.data
            metadata = data.get("metadata") if isinstance(data, dict) else None
            name = metadata.get("name") if isinstance(metadata, dict) else None
            if is_for(document, host):
                found[str(name or file)] = file
    return found


def _is_broken(content: bytes | None) -> bool:
    if content is None:
        return False
    try:
        return not parse(decode(content, ""), "")
    except DocumentError:
        return True
