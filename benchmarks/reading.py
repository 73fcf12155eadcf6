"""
What it costs to parse events and runs, as a ratio: the same in another form, or with ``msgspec`` alone.

Each number is CPU time of this process. The sides take turns, and the least of many counts: whatever else the
machine does only adds to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from airflow_provider_wr.api import answers, calls, redaction
from airflow_provider_wr.api.answers import Answer
from airflow_provider_wr.api.sse import EventStream
from benchmarks.turns import show, spread

TURNS = 5

#: How often a side is measured in a turn.
REPEATS = 7

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"

#: A key and a secret, which are looked for in every answer.
SECRETS = (
    "ws_0123456789abcdef0123456789abcdef",
    "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9q/SnF",
)


def _stages(count: int, output: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "module": "HTTP_REQUEST",
            "status": "RUNNING" if number % 50 == 0 else "COMPLETED",
            "output": {"url": "https://example.com/a%20b", "body": "x" * output},
            "error": None,
            "creditUsage": 1.5,
            "executionAttempt": 1,
            "updatedAt": "2026-01-01T00:00:00.000Z",
        }
        for number in range(count)
    ]


def _run(stages: int, output: int) -> bytes:
    return json.dumps({"id": RUN_ID, "status": "EXECUTING", "runStages": _stages(stages, output)}).encode()


def _event(stages: int) -> bytes:
    listed = [{key: stage[key] for key in ("id", "module", "status")} for stage in _stages(stages, 0)]
    return json.dumps({"id": RUN_ID, "status": "EXECUTING", "output": {"nonTerminalStages": listed}}).encode()


def _feed(wire: bytes, chunk: int) -> Callable[[], object]:
    chunks = [wire[start : start + chunk] for start in range(0, len(wire), chunk)]

    def feed() -> object:
        stream = EventStream()
        return [stream.feed(each) for each in chunks]

    return feed


def _read(body: bytes) -> Any:
    return answers.read_answer(calls.get_run(RUN_ID), Answer(200, {}, body))


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return what is compared: a name, and both sides."""
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for name, stages in (("700 B", 5), ("350 kB", 3000)):
        data = _event(stages)
        one_line = b"data: " + data + b"\n\n"
        forms = {
            "id:": b"id: 7\ndata: " + data + b"\n\n",
            "event: and id:": b"event: a\nid: 7\ndata: " + data + b"\n\n",
        }
        for form, wire in forms.items():
            for chunk, pieces in ((len(wire), "whole"), (1400, "in packets")):
                found[f"event of {name} with {form}, {pieces}, against data: alone"] = (
                    _feed(wire, chunk),
                    _feed(one_line, chunk),
                )
    decode = msgspec.json.Decoder().decode
    for size, output in (("1 MB", 0), ("12 MB", 2200)):
        body = _run(5000, output)
        found[f"run of 5000 stages, {size}: status, against msgspec alone"] = (
            lambda body=body: _read(body).status,
            lambda body=body: decode(body),
        )
        found[f"run of 5000 stages, {size}: every stage, against msgspec alone"] = (
            lambda body=body: _read(body).raw,
            lambda body=body: decode(body),
        )
    return found


def _least(work: Callable[[], object], times: int) -> float:
    def once() -> float:
        start = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - start) / times

    return min(once() for _ in range(REPEATS))


def main() -> list[dict[str, Any]]:
    """Compare all, print a table, and return its rows."""
    for secret in SECRETS:
        redaction.hide(secret)
    rows: list[dict[str, Any]] = []
    for name, (ours, other) in cases().items():
        times = max(1, int(0.01 / _least(other, 1)))
        turns = [(_least(ours, times), _least(other, times)) for _ in range(TURNS)]
        rows.append({"what": name, **spread([{"ratio": a / b, "ms": a * 1e3} for a, b in turns])})
        print(f"{name} | {show(rows[-1]['ratio'])} | {show(rows[-1]['ms'])}", flush=True)
    return rows
