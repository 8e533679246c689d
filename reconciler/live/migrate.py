"""Rows that the datapath learned, carried over to the table that takes the place of another, while programs write to either."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from reconciler.kernel import maps
from reconciler.kernel.percpu import join_cpus, split_cpus
from reconciler.live.value_masks import merged
from reconciler.service.model.rows import Migrate
from reconciler.service.registry import Services


def as_it_is(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The migration of a row whose layout stays."""
    return key, value


class Migration:
    """The migration of one table's rows. `migrate` converts a row of the old layout to the new one, or returns None to drop
    it. `mask`: the bits of a value that are configuration, and stay as they are in the new table; there only rows that are
    configured are carried over. None: all rows are the datapath's."""

    def __init__(self, migrate: Migrate, mask: bytes | None) -> None:
        self._migrate, self._mask = migrate, mask
        self._seen: dict[bytes, bytes] | None = None  # the old table's rows as they were last time
        self._written: dict[bytes, bytes] = {}  # what was made of them, by the new key

    def carry(self, source: tuple[int, maps.MapSpec], target: tuple[int, maps.MapSpec]) -> int:
        """Carry over the changes in `source` since the last call; at first, all rows. A row in `target` that a program has
        written since is newer than any of the old table, and stays. Returns the number of rows that do not fit.

        Between the read of a row and the write some microseconds pass: an update of the new row just then is lost.
        """
        (fd, spec), (to, wanted) = source, target
        first, before, now = self._seen is None, self._seen or {}, maps.rows(fd, spec)
        made = self._made({key: row for key, row in now.items() if before.get(key) != row}, spec, wanted)
        gone = self._made({key: row for key, row in before.items() if key not in now}, spec, wanted)
        self._seen = now
        if first and self._mask is None:
            fitting = dict(islice(made.items(), wanted.max_entries))
            maps.update_many(to, wanted, fitting)
            self._written = fitting
            return len(made) - len(fitting)
        for key in gone.keys() - made.keys():
            written = self._written.pop(key, None)
            if self._mask is None and wanted.type not in maps.ARRAYS and maps.lookup(to, wanted, key) == written:
                maps.delete(to, key)
        return sum(not self._one(to, wanted, key, row) for key, row in made.items())

    def _one(self, to: int, wanted: maps.MapSpec, key: bytes, row: bytes) -> bool:
        """Write one row, unless a program has written it by now. False: there is no room for it."""
        there, before = maps.lookup(to, wanted, key), self._written.get(key)
        if there is None:
            if self._mask is not None:
                return True
            if not maps.insert(to, key, row):
                return False
        elif before is not None and there != before:
            return True
        elif before is None and wanted.type not in maps.ARRAYS and self._mask is None:
            return True  # learned by the new programs as well
        else:
            if self._mask is not None:
                row = merged(wanted, row, split_cpus(wanted, there)[0], self._mask)
            maps.update(to, key, row)
        self._written[key] = row
        return True

    def _made(self, rows: Mapping[bytes, bytes], spec: maps.MapSpec, wanted: maps.MapSpec) -> dict[bytes, bytes]:
        """Rows of the new layout. Raises ValueError if the migration returns others."""
        if self._migrate is as_it_is:
            made = dict(rows)
        else:
            found = (self._row(key, row, spec, wanted) for key, row in rows.items())
            made = dict(row for row in found if row is not None)
        if wanted.type in maps.ARRAYS:
            made = {key: row for key, row in made.items() if int.from_bytes(key, "little") < wanted.max_entries}
        return made

    def _row(self, key: bytes, row: bytes, spec: maps.MapSpec, wanted: maps.MapSpec) -> tuple[bytes, bytes] | None:
        new_key, parts = b"", []
        for part in split_cpus(spec, row):
            made = self._migrate(key, part)
            if made is None:
                return None
            new_key, value = made
            if (len(new_key), len(value)) != (wanted.key_size, wanted.value_size):
                sizes = f"{len(new_key)} and {len(value)} bytes, not of {wanted.key_size} and {wanted.value_size}"
                raise ValueError(f"the service's migration makes keys and values of {sizes}")
            parts.append(value)
        return new_key, join_cpus(wanted, parts)


class Migrations:
    """All tables' that an apply exchanges. `services` know how rows of an older layout become newer ones."""

    def __init__(self, services: Services | None) -> None:
        self._services = services
        self._begun: dict[int, Migration] = {}  # by the new table's number: its pin is renamed meanwhile

    def carry(
        self, source: tuple[int, maps.MapSpec], target: tuple[int, maps.MapSpec], service: str, table: str, mask: bytes | None
    ) -> int:
        """As `Migration.carry`. `service`: whose function makes rows of the new layout; '' if they stay as they are."""
        identity = maps.info(target[0]).identity
        if identity not in self._begun:
            owner = self._services.get(service) if self._services is not None and service else None
            known = owner.migration(table, source[1].key_size, source[1].value_size) if owner is not None else None
            self._begun[identity] = Migration(known or as_it_is, mask)
        return self._begun[identity].carry(source, target)
