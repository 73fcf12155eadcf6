"""Pictures for the docs, as SVG: a trace, with a bar for each span as tools for traces draw it, and a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, NAMES, ROW = 900, 300, 26

OURS = "#b5546c"
AIRFLOWS = "#8a94a6"


def draw_trace(rows: Sequence[tuple[int, Any]]) -> str:
    """
    Return spans as an SVG, in order of their start at each depth.

    :param rows: how deep each span is, and the span.
    """
    rows = sorted(rows, key=lambda row: (row[0], row[1].start_time_unix_nano))
    begin = min(span.start_time_unix_nano for _, span in rows)
    end = max(span.end_time_unix_nano for _, span in rows)
    scale = (WIDTH - NAMES - 90) / (end - begin)
    lines = []
    for number, (depth, span) in enumerate(rows):
        top = 16 + number * ROW
        left = NAMES + (span.start_time_unix_nano - begin) * scale
        seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        width = max(2.0, seconds * 1e9 * scale)
        colour = OURS if depth >= 2 else AIRFLOWS
        lines += [
            f'<text x="{16 + depth * 16}" y="{top + 15}" fill="#222">{escape(span.name)}</text>',
            f'<rect x="{left:.1f}" y="{top + 3}" width="{width:.1f}" height="16" rx="3" fill="{colour}"/>',
            f'<text x="{left + width + 6:.1f}" y="{top + 15}" fill="#666" font-size="11">{seconds:.2f} s</text>',
        ]
    return _svg(lines, WIDTH, 32 + len(rows) * ROW)


def draw_terminal(text: str) -> str:
    """Return the text of a terminal as an SVG."""
    rows = text.splitlines()
    lines = [
        f'<text x="16" y="{31 + number * 18}" fill="#222" xml:space="preserve">{escape(row)}</text>'
        for number, row in enumerate(rows)
    ]
    return _svg(lines, 32 + round(max(map(len, rows)) * 7.9), 32 + len(rows) * 18)


def _svg(lines: Sequence[str], width: int, height: int) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
            *lines,
            "</svg>\n",
        ]
    )
