"""Perform the operations on names in bpffs: directories, links that hold text, pins, documents."""

from __future__ import annotations

import os

from reconciler.incremental.packed_text import PACKER
from reconciler.kernel import maps
from reconciler.kernel.document_values import document_value
from reconciler.kernel.rcu import wait_for_grace_period
from reconciler.live.execute.opened import Opened, Performers
from reconciler.plan.operations import Grace, MakeDirectory, Remove, RemoveCube, Rename, SetDocument, SetLink


class Names:
    def __init__(self, opened: Opened) -> None:
        self._opened, self._root = opened, opened.root

    def performers(self) -> Performers:
        return {
            MakeDirectory: self._make_directory,
            SetLink: self._set_link,
            Rename: self._rename,
            Remove: self._remove,
            RemoveCube: self._remove_cube,
            SetDocument: self._set_document,
            Grace: self._grace,
        }

    def _make_directory(self, do: MakeDirectory) -> None:
        self._opened.ensure_directory(do.path)

    def _set_link(self, do: SetLink) -> None:
        self._opened.ensure_directory(do.path.rpartition("/")[0])
        self._root.set_link(do.path, do.text)

    def _rename(self, do: Rename) -> None:
        self._opened.forget(do.path)
        self._opened.forget(do.to)
        self._root.rename(do.path, do.to)

    def _remove(self, do: Remove) -> None:
        self._opened.remove(do.path)

    def _remove_cube(self, do: RemoveCube) -> None:
        """`current` is removed first: a cube without one is an orphan, should the rest be interrupted."""
        self._opened.forget(do.path)
        self._root.remove(f"{do.path}/current")
        self._root.remove(do.path)

    def _set_document(self, do: SetDocument) -> None:
        value = document_value(PACKER.pack(do.text))
        fd = maps.create(maps.MapSpec(maps.ARRAY, 4, len(value), 1), "topology")
        draft = f"{do.path}~"
        self._root.make_directory(do.path.rpartition("/")[0])
        self._opened.remove(draft)
        try:
            maps.update(fd, bytes(4), value)
            self._root.pin(fd, draft)
            self._root.rename(draft, do.path)
        finally:
            os.close(fd)

    def _grace(self, _: Grace) -> None:
        """Packets may be inside programs that were just replaced; their arrays must not be emptied under them."""
        wait_for_grace_period()
