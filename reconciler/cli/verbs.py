"""The verbs of the command: description and module of each.

Not in the modules themselves, since `pcn --help` lists them all without importing any.
"""

from __future__ import annotations

VERBS = {
    "apply": "make the kernel hold what files say (the command pcn-apply)",
    "plan": "show what apply would do",
    "validate": "check files; needs neither root nor a kernel",
    "drift": "show where the kernel left what was last applied",
    "show": "print the live topologies as files",
    "graph": "draw the live topologies, or those of files",
    "delete": "remove topologies, by name or file",
    "services": "list the kinds of cube there are",
    "serve-service": "serve services to the pcn of this host, or of others",
    "agent": "keep the kernel as files say it should be (the command pcn-agent)",
    "fleet": "say how all hosts do, and what a change would cost them",
    "api": "serve Polycube's REST API (the command pcn-api)",
    "stats": "show what the cubes and ports carry and drop",
    "log": "print what the cubes log",
    "capture": "write the packets that pass a place, for tcpdump",
    "action": "do a YANG action on a cube, such as fdb/flush",
    "reload": "put another program in the place of one of a cube's",
    "explain": "explain a key of a file, and what a change of it costs",
    "schema": "print a JSON Schema, for editors",
    "import": "make a topology of another program's files",
    "compile": "compile programs into the cache",
    "gc": "remove what an interrupted apply left",
    "doctor": "say what this machine can do, and what is missing",
    "completion": "print a completion script for a shell",
}
