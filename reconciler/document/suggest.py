"""Suggestions for misspelt names."""
from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.errors import Hint


def near_miss(word: object, candidates: Callable[[], Iterable[str]], otherwise: str = "") -> Hint:
    """The result of `did_you_mean`, or else `otherwise`; computed only if it is shown."""
    return Hint(lambda: did_you_mean(word, candidates()) or otherwise)


def did_you_mean(word: object, candidates: Iterable[str]) -> str:
    """'did you mean "veth1"?' for the candidate that is nearest to a misspelt word; '' if none is near."""
    if not isinstance(word, str) or not word:
        return ""
    from difflib import get_close_matches

    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    cutoff = 0.5 if len(word) < 4 else 0.6  # h3 and h1 have half of their letters in common
    near = get_close_matches(word.casefold(), by_folded, n=3, cutoff=cutoff)
    swapped = [candidate for candidate in near if sorted(candidate) == sorted(word.casefold())]
    return f'did you mean "{by_folded[(swapped or near)[0]]}"?' if near else ""
