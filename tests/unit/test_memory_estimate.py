"""What tables take, and where the bound comes from."""
from __future__ import annotations

from reconciler.graph.memory_estimate import needed
from reconciler.graph.records import TableRecord
from reconciler.kernel.memory_limits import available

SPEC = (1, 8, 8, 1024, 0)
ROWS = (1, 8, 8, 1024, 1)


def table(name: str, spec=SPEC, rows: int | None = None) -> dict[str, TableRecord]:
    record = TableRecord("c1", name, f"cubes/c1/tables/{name}", spec, None if rows is None else {bytes([i]): b"" for i in range(rows)})
    return {record.address: record}


def test_only_what_is_made_or_grows_counts():
    assert needed(table("a"), table("a"), 2) == {}
    assert needed({}, table("a"), 2) == {}
    assert list(needed(table("a") | table("b"), table("a"), 2)) == ["cube/c1/table/b"]
    assert needed(table("a", ROWS, 100), table("a", ROWS, 40), 2) == {"cube/c1/table/a": 60 * 72}
    assert needed(table("a", ROWS, 40), table("a", ROWS, 100), 2) == {}


def test_a_table_of_another_shape_is_made_beside_the_old_one():
    (size,) = needed(table("a", (1, 8, 8, 4096, 0)), table("a"), 2).values()
    assert size > 4096 * 64


def files(root, **texts):
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_least_bound_counts_and_files_in_the_cache_make_way(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    files(proc, meminfo="MemTotal: 9 kB\nMemAvailable:    1000 kB\n", self__cgroup="0::/a/b\n")
    assert (available(proc, groups).bytes, available(proc, groups).by) == (1000 * 1024, "the machine")
    files(groups, a__memory_DOT_max="500000\n", a__memory_DOT_current="450000\n", a__memory_DOT_stat="anon 1\ninactive_file 1000\n")
    files(groups, a__b__memory_DOT_max="max\n", a__b__memory_DOT_current="4\n")
    found = available(proc, groups)
    assert (found.bytes, found.by) == (51_000, f"memory cgroup {groups}/a")


def test_the_first_version_of_cgroups_is_read_too(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    files(proc, self__cgroup="4:memory:/x\n1:cpu:/\n0::/\n")
    files(groups, memory__x__memory_DOT_limit_in_bytes="5000\n", memory__x__memory_DOT_usage_in_bytes="6000\n")
    files(groups, memory__memory_DOT_limit_in_bytes="9223372036854771712\n", memory__memory_DOT_usage_in_bytes="1\n")
    assert available(proc, groups).bytes == 0


def test_what_cannot_be_read_bounds_nothing(tmp_path):
    assert available(tmp_path, tmp_path).bytes >= 1 << 60
