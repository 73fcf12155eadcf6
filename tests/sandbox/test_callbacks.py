"""Callbacks arrive, on this machine only, with the headers of the vendor's documentation."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from certificates import self_signed

from airflow_provider_wr.sandbox.callbacks import PAUSE
from airflow_provider_wr.sandbox.server import Sandbox

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "s3cret-ü"
NOWHERE = "http://127.0.0.1:1/"
WAIT = 10_000


class Receiver:
    """A server that records its requests. It answers with `statuses` in turn (0 is no answer), then with 204."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append((self.path, headers, body))
                if status := receiver.statuses.pop(0) if receiver.statuses else 204:
                    self.send_response(status)
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()

            def log_message(self, *args: object) -> None:
                """Do not log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}/hook?a=1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def until(condition: Callable[[], Any]) -> Any:
    """Return a condition's result as soon as it is true."""
    deadline = time.monotonic() + 10
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


def callback(api: Api, execution_id: str) -> dict[str, Any]:
    state: dict[str, Any] = api.execution(execution_id)["callback"]
    return state


@pytest.mark.parametrize("config", [{}, {"failWith": "no node"}], ids=["completed", "failed"])
def test_an_execution_that_ended_is_delivered(api: Api, receiver: Receiver, config: dict[str, Any]) -> None:
    options = {"callbackUrl": receiver.url, "callbackHeaders": {"X-Trace": "t1"}, "waitForMs": WAIT}
    record = api.execute(config=config, **options).json()
    until(lambda: callback(api, record["id"])["deliveredAt"])
    ((path, headers, body),) = receiver.received
    assert path == "/hook?a=1"
    assert {**json.loads(body), "callback": None} == {**record, "callback": None}
    assert headers == {
        "host": headers["host"],
        "content-length": str(len(body)),
        "connection": "close",
        "content-type": "application/json",
        "x-trace": "t1",
        "x-event": "component.execution.terminal",
        "x-delivery-id": f"{record['id']}:1",
    }
    state = callback(api, record["id"])
    assert (state["url"], state["headerNames"], state["attemptCount"]) == (receiver.url, ["X-Trace"], 1)
    assert (state["signed"], state["signatureAlgorithm"], state["lastError"]) == (False, None, None)


def test_a_secret_signs_the_timestamp_and_the_body(api: Api, receiver: Receiver) -> None:
    response = api.execute(callbackUrl=receiver.url, callbackSecret=SECRET)
    ((_, headers, body),) = until(lambda: receiver.received)
    signed = f"{headers['x-signature-timestamp']}.".encode() + body
    assert headers["x-signature"] == f"sha256={hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()}"
    assert headers["x-signature-version"] == "v1"
    state = response.json()["callback"]
    assert (state["signed"], state["signatureAlgorithm"]) == (True, "hmac-sha256-v1")
    assert SECRET not in response.text + body.decode() + json.dumps(api.sandbox.control.executions())


@pytest.mark.parametrize("status", [500, 302, 0], ids=["refused", "redirected", "no answer"])
def test_a_delivery_is_tried_again(api: Api, receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    execution_id = api.execute(callbackUrl=receiver.url).json()["id"]
    until(lambda: callback(api, execution_id)["deliveredAt"])
    deliveries = [headers["x-delivery-id"] for _, headers, _ in receiver.received]
    assert deliveries == [f"{execution_id}:1", f"{execution_id}:2"]
    assert json.loads(receiver.received[1][2])["callback"]["lastError"]


def test_a_delivery_that_was_given_up_is_replayed(api: Api, receiver: Receiver) -> None:
    receiver.statuses = [500] * 3
    execution_id = api.execute(callbackUrl=receiver.url).json()["id"]
    until(lambda: callback(api, execution_id)["lastError"] and len(receiver.received) == 3)
    state = callback(api, execution_id)
    assert (state["deliveredAt"], state["lastError"]) == (None, "answered 500")
    assert api.replay(execution_id).status_code == 201
    until(lambda: callback(api, execution_id)["deliveredAt"])
    assert receiver.received[-1][1]["x-delivery-id"] == f"{execution_id}:4"
    assert api.replay(execution_id).status_code == 201
    until(lambda: len(receiver.received) == 5)


def test_a_receiver_with_tls_needs_no_known_certificate(api: Api, tmp_path: Path) -> None:
    receiver = Receiver(self_signed(tmp_path).server)
    try:
        execution_id = api.execute(callbackUrl=receiver.url).json()["id"]
        until(lambda: callback(api, execution_id)["deliveredAt"])
    finally:
        receiver.close()


def test_a_receiver_that_is_not_there(api: Api) -> None:
    execution_id = api.execute(callbackUrl=NOWHERE).json()["id"]
    assert "Connect call failed" in until(lambda: callback(api, execution_id)["lastError"])


def test_a_header_that_cannot_be_sent_is_the_error_of_the_delivery(api: Api, receiver: Receiver) -> None:
    execution_id = api.execute(callbackUrl=receiver.url, callbackHeaders={"X-A": "1\r\nX-B: 2"}).json()["id"]
    assert "header" in until(lambda: callback(api, execution_id)["lastError"])
    assert receiver.received == []


def test_nothing_to_replay(api: Api, receiver: Receiver) -> None:
    refused = api.replay(api.execute(waitForMs=WAIT).json()["id"])
    assert (refused.status_code, refused.json()) == (409, {"error": "NO_CALLBACK", "message": "no callback url"})
    api.sandbox.control.steer("RANDOM_UUID", {"hold": True})
    assert api.replay(api.execute(callbackUrl=receiver.url).json()["id"]).status_code == 409
    assert receiver.received == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://169.254.169.254/",
        "http://0.0.0.0:80/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1\\@example.com/",
        "http://[::ffff:1.2.3.4]/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "127.0.0.1",
        "",
        1,
    ],
)
def test_no_callback_leaves_this_machine(api: Api, url: Any) -> None:
    response = api.execute(callbackUrl=url)
    assert response.status_code == 422
    assert "on this machine" in response.json()["errors"][0]["message"]
    assert api.sandbox.control.executions() == []


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "https://127.0.0.1:1/", "http://[::1]:1/", "http://127.1.2.3:1"]
)
def test_every_address_of_this_machine_is_accepted(api: Api, url: str) -> None:
    assert api.execute(callbackUrl=url).status_code == 201


@pytest.mark.parametrize(
    "options",
    [
        {"callbackHeaders": {"content-type": "text/plain"}},
        {"callbackHeaders": {"X-Signature": "mine"}},
        {"callbackHeaders": {"X-Number": 1}},
        {"callbackHeaders": []},
        {"callbackSecret": ""},
        {"callbackSecret": 1},
    ],
    ids=str,
)
def test_what_a_callback_must_not_have(api: Api, options: dict[str, Any]) -> None:
    assert api.execute(callbackUrl=NOWHERE, **options).status_code == 422


def test_close_does_not_wait_for_a_receiver() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Sandbox() as sandbox:
        server.settimeout(10)
        Api(sandbox).execute(callbackUrl=f"http://127.0.0.1:{server.getsockname()[1]}/")
        with server.accept()[0]:
            before = time.monotonic()
            sandbox.close()
            assert time.monotonic() - before < 1


def test_reset_ends_deliveries(api: Api, receiver: Receiver) -> None:
    receiver.statuses = [500] * 3
    api.execute(callbackUrl=receiver.url)
    until(lambda: receiver.received)
    api.sandbox.control.reset()
    time.sleep(PAUSE + 0.3)
    assert len(receiver.received) == 1
