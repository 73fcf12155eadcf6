"""Each call of both hooks: the request that the server gets, and the result."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from servers import API_KEY, COMPONENT_ID, RUN_ID, STREAM_HEAD, WORKFLOW_ID, Peer, Request, event, free_port, run

from airflow_provider_wr.exceptions import WRAuthError, WRNotFoundError, WRValidationError
from airflow_provider_wr.hooks.wr import NO_RUN, WRAsyncHook, WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.waiting import rules

from .both import AnyHook
from .conftest import Connect, Serve

SDK_REQUESTS = json.loads((Path(__file__).parents[1] / "wire" / "sdk-requests.json").read_text())
OTHER_ID = "11111111-2222-4333-8444-555566667777"


def api(request: Request, peer: Peer) -> None:
    """Answer every call with success."""
    if request.is_stream:
        peer.send(STREAM_HEAD, event("COMPLETED"))
        peer.close()
    elif request.is_trigger:
        peer.answer(201, {"runId": RUN_ID, "jobId": "bull-1"})
    elif request.method == "POST":
        peer.answer(201)
    else:
        peer.answer(200, run())


def component(sandbox: Sandbox, component_id: str) -> dict[str, Any]:
    return next(dict(each) for each in sandbox.control.components() if each["id"] == component_id)


# --- against the sandbox ----------------------------------------------------------------------------------


def test_an_update_is_logged_without_its_values(
    sandbox: Sandbox, hook: AnyHook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "airflow_provider_wr.hooks"):
        hook.update_component(COMPONENT_ID, config={"apiUrl": "https://hush", "limit": 7}, name="Hush")
    assert f"Updated component {COMPONENT_ID}: config apiUrl, limit; name" in caplog.messages


def test_a_run_is_triggered_read_streamed_and_waited_for(sandbox: Sandbox, hook: AnyHook) -> None:
    hook.update_component(COMPONENT_ID, config={"seconds": 10})
    triggered = hook.trigger_run()
    assert [each["id"] for each in sandbox.control.runs()] == [triggered.run_id]
    assert str(triggered.job_id).endswith("12345")

    assert hook.get_run(triggered.run_id).id == triggered.run_id

    events = hook.stream_run(triggered.run_id)
    assert [each.is_terminal for each in events] == [False] * (len(events) - 1) + [True]
    assert {each.run_id.lower() for each in events} == {triggered.run_id}

    run = hook.wait_for_run(triggered.run_id)
    assert (run.id, run.status, run.is_terminal) == (triggered.run_id, "COMPLETED", True)
    assert run == hook.get_run(triggered.run_id)
    assert run.total_usage == sum(stage.credit_usage or 0 for stage in run.stages) > 0


@pytest.mark.parametrize("config", [{"failWith": "no funds"}, {"cancelRun": "enough"}], ids=["FAILED", "CANCELED"])
def test_a_wait_returns_a_run_that_did_not_end_well(
    sandbox: Sandbox, hook: AnyHook, config: dict[str, str]
) -> None:
    hook.update_component(sandbox.components["Quote"], config=config)
    run = hook.wait_for_run(hook.trigger_run().run_id)
    assert run.status == ("FAILED" if "failWith" in config else "CANCELED")
    assert (run.cancel_reason == "enough") is ("cancelRun" in config)


def test_an_update_merges_the_config_and_leaves_the_rest(sandbox: Sandbox, hook: AnyHook) -> None:
    before = component(sandbox, COMPONENT_ID)
    hook.update_component(COMPONENT_ID, config={"kept": 1, "changed": "old"})
    hook.update_component(COMPONENT_ID, config={"changed": {"to": ["new", None, True, 2.5]}, "ключ": "значение"})
    assert component(sandbox, COMPONENT_ID) == {
        **before,
        "config": {"kept": 1, "changed": {"to": ["new", None, True, 2.5]}, "ключ": "значение"},
    }
    hook.update_component(COMPONENT_ID, name="Angebot")
    hook.update_component(COMPONENT_ID, position=(1.5, -2))
    after = component(sandbox, COMPONENT_ID)
    assert (after["name"], after["position"]) == ("Angebot", [1.5, -2])
    assert after["config"]["kept"] == 1


def test_a_key_for_other_workflows_is_refused(sandbox: Sandbox, hook: AnyHook, connect: Connect) -> None:
    connect(sandbox.url, api_key="ws_scoped")
    with pytest.raises(WRAuthError) as caught:
        hook.trigger_run()
    assert caught.value.status_code == 403
    assert "may be for other workflows" in str(caught.value)
    assert sandbox.control.runs() == []


@pytest.mark.parametrize(
    ("connection_has", "hook_has", "call_has", "used"),
    [
        (WORKFLOW_ID, None, None, WORKFLOW_ID),
        (OTHER_ID, WORKFLOW_ID, None, WORKFLOW_ID),
        (OTHER_ID, OTHER_ID, WORKFLOW_ID, WORKFLOW_ID),
        (None, WORKFLOW_ID, None, WORKFLOW_ID),
    ],
)
def test_the_nearest_workflow_counts(
    serve: Serve,
    new_hook: Callable[..., AnyHook],
    connection_has: str | None,
    hook_has: str | None,
    call_has: str | None,
    used: str,
) -> None:
    server = serve(api, workflow_id=connection_has)
    hook = new_hook(workflow_id=hook_has)
    hook.trigger_run(call_has)
    hook.update_component(COMPONENT_ID, workflow_id=call_has, name="n")
    assert [request.target for request in server.requests] == [
        f"/v1/sdk/workflows/{used}",
        f"/v1/sdk/workflows/{used}/components/{COMPONENT_ID}",
    ]


# --- on the wire ------------------------------------------------------------------------------------------


def test_requests_are_those_of_the_vendors_sdk(serve: Serve, hook: AnyHook) -> None:
    server = serve(api)
    hook.trigger_run()
    hook.stream_run(RUN_ID)
    hook.get_run(RUN_ID)
    hook.update_component(COMPONENT_ID, config={"a": 1}, name="n", position=[1, 2])
    assert len(server.requests) == len(SDK_REQUESTS)
    for sent, sdk in zip(server.requests, SDK_REQUESTS, strict=True):
        assert (sent.method, sent.target) == (sdk["method"], sdk["path"])
        assert sent.body == (sdk["body"] or "").encode()
        assert sent.headers["x-api-key"] == sdk["headers"]["x-api-key"]
        assert sent.headers.get("content-type") == sdk["headers"].get("content-type")
        assert sent.headers["accept"] == ("text/event-stream" if sent.is_stream else "application/json")
        assert sent.headers["user-agent"].startswith("airflow-provider-wr/")
        assert not sent.headers.keys() & {"x-sdk-signature", "x-sdk-timestamp", "cookie", "authorization"}


def test_a_stream_is_requested_without_compression(serve: Serve, hook: AnyHook) -> None:
    server = serve(api)
    hook.stream_run(RUN_ID)
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_nothing_goes_along_with_the_key(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No cookies, and no password from ~/.netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    def script(request: Request, peer: Peer) -> None:
        peer.answer(200, run(), {"Set-Cookie": "session=1"})

    server = serve(script)
    hook.get_run(RUN_ID)
    hook.get_run(RUN_ID)
    unwanted = [request.headers.keys() & {"cookie", "authorization"} for request in server.requests]
    assert unwanted == [set(), set()]


def test_plain_calls_share_a_connection(serve: Serve, hook: AnyHook) -> None:
    server = serve(api)
    for _ in range(3):
        hook.get_run(RUN_ID)
        hook.update_component(COMPONENT_ID, name="n")
    assert server.connections == 1


def test_a_base_path_comes_before_the_apis(serve: Serve, hook: AnyHook, connect: Connect) -> None:
    server = serve(api)
    connect(f"{server.url}/gateway/")
    hook.get_run(RUN_ID)
    assert server.requests[0].target == f"/gateway/v1/sdk/workflows/executions/{RUN_ID}"


def test_calls_go_through_the_proxy_of_the_environment(
    serve: Serve, hook: AnyHook, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxy = serve(api)
    monkeypatch.setenv("http_proxy", proxy.url)
    connect("http://api.localhost:1", allow_http=True)
    assert hook.get_run(RUN_ID).id == RUN_ID
    assert proxy.requests[0].target == f"http://api.localhost:1/v1/sdk/workflows/executions/{RUN_ID}"


# --- signatures -------------------------------------------------------------------------------------------


def keys() -> tuple[str, str]:
    """Return a new API secret and its public key, in base64."""
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(secret).decode(), base64.b64encode(public).decode()


@pytest.fixture(scope="module")
def signed() -> Any:
    secret, public = keys()
    with Sandbox(public_key=public, speed=20) as sandbox:
        yield sandbox, secret


def test_signed_requests_are_accepted(signed: tuple[Sandbox, str], hook: AnyHook, connect: Connect) -> None:
    sandbox, secret = signed
    sandbox.control.reset()
    connect(sandbox.url, api_key=sandbox.api_key, api_secret=secret)
    hook.update_component(COMPONENT_ID, config={"текст": "ü", "10": 1.0, "9": 1e21}, position=[1.0, 2])
    assert hook.wait_for_run(hook.trigger_run().run_id).status == "COMPLETED"
    assert {each["endpoint"] for each in sandbox.control.requests()} == {"update", "trigger", "stream", "get_run"}
    assert {each["status"] for each in sandbox.control.requests()} <= {200, 201}


@pytest.mark.parametrize("secret", [keys()[0], None], ids=["wrong key", "no key"])
def test_requests_with_a_wrong_signature_are_refused(
    signed: tuple[Sandbox, str], hook: AnyHook, connect: Connect, secret: str | None
) -> None:
    sandbox, _ = signed
    sandbox.control.reset()
    connect(sandbox.url, api_key=sandbox.api_key, api_secret=secret)
    for call in (
        hook.trigger_run,
        lambda: hook.get_run(RUN_ID),
        lambda: hook.stream_run(RUN_ID),
        lambda: hook.update_component(COMPONENT_ID, name="n"),
    ):
        with pytest.raises(WRAuthError, match="Invalid signature"):
            call()
    assert sandbox.control.runs() == []


# --- refused before anything is sent ----------------------------------------------------------------------

BAD_CALLS: dict[str, Callable[[AnyHook], Any]] = {
    "trigger: no UUID": lambda hook: hook.trigger_run("supplier-payments"),
    "trigger: a path": lambda hook: hook.trigger_run(f"../executions/{RUN_ID}"),
    "get: empty": lambda hook: hook.get_run(""),
    "get: None": lambda hook: hook.get_run(None),  # type: ignore[arg-type]
    "get: a path": lambda hook: hook.get_run(f"{RUN_ID}/stream"),
    "get: a newline": lambda hook: hook.get_run(f"{RUN_ID}\n"),
    "get: a template": lambda hook: hook.get_run("{{ run_id }}"),
    "stream: no UUID": lambda hook: hook.stream_run("run"),
    "wait: no UUID": lambda hook: hook.wait_for_run("run"),
    "update: nothing": lambda hook: hook.update_component(COMPONENT_ID),
    "update: no UUID": lambda hook: hook.update_component("Quote", name="n"),
    "update: bad workflow": lambda hook: hook.update_component(COMPONENT_ID, workflow_id="w", name="n"),
    "update: config is a list": lambda hook: hook.update_component(COMPONENT_ID, config=[1]),
    "update: config with NaN": lambda hook: hook.update_component(COMPONENT_ID, config={"a": float("nan")}),
    "update: config with a date": lambda hook: hook.update_component(COMPONENT_ID, config={"a": object()}),
    "update: config with wei": lambda hook: hook.update_component(COMPONENT_ID, config={"a": 2**60 + 1}),
    "update: empty name": lambda hook: hook.update_component(COMPONENT_ID, name=" "),
    "update: position of one": lambda hook: hook.update_component(COMPONENT_ID, position=[1]),
    "update: position of texts": lambda hook: hook.update_component(COMPONENT_ID, position=["1", "2"]),
    "update: position of flags": lambda hook: hook.update_component(COMPONENT_ID, position=[True, False]),
    "update: position of NaN": lambda hook: hook.update_component(COMPONENT_ID, position=[1, float("nan")]),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_input_is_refused_before_anything_is_sent(
    serve: Serve, hook: AnyHook, call: Callable[[AnyHook], Any]
) -> None:
    server = serve(api)
    with pytest.raises(WRValidationError) as caught:
        call(hook)
    assert caught.value.status_code is None
    assert server.connections == 0


def test_a_call_without_any_workflow_names_where_to_set_it(serve: Serve, hook: AnyHook) -> None:
    server = serve(api, workflow_id=None)
    with pytest.raises(WRValidationError, match="no workflow id"):
        hook.trigger_run()
    assert server.connections == 0


def test_a_bad_connection_is_refused_by_name_without_its_secret(hook: AnyHook, connect: Connect) -> None:
    connect("http://127.0.0.1:1", api_key="ws_secret value")
    with pytest.raises(WRValidationError, match="connection 'wr_default'") as caught:
        hook.get_run(RUN_ID)
    assert "ws_secret" not in str(caught.value)


# --- the rest of WRHook -----------------------------------------------------------------------------------


def test_leaving_a_stream_early_closes_its_connection(serve: Serve) -> None:
    def script(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD, event())
        peer.hang()

    server = serve(script)
    with WRHook() as hook:
        stream = hook.stream_run(RUN_ID)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        server.wait_until_alone()


async def test_leaving_an_asynchronous_stream_early_closes_its_connection(serve: Serve) -> None:
    def script(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD, event())
        peer.hang()

    server = serve(script)
    async with WRAsyncHook() as hook:
        stream = hook.stream_run(RUN_ID)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.to_thread(server.wait_until_alone)


async def test_a_slow_consumer_still_gets_the_next_event(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "SILENCE", 0.2)

    def script(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD, event(), event(), event("COMPLETED"), every=0.05)
        peer.close()

    serve(script)
    statuses = []
    async with WRAsyncHook() as hook:
        async for each in hook.stream_run(RUN_ID):
            statuses.append(each.status)
            await asyncio.sleep(0.5)
    assert statuses == ["EXECUTING", "EXECUTING", "COMPLETED"]


ASKED = f"GET /v1/sdk/workflows/executions/{NO_RUN}"
ANSWERS: dict[str, tuple[tuple[Any, ...], bool, str]] = {
    "404 with a page": ((404, "<html>"), False, "URL answered 404, but not in JSON: is it White Rabbit's API?"),
    "401": (
        (401, {"errors": [{"code": "U", "message": "Invalid API key"}]}),
        False,
        "The API at URL refuses the key: 401 Invalid API key: check the password of the connection",
    ),
    "403": (
        (403, {"error": "Forbidden", "message": "No access"}),
        False,
        "The API at URL refuses the key: 403 No access: the key of the connection may be for other workflows "
        "(Workspace Settings, API Keys)",
    ),
    "200": ((200, run(id=NO_RUN)), False, "URL found a run that cannot exist: is it White Rabbit's API?"),
    "200 with a page": ((200, "<html>"), False, "the answer is not JSON: <html>"),
    "302": (
        (302, b"", {"Location": "https://elsewhere.example/"}),
        False,
        "302 redirected to https://elsewhere.example/, which is not followed: "
        "set the connection's host to where the API is",
    ),
    "429": ((429, {"message": "Rate limit exceeded"}), False, "429 Rate limit exceeded"),
    "502": (
        (502, "<html>"),
        False,
        "502 <html>: the fault is on the other side",
    ),
}


@pytest.mark.parametrize(("answer", "works", "says"), ANSWERS.values(), ids=ANSWERS)
def test_test_connection_checks_the_key_with_one_request(
    serve: Serve, answer: tuple[Any, ...], works: bool, says: str
) -> None:
    server = serve(lambda request, peer: peer.answer(*answer))
    with WRHook() as hook:
        assert hook.test_connection() == (works, says.replace("URL", server.url).replace("CALL", ASKED))
    assert server.count() == 1


ELSEWHERE = "Set the connection's host to where the API's /v1 begins, such as https://api.whiterabbit.app"
NOT_FOUND: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], bool, str]] = {
    "the API": (
        (404, {"error": "Not Found", "message": "Run not found"}),
        (401, {"message": "Invalid API key"}),
        True,
        "The API at URL accepts the key",
    ),
    "the API, which looks at no key before": (
        (404, {"error": "NOT_FOUND", "message": "Run not found"}),
        (404, {"error": "NOT_FOUND", "message": "Run not found"}),
        True,
        "The API at URL accepts the key",
    ),
    "the API, 403": ((404, {"message": "Not Found"}), (403,), True, "The API at URL accepts the key"),
    "the API, without a body": ((404,), (401,), True, "The API at URL accepts the key"),
    "the API, which repeats the path": (
        (404, {"statusCode": 404, "path": ASKED.split()[1], "message": "Run not found"}),
        (401,),
        True,
        "The API at URL accepts the key",
    ),
    "NestJS behind a gateway that looks at the key": (
        (404, {"statusCode": 404, "message": f"Cannot {ASKED}", "error": "Not Found"}),
        (401,),
        False,
        f"URL has no {ASKED.split()[1]}: Cannot {ASKED}. {ELSEWHERE}",
    ),
    "FastAPI": (
        (404, {"detail": "Not Found"}),
        (404, {"detail": "Not Found"}),
        False,
        f"URL has no {ASKED.split()[1]}: 404. {ELSEWHERE}",
    ),
    "Kong": (
        (404, {"message": "no Route matched with those values"}),
        (404, {"message": "no Route matched with those values"}),
        False,
        f"URL has no {ASKED.split()[1]}: no Route matched with those values. {ELSEWHERE}",
    ),
    "an outage": (
        (404, {"message": "Not Found"}),
        (429, {"message": "Rate limit exceeded"}),
        False,
        "URL answered 404, which is ambiguous; without the key: 429 Rate limit exceeded",
    ),
}


@pytest.mark.parametrize(("answer", "without_key", "works", "says"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_test_connection_takes_a_404_for_the_apis_where_another_key_is_refused(
    serve: Serve, answer: tuple[Any, ...], without_key: tuple[Any, ...], works: bool, says: str
) -> None:
    server = serve(
        lambda request, peer: peer.answer(*(answer if request.headers["x-api-key"] == API_KEY else without_key))
    )
    with WRHook() as hook:
        assert hook.test_connection() == (works, says.replace("URL", server.url).replace("CALL", ASKED))
    assert server.count() <= 2


def test_test_connection_detects_a_path_in_the_sandbox(sandbox: Sandbox, connect: Connect) -> None:
    assert WRHook().test_connection() == (True, f"The API at {sandbox.url} accepts the key")
    connect(f"{sandbox.url}/v1/somewhere", api_key=sandbox.api_key)
    works, message = WRHook().test_connection()
    assert not works
    assert message.endswith(ELSEWHERE)
    connect(f"{sandbox.url}/v1", api_key=sandbox.api_key)
    assert WRHook().test_connection() == (
        False,
        "the host contains /v1, which every call adds: leave out the path from there on",
    )


def test_test_connection_reports_a_refused_connection(connect: Connect) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    works, message = WRHook().test_connection()
    assert not works
    assert message.startswith("cannot connect: ")
    assert "Connection refused" in message


def test_test_connection_reports_an_invalid_connection(connect: Connect) -> None:
    connect("ftp://127.0.0.1")
    message = "the host is neither an http(s) URL without a query nor a host name"
    assert WRHook().test_connection() == (False, message)


def test_a_closed_hook_can_be_used_again(serve: Serve) -> None:
    server = serve(api)
    hook = WRHook()
    hook.get_run(RUN_ID)
    hook.close()
    server.wait_until_alone()
    hook.get_run(RUN_ID)
    hook.close()
    assert len(server.requests) == 2


def test_an_unknown_run_is_not_found(sandbox: Sandbox, hook: AnyHook) -> None:
    with pytest.raises(WRNotFoundError, match="not found"):
        hook.get_run(RUN_ID)
