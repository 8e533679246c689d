"""What every operation has: a name, a sentence, and the pins that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar


class Operation:
    """One action on the kernel, as a frozen value. Subclasses are dataclasses, one for each action; `live.execute` performs
    them by their type. Those whose fields suffice have an `inverse`; for others the planner knows the previous state.

    `kind` is the name in `-o json`; `subject` names the field that the sentence ends with.
    """

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    kind: ClassVar[str] = ""
    subject: ClassVar[str] = "path"

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __str__(self) -> str:
        """What it does, as text: 'create map cubes/br1/tables/fdb'."""
        words = self.kind.replace("_", " ")
        return f"{words} {getattr(self, self.subject)}" if self.subject in self.__match_args__ else words

    def texts(self) -> Iterator[str]:
        """The fields that are texts: paths, and names of what is not a pin."""
        values = (getattr(self, name) for name in self.__match_args__)
        return (value for value in values if isinstance(value, str))

    def occupies(self) -> tuple[str, ...]:
        """The paths at which a pin is created, written or removed."""
        return tuple(getattr(self, name) for name in ("path", "to") if name in self.__match_args__)
