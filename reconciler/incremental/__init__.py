"""Caches and persistent data: structure shared between versions, memoised work, and its owners."""
