"""How Linux follows a TCP connection, written to be read: nf_conntrack's table of states, and its windows, in its own words.

    track = begin(segment, loose=True)              # None: nothing begins with it
    verdict = follow(track, segment, 0)             # "accept", "ignore", "outside" its windows, "invalid"; 0: from the end that began it

It shares no line with the firewall's own code. Times are left out.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

FIN, SYN, RST, ACK = 1, 2, 4, 16
STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2")
TABLE = {  # each word is a state of STATES, by what is known before; IG: ignored, IV: invalid
    ("syn", 0): "SS SS IG IG IG IG IG SS SS S2", ("syn", 1): "IV S2 IV IV IV IV IV SS IV S2",
    ("syn-ack", 0): "IV IV SR IV IV IV IV IV IV SR", ("syn-ack", 1): "IV SR IG IG IG IG IG IG IG SR",
    ("fin", 0): "IV IV FW FW LA LA LA TW CL IV", ("fin", 1): "IV IV FW FW LA LA LA TW CL IV",
    ("ack", 0): "ES IV ES ES CW CW TW TW CL IV", ("ack", 1): "IV IG SR ES CW CW TW TW CL IG",
    ("rst", 0): "IV CL CL CL CL CL CL CL CL CL", ("rst", 1): "IV CL CL CL CL CL CL CL CL CL",
}  # fmt: skip
SHORT = dict(zip(("NO", "SS", "SR", "ES", "FW", "CW", "LA", "TW", "CL", "S2"), STATES, strict=True))
CLOSING = {"FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"}


def after(a: int, b: int) -> bool:
    return 0 < (a - b) % 2**32 <= 2**31


@dataclass
class Segment:
    seq: int
    ack: int
    end: int
    window: int
    flags: int
    sack: int = 0
    scale: int | None = None
    sacks: bool = False

    @property
    def said(self) -> str:
        if self.flags & RST:
            return "rst"
        if self.flags & SYN:
            return "syn-ack" if self.flags & ACK else "syn"
        return "fin" if self.flags & FIN else "ack"


def options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw) and raw[at]:
        size = 1 if raw[at] == 1 else raw[at + 1] if at + 1 < len(raw) else 0
        if not size or (raw[at] != 1 and size < 2) or at + size > len(raw):
            return
        yield raw[at], raw[at + 2 : at + size]
        at += size


def segment_of(payload: bytes, *, takes_blocks: bool) -> Segment:
    seq, ack = int.from_bytes(payload[4:8], "big"), int.from_bytes(payload[8:12], "big")
    size, flags = (payload[12] >> 4) * 4, payload[13]
    end = seq + max(0, len(payload) - size) + bool(flags & SYN) + bool(flags & FIN)
    found = Segment(seq, ack, end % 2**32, int.from_bytes(payload[14:16], "big"), flags, sack=ack)
    for kind, value in options(payload[20:size]):
        if flags & SYN and kind == 3 and len(value) == 1:
            found.scale = min(value[0], 14)
        if flags & SYN and kind == 4 and not value:
            found.sacks = True
        if takes_blocks and kind == 5 and value and len(value) % 8 == 0:
            for place in range(4, len(value), 8):
                edge = int.from_bytes(value[place : place + 4], "big")
                found.sack = edge if after(edge, found.sack) else found.sack
            break
    return found


@dataclass
class Seen:
    """Of one end: td_end, td_maxend, td_maxwin, td_maxack (None: not set), td_scale and flags."""

    end: int = 0
    maxend: int = 0
    maxwin: int = 0
    maxack: int | None = None
    scale: int = 0
    scales: bool = False
    sacks: bool = False
    liberal: bool = False
    closed_first: bool = False

    def introduce(self, segment: Segment) -> None:
        self.end = self.maxend = segment.end
        self.maxwin = segment.window or 1
        self.scale, self.scales, self.sacks = segment.scale or 0, segment.scale is not None, segment.sacks
        self.maxack, self.closed_first = None, False


@dataclass
class Track:
    state: str = "NONE"
    seen: list[Seen] = field(default_factory=lambda: [Seen(), Seen()])
    replied: bool = False
    assured: bool = False
    last: tuple[str, int] = ("", 0)  # what was said, in which direction
    last_end: int = 0
    last_window: int = 0
    challenge_ack: int = 0
    annotated: Segment | None = None  # of a SYN that was ignored
    challenged: bool = False
    simultaneous: bool = False
    over: bool = False


def begin(segment: Segment, *, loose: bool) -> Track | None:
    track = Track()
    first = track.seen[0]
    if segment.said == "syn":
        first.introduce(segment)
    elif segment.said == "ack" and loose:
        first.introduce(segment)
        first.maxend = (segment.end + first.maxwin) % 2**32
        for seen in track.seen:
            seen.sacks = seen.liberal = True
        first.scale = 0
    else:
        return None
    return track


def reopens(track: Track, segment: Segment, way: int) -> bool:
    """Whether the ports are used again: what was known is forgotten."""
    if segment.said != "syn" or track.state not in ("TIME_WAIT", "CLOSE") or next_state(track.state, "syn", way) != "SYN_SENT":
        return False
    return any(seen.closed_first for seen in track.seen) or track.last == ("rst", way)


def next_state(state: str, said: str, way: int) -> str:
    short = TABLE[said, way].split()[STATES.index(state)]
    return SHORT.get(short, short)


def follow(track: Track, segment: Segment, way: int) -> str:
    verdict = _follow(track, segment, way)
    if way and verdict not in ("invalid", "outside"):
        track.replied = True
    return verdict


def _follow(track: Track, segment: Segment, way: int) -> str:  # noqa: C901, PLR0912 - as in the kernel
    before, said = track.state, segment.said
    state, checked = next_state(before, said, way), False
    if state == "SYN_SENT" and before in ("TIME_WAIT", "CLOSE"):
        state = "IG"
    if state == "IG":
        if not (said == "syn-ack" and track.last == ("syn", 1 - way) and segment.ack == track.last_end):
            return ignored(track, segment, way)
        catch_up(track, way)
        before, state = "SYN_SENT", "SYN_RECV"
    if state == "IV":
        return "invalid"
    if (state, before, said) == ("TIME_WAIT", "LAST_ACK", "ack") and track.last == ("syn", 1 - way) and track.challenged:
        track.challenged = False
        return "ignore"
    if state == "SYN_SENT2":
        track.simultaneous = True
    if state == "SYN_RECV" and way and said == "ack" and track.simultaneous:
        state = "ESTABLISHED"
    if said == "rst":
        state, checked = reset(track, segment, way)
        if state == "IV":
            return "invalid"
    verdict = "accept" if checked else in_window(track, segment, way)
    if verdict == "outside":
        doubt(track, said, way)
    if verdict != "accept":
        return verdict
    track.last, track.state = (said, way), state
    if before != state == "FIN_WAIT":
        track.seen[way].closed_first = True
    if said == "rst" and not track.replied:
        track.over = True
    elif track.replied and before in ("SYN_RECV", "ESTABLISHED") and state == "ESTABLISHED":
        track.assured = True
    return "accept"


def doubt(track: Track, said: str, way: int) -> None:
    """A FIN or a reset outside the windows: that it came is remembered."""
    if track.assured and said in ("fin", "rst") and (track.last[1] == way or track.last[0] not in ("fin", "rst")):
        track.last = said, way


def ignored(track: Track, segment: Segment, way: int) -> str:
    track.last, track.last_end, track.last_window = (segment.said, way), segment.end, segment.window
    if segment.said == "syn" and not way:
        track.annotated, track.challenged, track.simultaneous = segment, track.state == "LAST_ACK", False
    if track.state == "SYN_SENT" and segment.said == "ack" and way:
        track.challenge_ack = segment.ack
    return "ignore"


def catch_up(track: Track, way: int) -> None:
    assert track.annotated is not None
    other = track.seen[1 - way]
    other.introduce(track.annotated)
    other.liberal = False
    other.end = other.maxend = track.last_end
    other.maxwin = track.last_window or 1
    track.challenged = False
    track.seen[way] = Seen(liberal=track.seen[way].liberal)


def reset(track: Track, segment: Segment, way: int) -> tuple[str, bool]:
    """What it makes of the connection, and whether its window need not be looked at."""
    works = track.state == "ESTABLISHED" and track.assured
    if track.state in CLOSING:
        return "CLOSE", True
    state, maxack = "CLOSE", track.seen[1 - way].maxack
    if maxack is not None and track.last[0] != "syn":
        if segment.seq == 0 and not works:
            return "CLOSE", False
        if after(maxack, segment.seq):
            return "IV", False
        if not works or segment.seq == maxack or (track.last == ("ack", way) and segment.seq == track.last_end):
            return "CLOSE", False
        state = track.state
    answers = (track.replied and track.last[0] == "syn") or (not track.assured and track.last[0] == "ack")
    challenge = track.state == "SYN_SENT" and track.last == ("ack", 1) and segment.seq == track.challenge_ack
    return state, (answers and segment.ack == track.last_end) or challenge


def in_window(track: Track, segment: Segment, way: int) -> str:  # noqa: C901, PLR0912 - as in the kernel
    sender, receiver = track.seen[way], track.seen[1 - way]
    seq, ack, sack, end, window = segment.seq, segment.ack, segment.sack, segment.end, segment.window
    syn, has_ack = bool(segment.flags & SYN), bool(segment.flags & ACK)
    if not sender.maxwin and not syn:
        sender.end = end
        sender.maxwin = window << sender.scale or 1
        sender.maxend = (end + sender.maxwin) % 2**32
        if not receiver.maxwin:
            receiver.end = receiver.maxend = sack
        elif sack == (receiver.end + 1) % 2**32:
            receiver.end = sack
    elif syn and (not sender.maxwin or (after(end, sender.end) and track.state in ("SYN_SENT", "SYN_RECV"))):
        first = not sender.maxwin
        sender.introduce(segment)
        if way and not (sender.scales and receiver.scales):
            sender.scale = receiver.scale = 0
        if not has_ack and (first or way):
            return "accept"
    if not has_ack or (segment.said == "rst" and not ack):
        ack = sack = receiver.end
    if segment.said == "rst" and not seq and track.state == "SYN_SENT":
        seq = end = sender.end
    least = (receiver.end - max(sender.maxwin, 66000) - 1) % 2**32
    late, early = after(sack, receiver.end), not after(sack, least)
    old = not after(end, (sender.end - receiver.maxwin - 1) % 2**32)
    if after(seq, sender.maxend):
        if not receiver.maxwin or old or early or late or (end - sender.maxend + 1) % 2**32 > receiver.maxwin:
            return "accept" if sender.liberal else "outside"
        sender.end = end
        return "accept" if sender.liberal else "ignore"
    if late:
        return "accept" if sender.liberal else "outside"
    if (receiver.maxwin and old) or early:
        return "accept" if sender.liberal else "ignore"
    if not syn:
        window <<= sender.scale
    sender.maxwin = max(sender.maxwin, window + (sack - ack) % 2**32)
    if after(end, sender.end):
        sender.end = end
    if has_ack and (sender.maxack is None or after(ack, sender.maxack)):
        sender.maxack = ack
    if receiver.maxwin and after(end, sender.maxend):
        receiver.maxwin += (end - sender.maxend) % 2**32
    if after(sack + window, (receiver.maxend - 1) % 2**32):
        receiver.maxend = (sack + window + (not window)) % 2**32
    if segment.said == "ack":
        track.last_end, track.last_window = end, segment.window
    return "accept"
