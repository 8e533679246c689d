"""Perform the operations on tables and their rows."""

from __future__ import annotations

from reconciler.kernel import bpf, maps
from reconciler.kernel.percpu import spread
from reconciler.live.execute.opened import Opened, Performers
from reconciler.live.migrate import Migrations
from reconciler.live.value_masks import masked, merged
from reconciler.plan.operations import (
    AdoptMap,
    CreateMap,
    DeleteRows,
    FlushRows,
    MigrateRows,
    PurgeRows,
    WriteRows,
    ZeroRows,
)
from reconciler.service.registry import Services


class Tables:
    """`services` have the migrations of rows of older layouts. `warnings` collects deviations from the plan."""

    def __init__(self, opened: Opened, services: Services | None, warnings: list[str]) -> None:
        self._opened, self._migrations, self._warnings = opened, Migrations(services), warnings

    def performers(self) -> Performers:
        return {
            CreateMap: self._create_map,
            AdoptMap: self._adopt_map,
            WriteRows: self._write_rows,
            DeleteRows: self._delete_rows,
            PurgeRows: self._purge_rows,
            FlushRows: self._flush_rows,
            ZeroRows: self._zero_rows,
            MigrateRows: self._migrate_rows,
        }

    def _create_map(self, do: CreateMap) -> None:
        self._opened.replace(maps.create(maps.MapSpec(*do.spec), do.name, do.btf), do.path)

    def _adopt_map(self, do: AdoptMap) -> None:
        self._opened.replace(bpf.fd_by_id(bpf.MAP_BY_ID, do.id), do.path)

    def _write_rows(self, do: WriteRows) -> None:
        fd, spec = self._opened.map(do.path)
        partly = do.mask != b"\xff" * len(do.mask)
        there = maps.lookup_many(fd, spec, do.rows) if partly else {}
        ready = {
            key: merged(spec, there[key], value, do.mask) if key in there else spread(spec, value)
            for key, value in do.rows.items()
        }
        maps.update_many(fd, spec, ready)

    def _delete_rows(self, do: DeleteRows) -> None:
        fd, spec = self._opened.map(do.path)
        if do.sparse:
            maps.update_many(fd, spec, dict.fromkeys(do.keys, bytes(spec.value_bytes)))
        elif spec.type not in maps.ARRAYS:
            maps.delete_many(fd, spec, do.keys)

    def _purge_rows(self, do: PurgeRows) -> None:
        fd, spec = self._opened.map(do.path)
        wanted = set(do.values)

        def said(key: bytes, row: bytes) -> bytes:
            return b"".join((key if in_key else row)[offset : offset + size] for in_key, offset, size in do.fields)

        maps.delete_many(fd, spec, [key for key, row in maps.rows(fd, spec).items() if said(key, row) in wanted])

    def _flush_rows(self, do: FlushRows) -> None:
        fd, spec = self._opened.map(do.path)
        maps.delete_many(fd, spec, maps.rows(fd, spec))

    def _zero_rows(self, do: ZeroRows) -> None:
        fd, spec = self._opened.map(do.path)
        bits = do.keep.ljust(spec.value_size, b"\0")
        maps.update_many(fd, spec, {key: masked(spec, row, bits) for key, row in maps.rows(fd, spec).items()})

    def _migrate_rows(self, do: MigrateRows) -> None:
        source, target = self._opened.map(do.source), self._opened.map(do.path)
        left = self._migrations.carry(source, target, do.service, do.table, do.mask or None)
        if left:
            self._warnings.append(f"{left} rows of table {do.table} do not fit in it any more")
