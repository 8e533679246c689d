"""Captured packets of cubes (bpf/lib/capture.h), written as pcapng."""
