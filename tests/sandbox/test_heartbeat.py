"""A stream without events stays open and sends heartbeats."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from airflow_provider_wr.sandbox.server import Sandbox

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lively() -> Iterator[Api]:
    with Sandbox(heartbeat=0.05) as sandbox:
        yield Api(sandbox)


def test_a_finished_run_is_not_replayed_but_beats_in_both_forms(lively: Api) -> None:
    lively.sandbox.control.fault("trigger", finish_first=True)
    with lively.stream(lively.trigger()) as stream:
        lines = list(islice(stream.iter_lines(chunk_size=1), 10))
    assert lines == [b":ping", b"", b"id: 1", b"data: :ping", b"", b":ping", b"", b"id: 2", b"data: :ping", b""]


def test_a_lost_terminal_event_leaves_the_stream_open(lively: Api) -> None:
    lively.sandbox.control.fault("stream", lose_terminal=True)
    lively.configure({"Quote": {"seconds": 0.05}})
    run_id = lively.trigger()
    seen: list[bytes] = []
    with lively.stream(run_id) as stream:
        for line in stream.iter_lines(chunk_size=1):
            seen.append(line)
            if seen.count(b":ping") > 2:
                break
    assert lively.run(run_id)["status"] == "COMPLETED"
    told = [json.loads(line[6:])["status"] for line in seen if line.startswith(b"data: {")]
    assert set(told) == {"EXECUTING"}


def test_a_silent_stream_sends_nothing_at_all(lively: Api) -> None:
    lively.sandbox.control.fault("stream", silent=True)
    lively.configure({"Quote": {"seconds": 0.2}})
    run_id = lively.trigger()
    connection = HTTPConnection(urlsplit(lively.sandbox.url).netloc, timeout=10)
    with closing(connection):
        path = f"/v1/sdk/workflows/executions/{run_id}/stream"
        connection.request("GET", path, headers={"X-Api-Key": lively.sandbox.api_key})
        assert connection.getresponse().status == 200
        assert lively.finish(run_id)["status"] == "COMPLETED"
        connection.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.sock.recv(1)
