"""Drives libbcc in a process of its own, on behalf of `driver`. Standard library only: it runs with `python -I -S`.

Why a process: libbcc changes the working directory, keeps 100 MB of LLVM, creates maps, and exits on LLVM's fatal
errors. Why not BCC's Python wrapper: this needs a dozen C functions, whose signatures have not changed in years, works
with any interpreter, and spares the import.

On standard input, JSON: {"directory", "headers", "library", "flags": [...], "units": [[number, text], ...], "binds":
[[from, to], ...], "seconds", "bytes"}: limits of CPU time for a unit, and of the process's address space. For each unit clang's
messages are written to <directory>/<number>.log, the outcome to <directory>/<number>.json, and a line to standard output. A unit
with a log and without an outcome is the one that ended this process.
"""
from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import Any

_DEBUG_SOURCE = 8  # libbcc's flag: disassembly with C lines, on standard error
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR = 1, 24, 38, 47, 4
_LD_IMM64, _PSEUDO_MAP_FD = 0x18, 1
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWNET = 0x20000, 0x8000000, 0x40000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 0x1000, 0x4000, 1 << 18
_CAPABILITIES = (1 << 12, 1 << 39 - 32)  # CAP_NET_ADMIN, CAP_BPF, as two words: BCC creates a program's maps while it compiles
_CAPABILITY_VERSION = 0x20080522

_size, _text, _int, _module = ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_module_create_c_from_string": (_module, [_text, ctypes.c_uint, ctypes.POINTER(_text), _int, ctypes.c_bool, _text]),
    "bpf_module_destroy": (None, [_module]),
    "bpf_module_license": (_text, [_module]),
    "bpf_num_functions": (_size, [_module]),
    "bpf_function_name": (_text, [_module, _size]),
    "bpf_function_start": (ctypes.c_void_p, [_module, _text]),
    "bpf_function_size": (_size, [_module, _text]),
    "bpf_num_tables": (_size, [_module]),
    "bpf_table_name": (_text, [_module, _size]),
    "bpf_table_key_desc_id": (_text, [_module, _size]),
    "bpf_table_leaf_desc_id": (_text, [_module, _size]),
    "bpf_table_fd_id": (_int, [_module, _size]),
    "bpf_table_type_id": (_int, [_module, _size]),
    "bpf_table_flags_id": (_int, [_module, _size]),
    "bpf_table_max_entries_id": (_size, [_module, _size]),
    "bpf_table_key_size_id": (_size, [_module, _size]),
    "bpf_table_leaf_size_id": (_size, [_module, _size]),
}


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # without the parent nobody reads the outcome
    job = json.load(sys.stdin)
    progress = os.dup(1)
    os.dup2(2, 1)  # libbcc may print
    os.environ["BCC_KERNEL_SOURCE"] = job["headers"]
    lib = ctypes.CDLL(job["library"])
    confine(job)
    limit(job["bytes"])
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    for number, text in job["units"]:
        stem = os.path.join(job["directory"], str(number))
        log = os.open(stem + ".log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 2)
        os.close(log)
        allow(job["seconds"])
        outcome = compile_unit(lib, text, job["flags"])
        with open(stem + ".json", "w", encoding="utf-8") as file:
            json.dump(outcome, file)
        os.write(progress, b"\n")


def confine(job: dict[str, Any]) -> None:
    """Restrict this process to its own directory, which has the headers, read-only: it cannot open other files. Then drop the
    network, and all capabilities but those for creating maps. Only root can do that; the includes of sources are checked for
    every user (see `reach`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = job["directory"].encode()

    def mounted(source: bytes | None, target: bytes, flags: int) -> bool:
        return bool(libc.mount(source, target, None, ctypes.c_ulong(flags), None) == 0)

    if libc.unshare(_CLONE_NEWNS) or not mounted(None, b"/", _MS_REC | _MS_PRIVATE):
        return
    for source, target in [*job["binds"], (job["headers"], job["headers"])]:
        if not mounted(source.encode(), target.encode(), _MS_BIND | _MS_REC):
            return
        if not mounted(None, target.encode(), _MS_BIND | _MS_REMOUNT | _MS_RDONLY):
            return
    libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC)
    os.chroot(home)
    os.chdir("/")
    job["directory"] = "/"
    os.environ["BCC_KERNEL_SOURCE"] = "/" + os.path.relpath(job["headers"], home.decode())
    drop_capabilities(libc)


def drop_capabilities(libc: Any) -> None:
    """Drop all capabilities but `_CAPABILITIES`, irrevocably. Raises OSError."""
    libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    for number in range(64):
        if not _CAPABILITIES[number // 32] >> number % 32 & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # fails for numbers that this kernel does not have
    header, kept = struct.pack("=Ii", _CAPABILITY_VERSION, 0), struct.pack("=6I", *(w for c in _CAPABILITIES for w in (c, c, 0)))
    if libc.capset(header, kept) or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the compiler cannot give up its capabilities")


def limit(most: int) -> None:
    """Limit address space and files to `most` bytes each; no further processes, no core dump."""
    limits = {resource.RLIMIT_AS: most, resource.RLIMIT_FSIZE: most, resource.RLIMIT_NPROC: 0, resource.RLIMIT_CORE: 0}
    for what, value in limits.items():
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard),) * 2)


def allow(seconds: int) -> None:
    """Allow so much more CPU time; then SIGXCPU ends this process."""
    used, (_, hard) = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)
    end = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def compile_unit(lib: Any, text: str, flags: list[str]) -> dict[str, Any] | None:
    """libbcc's output for a translation unit; None if it does not compile."""
    encoded = [flag.encode() for flag in flags]
    module = lib.bpf_module_create_c_from_string(
        text.encode(), _DEBUG_SOURCE, (ctypes.c_char_p * len(encoded))(*encoded), len(encoded), True, None)
    if not module:
        return None
    try:
        names = [lib.bpf_function_name(module, i) for i in range(lib.bpf_num_functions(module))]
        tables = [table(lib, module, i) for i in range(lib.bpf_num_tables(module))]
        outcome = {"functions": [name.decode() for name in names], "tables": tables, "insns": "", "maps": [],
                   "licence": (lib.bpf_module_license(module) or b"").decode()}
        if len(names) == 1:
            size = lib.bpf_function_size(module, names[0])
            insns = bytearray(ctypes.string_at(lib.bpf_function_start(module, names[0]), size))
            outcome["maps"] = symbolic(insns, {found["fd"]: found["name"] for found in tables})
            outcome["insns"] = insns.hex()
        return outcome
    finally:
        lib.bpf_module_destroy(module)


def table(lib: Any, module: int, number: int) -> dict[str, Any]:
    def ask(what: str) -> Any:
        answer = getattr(lib, f"bpf_table_{what}")(module, number)
        return (answer or b"").decode() if getattr(lib, f"bpf_table_{what}").restype is _text else answer
    return {"name": ask("name"), "fd": ask("fd_id"), "type": ask("type_id"), "flags": ask("flags_id"),
            "max_entries": ask("max_entries_id"), "key_size": ask("key_size_id"), "value_size": ask("leaf_size_id"),
            "key": ask("key_desc_id"), "value": ask("leaf_desc_id")}


def symbolic(insns: bytearray, names: dict[int, str]) -> list[tuple[int, str]]:
    """Zero the map descriptors in the instructions; returns (slot, table) of each."""
    found = []
    at = 0
    while at < len(insns):
        code, registers, _, immediate = struct.unpack_from("<BBhi", insns, at)
        if code == _LD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD:
            found.append((at // 8, names[immediate]))
            struct.pack_into("<i", insns, at + 4, 0)
        at += 16 if code == _LD_IMM64 else 8
    return found


if __name__ == "__main__":
    main()
