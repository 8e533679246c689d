"""Detects this machine's compiler, without loading it."""
from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from reconciler.compiler.sources import BPF
from reconciler.incremental.memo import once

LIBRARY = "libbcc.so.0"
UAPI = Path("/usr/include")
CHILD = Path(__file__).with_name("bcc_child.py")

_DIRECTORIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64")
_PACKAGES = {  # package manager: command, package of libbcc, package of <linux/bpf.h>
    "apt-get": ("apt-get install", "python3-bpfcc", "linux-libc-dev"),
    "dnf": ("dnf install", "python3-bcc", "kernel-headers"),
    "pacman": ("pacman -S", "python-bcc", "linux-api-headers"),
    "apk": ("apk add", "py3-bcc", "linux-headers"),
    "zypper": ("zypper install", "python3-bcc", "linux-glibc-devel"),
}


def library() -> Path | None:
    """The path of libbcc, as the dynamic linker would choose it, or None."""
    candidates = [Path(d) / LIBRARY for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if d]
    try:  # the cache has paths as NUL-terminated strings
        cached = re.findall(rb"/[^\0]*/" + re.escape(LIBRARY.encode()) + rb"(?=\0)", Path("/etc/ld.so.cache").read_bytes())
        candidates += [Path(os.fsdecode(path)) for path in cached]
    except OSError:
        candidates += [Path(directory) / LIBRARY for directory in _DIRECTORIES]  # musl has no such cache
    return next((path for path in candidates if path.exists()), None)


def available() -> str | None:
    """The compiler's identity, like 'bcc-0.26.0', or None if there is none."""
    found = library()
    if found is None:
        return None
    version = os.path.realpath(found).partition(".so.")[2]
    return "bcc-" + re.sub(r"[^\w.]", "_", version)


def missing() -> str:
    """What to install before anything can be compiled, as a sentence; '' if nothing is missing."""
    lacking = [i for i, there in ((1, library() is not None), (2, (UAPI / "linux" / "bpf.h").exists())) if not there]
    if not lacking:
        return ""
    what = " and ".join({1: "BCC's library", 2: "the kernel's UAPI headers"}[i] for i in lacking)
    from shutil import which  # slow to import, as are tempfile and all that need it

    known = [names for manager, names in _PACKAGES.items() if which(manager)] or list(_PACKAGES.values())
    ways = " or ".join(f"`{names[0]} {' '.join(names[i] for i in lacking)}`" for names in known)
    return f"{what} must be installed to compile: {ways} (the package called `bcc` on PyPI is another thing)"


def flags() -> list[str]:
    """Flags for clang, beside BCC's."""
    return ["-Werror=implicit-function-declaration", f"-DPAGE_SIZE={os.sysconf('SC_PAGE_SIZE')}"]


@once
def fingerprint() -> str:
    """A digest of what turns sources into objects besides BCC: this package, our headers and the flags.

    A change of any of them invalidates all cached objects.
    """
    digest = hashlib.sha256("\0".join(flags()).encode())
    ours = [*Path(__file__).parent.glob("*.py"), *(path for path in (BPF / "include").rglob("*.h") if path.is_file())]
    for path in sorted(ours):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def header_tree(parent: Path) -> Path:
    """Build, under `parent`, BCC's kernel source tree: our few headers, and symlinks to the distribution's UAPI headers."""
    from shutil import copytree

    tree = parent / "headers"
    copytree(BPF / "include", tree / "include")
    for link, target in (("uapi/linux", "linux"), ("uapi/asm-generic", "asm-generic"), ("asm-generic", "asm-generic")):
        (tree / "include" / link).symlink_to(UAPI / target)
    return tree
