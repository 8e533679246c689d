"""Where the files of services are: in the built-in tree, and in directories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.service.ownership import refuse_others

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """Where a service's three files are; `half` need not exist."""

    name: str
    schema: Path
    sources: Path
    implementation: Path
    edition: str = ""


def in_tree() -> dict[str, ServiceFiles]:
    schemas = HERE / "schemas" / "json"
    names = [path.name.removesuffix(".schema.json") for path in schemas.glob("*.schema.json")]
    return {
        name: ServiceFiles(name, schemas / f"{name}.schema.json", HERE / "bpf" / name, HERE / "cubes" / name / "__init__.py")
        for name in names
        if name != "topology"
    }


def in_directory(directory: Path) -> dict[str, ServiceFiles]:
    names = [path.name.removesuffix(".schema.json") for path in directory.glob("**/*.schema.json")]
    files = {}
    for name in names:
        home = next(directory.glob(f"**/{name}.schema.json")).parent
        refuse_others(home)
        files[name] = ServiceFiles(name, home / f"{name}.schema.json", home, home / f"{name}.py")
    return files
