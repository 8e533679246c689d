"""UDP flows of numbered datagrams, so that none that is lost is missed, and each answer says who gave it.

flows.py serve PORT WORD           answer on all addresses, with WORD behind the number
flows.py ask ADDRESS PORT SECONDS  one flow of 500 a second; prints what came of it as JSON (Told)
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

EVERY, GRACE = 0.005, 2.0  # seconds between two datagrams, and for the last answers
_BUFFER, _SO_RCVBUFFORCE = 8 << 20, 33  # a process that waits for a CPU shall not look like a network that loses
_NUMBER = struct.Struct("!I")


@dataclass(slots=True)
class Told:
    """`pause` is the longest time between two answers (ms), `first` when each that answered began to (seconds of the monotonic
    clock, which all namespaces share)."""

    sent: int = 0
    lost: int = 0
    pause: float = 0.0
    first: dict[str, float] = field(default_factory=dict)


def serve(port: int, word: str) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    sock.bind(("::", port))
    while True:
        asked, client = sock.recvfrom(100)
        with contextlib.suppress(OSError):  # the pod's netdev is gone
            sock.sendto(asked[: _NUMBER.size] + word.encode(), client)


def ask(address: str, port: int, seconds: float) -> Told:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    sock.connect((address, port))
    told, missing = Told(), set()
    begun = answered = time.monotonic()
    while (now := time.monotonic()) < begun + seconds + GRACE and (now < begun + seconds or missing):
        if now < begun + seconds and now >= begun + told.sent * EVERY:
            missing.add(told.sent)
            with contextlib.suppress(OSError):  # a refusal is an answer that is missing
                sock.send(_NUMBER.pack(told.sent))
            told.sent += 1
        if not select.select([sock], [], [], EVERY / 4)[0]:
            continue
        with contextlib.suppress(OSError):
            said = sock.recv(100)
            now, word = time.monotonic(), said[_NUMBER.size :].decode()
            told.pause, answered = max(told.pause, 1000 * (now - answered)), now
            told.first.setdefault(word, now)
            missing.discard(_NUMBER.unpack_from(said)[0])
    told.lost = len(missing)
    return told


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port, word]:
            serve(int(port), word)
        case ["ask", address, port, seconds]:
            print(json.dumps(asdict(ask(address, int(port), float(seconds)))))
        case _:
            sys.exit(__doc__)
