"""The candidate's share of the traffic over time, drawn with blocks. Text only: a terminal and a pipe show the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ml_core.rollout.chapters import Share

_LIVE, _COPIES = " ▁▂▃▄▅▆▇█", "░"
_HEIGHT = 8
_LABELS = {1: "100 %", 3: " 75 %", 5: " 50 %", 7: " 25 %"}


def plot(shares: Sequence[Share], until: datetime, width: int) -> list[str]:
    """Lines of at most `width` characters: a column for each span of time, as high as the candidate's share was within it.

    Solid is live traffic, ░ are copies. Of several shares within a span the greatest is drawn, so that none is hidden.
    """
    if not shares:
        return []
    columns = max(10, width - 7)
    began_at = shares[0].at
    whole = max(until - began_at, timedelta(seconds=1))
    drawn = [_greatest(shares, began_at + whole * n / columns, began_at + whole * (n + 1) / columns) for n in range(columns)]
    lines = [
        f"{_LABELS.get(row, ''):>5}┤" + "".join(_cell(share, row) for share in drawn).rstrip() for row in range(1, _HEIGHT + 1)
    ]
    return [*lines, f"  0 %└{'─' * columns}", f"{'':6}{_times(began_at, whole, columns)}"]


def _greatest(shares: Sequence[Share], start: datetime, end: datetime) -> Share:
    before = [share for share in shares if share.at <= start]
    within = [share for share in shares if start < share.at < end]
    return max([*before[-1:], *within] or [shares[0]], key=lambda share: (share.live, share.copies))


def _cell(share: Share, row: int) -> str:
    """The character of a column in a row, counted from the top."""
    eighths = round(max(share.live, share.copies) / 100 * _HEIGHT * 8) or int(share.live + share.copies > 0)
    inside = max(0, min(8, eighths - (_HEIGHT - row) * 8))
    return _LIVE[inside] if share.live else (_COPIES if inside else " ")


def _times(began_at: datetime, whole: timedelta, columns: int) -> str:
    """The axis' labels: as many as there is room for, each at its place."""
    form = "%H:%M:%S" if whole < timedelta(minutes=30) else "%H:%M" if whole < timedelta(days=1) else "%m-%d %H:%M"
    length = len(f"{began_at:{form}}")
    number = max(2, min(5, columns // (length + 4)))
    line = [" "] * columns
    for place in range(number):
        at = (columns - length) * place // (number - 1)
        line[at : at + length] = f"{began_at + whole * at / columns:{form}}"
    return "".join(line).rstrip()
