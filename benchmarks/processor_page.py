"""The page, the table and the picture of what ``on_a_processor.py`` has measured."""

from __future__ import annotations

import statistics
from typing import Any


def ratios(record: dict[str, Any]) -> list[float]:
    """Return ours over theirs, turn by turn."""
    return [ours / theirs for ours, theirs in zip(record["ours"], record["theirs"], strict=True)]


def ratio_text(record: dict[str, Any]) -> str:
    found = ratios(record)
    ours, theirs = statistics.median(record["ours"]), statistics.median(record["theirs"])
    return f"{ours:.1f} ms beside {theirs:.1f}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
