"""Packets that cubes copied for a reader (bpf/lib/capture.h), written as pcapng."""
