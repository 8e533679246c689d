"""Where pcn finds the service."""

from pathlib import Path

DIRECTORY = str(Path(__file__).resolve().parent)
