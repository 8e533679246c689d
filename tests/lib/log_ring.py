"""The datapath's log as tests read it; the reader is the agent's."""
from __future__ import annotations

from reconciler.agent.logs import LEVELS, LogRecord, RingLog, decode, render

__all__ = ["LEVELS", "LogRecord", "RingLog", "decode", "render"]
