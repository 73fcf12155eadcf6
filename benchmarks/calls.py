"""
Count the requests for one hour of waiting, compared to polling.

The rules of waiting do no I/O, so they run here with a fake clock.
"""

from __future__ import annotations

import logging
import statistics
from typing import Any

from airflow_provider_wr.api import watched
from airflow_provider_wr.models import Run
from airflow_provider_wr.waiting.rules import FollowStream, OpenStream, Pause, Read, StreamEnd, advance, wait

HOUR = 3600.0
RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"


def streaming(*, cut_after: float | None) -> int:
    """
    Wait for an hour on the stream; returns the requests.

    :param cut_after: seconds after which a stream is cut; None for never.
    """
    now = 0.0
    requests = 0
    answer: Any = None
    steps = wait(watched.run(RUN_ID), within=None, clock=lambda: now)
    while not isinstance(step := advance(steps, answer), Run):
        answer = None
        match step:
            case OpenStream():
                requests += 1
            case Read():
                requests += 1
                answer = Run.from_json({"id": RUN_ID, "status": "COMPLETED" if now >= HOUR else "EXECUTING"})
            case FollowStream():
                now = min(HOUR, now + (cut_after or HOUR))
                answer = StreamEnd(saw_terminal=now == HOUR)
            case Pause():
                now += step.within
    return requests


def polling(interval: float) -> int:
    """Poll every ``interval`` seconds for an hour; returns the requests."""
    return 1 + int(HOUR / interval)


def main() -> list[dict[str, Any]]:
    """Count all, print a table, and return its rows."""
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    often = [streaming(cut_after=60) for _ in range(25)]
    rows = [
        {"client": "the stream", "requests": streaming(cut_after=None)},
        {"client": "the stream, cut every minute", "requests": int(statistics.median(often))},
        *({"client": f"polling every {interval} s", "requests": polling(interval)} for interval in (5, 30, 60)),
    ]
    print("client | requests in an hour")
    for row in rows:
        print(f"{row['client']} | {row['requests']}")
    return rows
