"""The request of each call, and the result or error of each answer, without sockets."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from datetime import datetime, timezone
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from airflow_provider_wr import __version__
from airflow_provider_wr.api import answers, calls, events, ids
from airflow_provider_wr.api.answers import Answer
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.decoding import decode
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.models import Run, RunEvent, TriggeredRun

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
RUN = "9e4c7b1a-1111-4222-8333-944455556666"
OTHER_RUN = "00000000-1111-4222-8333-944455556666"
COMPONENT = "c0ffee00-1111-4222-8333-944455556666"

TRIGGER = calls.trigger_run(WORKFLOW)
GET = calls.get_run(RUN)
STREAM = calls.stream_run(RUN)
UPDATE = calls.update_component(WORKFLOW, COMPONENT, name="n")
EXECUTE = calls.execute_component("RANDOM_UUID")
EXECUTION = "/v1/sdk/components/executions/" + RUN


def answer(status: int, body: object = b"", headers: dict[str, str] | None = None) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, CaseInsensitiveDict(headers or {}), raw)


# --- what a call sends ------------------------------------------------------------------------------------

VENDORS = json.loads((Path(__file__).parents[1] / "wire" / "sdk-requests.json").read_text())


@pytest.mark.parametrize(
    ("call", "recorded"),
    [
        pytest.param(TRIGGER, VENDORS[0], id="trigger"),
        pytest.param(STREAM, VENDORS[1], id="stream"),
        pytest.param(GET, VENDORS[2], id="read"),
        pytest.param(
            calls.update_component(WORKFLOW, COMPONENT, config={"a": 1}, name="n", position=[1, 2]),
            VENDORS[3],
            id="update",
        ),
    ],
)
def test_a_call_is_what_the_vendors_sdk_sends(call: Call[Any], recorded: dict[str, Any]) -> None:
    headers = {name.lower(): value for name, value in call.headers(api_key="ws_k", signer=None, now=0.0).items()}
    assert call.method == recorded["method"]
    assert call.path == recorded["path"]
    assert call.body == (None if recorded["body"] is None else recorded["body"].encode())
    assert headers["x-api-key"] == recorded["headers"]["x-api-key"]
    assert headers.get("content-type") == recorded["headers"].get("content-type")


@pytest.mark.parametrize(
    ("call", "own"),
    [
        pytest.param(TRIGGER, {"Accept": "application/json", "Content-Type": "application/json"}, id="trigger"),
        pytest.param(GET, {"Accept": "application/json"}, id="read"),
        pytest.param(
            STREAM,
            {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-cache"},
            id="stream",
        ),
        pytest.param(UPDATE, {"Accept": "application/json", "Content-Type": "application/json"}, id="update"),
    ],
)
def test_the_headers_without_a_secret(call: Call[Any], own: dict[str, str]) -> None:
    assert call.headers(api_key="ws_k", signer=None, now=0.0) == {
        **own,
        "X-Api-Key": "ws_k",
        "User-Agent": f"airflow-provider-wr/{__version__}",
    }


@pytest.mark.parametrize(
    ("call", "repeatable"),
    [
        pytest.param(TRIGGER, False, id="trigger"),
        pytest.param(GET, True, id="read"),
        pytest.param(STREAM, True, id="stream"),
        pytest.param(UPDATE, True, id="update"),
        pytest.param(EXECUTE, False, id="execute"),
        pytest.param(calls.get_execution(RUN), True, id="read an execution"),
        pytest.param(calls.stream_execution(RUN), True, id="stream an execution"),
        pytest.param(calls.replay_callback(RUN), True, id="replay"),
        pytest.param(calls.list_components(), True, id="catalogue"),
    ],
)
def test_what_starts_something_alone_is_not_repeatable(call: Call[Any], repeatable: bool) -> None:
    assert call.repeatable is repeatable


@pytest.mark.parametrize(
    ("call", "line", "body"),
    [
        (calls.get_execution(RUN), f"GET {EXECUTION}", None),
        (calls.stream_execution(RUN), f"GET {EXECUTION}/stream", None),
        (calls.replay_callback(RUN), f"POST {EXECUTION}/replay-callback", b"{}"),
        (calls.list_components(), "GET /v1/system/components", None),
        (EXECUTE, "POST /v1/sdk/components", b'{"module":"RANDOM_UUID","input":{},"config":{}}'),
    ],
)
def test_the_calls_of_components(call: Call[Any], line: str, body: bytes | None) -> None:
    assert (f"{call.method} {call.path}", call.body) == (line, body)
    assert (call.accept == "text/event-stream") is call.path.endswith("/stream")


@pytest.mark.parametrize(
    ("options", "body"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param(
            {"input": {"a": 1.0}, "config": {"b": [None]}}, {"input": {"a": 1}, "config": {"b": [None]}}, id="both"
        ),
        pytest.param({"attempts": 1, "wait_ms": 0}, {}, id="the server's defaults are not sent"),
        pytest.param({"attempts": 3, "wait_ms": 15000}, {"attempts": 3, "waitForMs": 15000}, id="the most"),
        pytest.param({"wait_ms": 1}, {"waitForMs": 1}, id="the least"),
        pytest.param(
            {
                "callback_headers": {"X-Team": "a"},
                "callback_secret": "hush",
                "callback_url": "https://x.example/?a=b",
                "attempts": 2,
            },
            {
                "attempts": 2,
                "callbackUrl": "https://x.example/?a=b",
                "callbackSecret": "hush",
                "callbackHeaders": {"X-Team": "a"},
            },
            id="callback, in the SDK's order",
        ),
    ],
)
def test_what_is_sent_to_execute_a_component(options: dict[str, Any], body: dict[str, Any]) -> None:
    call = calls.execute_component("X", **options)
    sent = json.loads(call.body or b"")
    expected = {"module": "X", "input": {}, "config": {}, **body}
    assert (sent, list(sent)) == (expected, list(expected))
    assert call.held_for == options.get("wait_ms", 0) / 1000
    assert "hush" not in repr(call)


# --- what is refused before it is sent --------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(RUN, id="lower case"),
        pytest.param(RUN.upper(), id="upper case"),
        pytest.param("00000000-0000-0000-0000-000000000000", id="nil"),
    ],
)
def test_a_uuid(value: str) -> None:
    assert ids.check_uuid(value, "run_id") == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("", "''", id="empty"),
        pytest.param("None", "'None'", id="None as a template renders it"),
        pytest.param(None, "'NoneType'", id="None"),
        pytest.param(5, "'int'", id="number"),
        pytest.param(uuid.UUID(RUN), "'UUID'", id="UUID object"),
        pytest.param(RUN.replace("-", ""), f"'{RUN.replace('-', '')}'", id="no dashes"),
        pytest.param(f"{{{RUN}}}", f"'{{{RUN}}}'", id="braces"),
        pytest.param(f"urn:uuid:{RUN}", f"'urn:uuid:{RUN}'", id="URN"),
        pytest.param(f" {RUN}", f"' {RUN}'", id="leading space"),
        pytest.param(f"{RUN}\n", rf"'{RUN}\\n'", id="trailing newline"),
        pytest.param(f"{RUN}\r\nX-Evil: 1", rf"'{RUN}\\r\\nX-Evil: 1'", id="header injection"),
        pytest.param("../" + RUN, f"'../{RUN}'", id="path upwards"),
        pytest.param(f"{RUN}/stream", f"'{RUN}/stream'", id="slash"),
        pytest.param(f"{RUN}?a=1", f"'{RUN}?a=1'", id="question mark"),
        pytest.param(f"{RUN}#a", f"'{RUN}#a'", id="hash"),
        pytest.param(RUN[:-3] + "%2e", f"'{RUN[:-3]}%2e'", id="percent"),
        pytest.param(RUN.replace("1", "١"), f"'{RUN.replace('1', '١')}'", id="digits of another script"),
        pytest.param(RUN[:-1], f"'{RUN[:-1]}'", id="too short"),
        pytest.param(RUN + "6", f"'{RUN}6'", id="too long"),
        pytest.param("g" + RUN[1:], f"'g{RUN[1:]}'", id="not hexadecimal"),
    ],
)
def test_what_is_no_uuid(value: object, shown: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        ids.check_uuid(value, "run_id")
    assert refused.value.message == (
        f"run_id should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, not {shown}"
    )


@given(st.text() | st.from_regex(r"\A[0-9a-f-]{36}\n?\Z") | st.uuids().map(str))
@example(f"{RUN}\n")
def test_any_text_is_a_uuid_or_refused(text: str) -> None:
    is_uuid = len(text) == 36 and set(text) <= set("0123456789abcdefABCDEF-")
    is_uuid = is_uuid and [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12]
    try:
        ids.check_uuid(text, "run_id")
    except WRValidationError as refused:
        assert not is_uuid
        assert refused.message.isprintable()  # noqa: PT017  # a UUID raises nothing
    else:
        assert is_uuid


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: calls.trigger_run("x"), id="trigger"),
        pytest.param(lambda: calls.get_run("x"), id="read"),
        pytest.param(lambda: calls.stream_run("x"), id="stream"),
        pytest.param(lambda: calls.get_execution("x"), id="read an execution"),
        pytest.param(lambda: calls.stream_execution("x"), id="stream an execution"),
        pytest.param(lambda: calls.replay_callback("../x"), id="replay"),
        pytest.param(lambda: calls.update_component("x", COMPONENT, name="n"), id="update, workflow"),
        pytest.param(lambda: calls.update_component(WORKFLOW, "x", name="n"), id="update, component"),
    ],
)
def test_no_call_has_another_id_in_its_path(build: Any) -> None:
    with pytest.raises(WRValidationError, match="should be a UUID"):
        build()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        *(
            (("",), "module should be the name of a component"),
            ((" ",), "module"),
            ((None,), "module"),
            ((7,), "module"),
        ),
        (("X", [1]), "input should be an object (a dict), not a list"),
        (("X", "{}"), "input should be an object (a dict), not a str"),
        (("X", None, 7), "config should be an object (a dict), not a int"),
        (("X", {"a": 2**60 + 1}), "$.input.a is an integer that JavaScript would round"),
        (("X", None, {"a": math.nan}), "$.config.a is nan, which JSON cannot hold"),
    ],
)
def test_a_component_that_cannot_be_sent_is_refused_by_name(arguments: Any, says: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        calls.execute_component(*arguments)
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attempts": 0}, "attempts should be an integer from 1 to 3, not 0"),
        ({"attempts": 4}, "attempts should be an integer from 1 to 3, not 4"),
        ({"attempts": True}, "attempts should be an integer from 1 to 3, not True"),
        ({"attempts": 1.0}, "attempts should be an integer from 1 to 3, not 1.0"),
        ({"attempts": "2"}, "attempts should be an integer from 1 to 3, not '2'"),
        ({"attempts": None}, "attempts should be an integer from 1 to 3, not None"),
        ({"wait_ms": -1}, "wait_ms should be an integer from 0 to 15000, not -1"),
        ({"wait_ms": 15001}, "wait_ms should be an integer from 0 to 15000, not 15001"),
        ({"wait_ms": False}, "wait_ms should be an integer from 0 to 15000, not False"),
        ({"wait_ms": 0.5}, "wait_ms should be an integer from 0 to 15000, not 0.5"),
        *(
            ({"callback_url": url}, "callback_url should be a URL that starts with https://, not ")
            for url in (
                "",
                "http://x.example",
                "ftp://x",
                "https://",
                "x.example",
                "https://a b",
                "https://[",
                7,
                b"https://x",
            )
        ),
        ({"callback_secret": "hush"}, "callback_secret and callback_headers need a callback_url"),
        ({"callback_headers": {}}, "callback_secret and callback_headers need a callback_url"),
        *(
            (
                {"callback_url": "https://x.example", "callback_secret": secret},
                "callback_secret should be a string",
            )
            for secret in ("", 7, "hush\ud83d", b"hush")
        ),
        *(
            ({"callback_url": "https://x.example", "callback_headers": headers}, "callback_headers")
            for headers in (["hush"], {7: "hush"}, {" ": "hush"}, {"X": 7}, {"X": "hush\r\nY: 1"}, {"X": None})
        ),
    ],
)
def test_a_limit_that_is_passed_is_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        calls.execute_component("X", **options)
    assert says in refused.value.message
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("update", "body"),
    [
        pytest.param({"config": {}}, b'{"config":{}}', id="empty config"),
        pytest.param({"config": {"b": 1.0, "a": "ü"}}, '{"config":{"b":1,"a":"ü"}}'.encode(), id="config"),
        pytest.param({"name": " n "}, b'{"name":" n "}', id="name"),
        pytest.param({"position": (1.5, -2)}, b'{"position":[1.5,-2]}', id="position"),
        pytest.param({"position": [0, 0]}, b'{"position":[0,0]}', id="origin"),
    ],
)
def test_the_body_of_an_update(update: dict[str, Any], body: bytes) -> None:
    assert calls.update_component(WORKFLOW, COMPONENT, **update).body == body


POSITION = "position should be two finite numbers [x, y], not "


@pytest.mark.parametrize(
    ("update", "message"),
    [
        pytest.param({}, "nothing to update: give at least one of config, name and position", id="nothing"),
        pytest.param({"config": [1]}, "config should be an object (a dict), not a list", id="config list"),
        pytest.param({"config": "{}"}, "config should be an object (a dict), not a str", id="config text"),
        pytest.param({"config": {"a": math.nan}}, "$.config.a is nan, which JSON cannot hold", id="config NaN"),
        pytest.param({"name": ""}, "name should be a string that is not empty", id="name empty"),
        pytest.param({"name": " \n"}, "name should be a string that is not empty", id="name blank"),
        pytest.param({"name": 5}, "name should be a string that is not empty", id="name number"),
        pytest.param({"position": [1]}, f"{POSITION}[1]", id="position of one"),
        pytest.param({"position": [1, 2, 3]}, f"{POSITION}[1, 2, 3]", id="position of three"),
        pytest.param({"position": "12"}, f"{POSITION}'12'", id="position text"),
        pytest.param({"position": ["1", "2"]}, f"{POSITION}['1', '2']", id="position of texts"),
        pytest.param({"position": [True, False]}, f"{POSITION}[True, False]", id="position of booleans"),
        pytest.param({"position": [0, math.nan]}, f"{POSITION}[0, nan]", id="position NaN"),
        pytest.param({"position": [0, -math.inf]}, f"{POSITION}[0, -inf]", id="position infinite"),
        pytest.param({"position": {0: 1, 1: 2}}, f"{POSITION}{{0: 1, 1: 2}}", id="position object"),
        pytest.param({"position": [0, 10**400]}, f"{POSITION}[0, {10**400}]", id="position huge"),
    ],
)
def test_what_is_no_update(update: dict[str, Any], message: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        calls.update_component(WORKFLOW, COMPONENT, **update)
    assert refused.value.message == message


@pytest.mark.parametrize("candidates", [(WORKFLOW, OTHER_RUN, None), (None, WORKFLOW, OTHER_RUN)])
def test_the_first_workflow_that_is_given(candidates: tuple[str | None, ...]) -> None:
    assert ids.choose_workflow(*candidates) == WORKFLOW


@pytest.mark.parametrize("candidates", [("", WORKFLOW), (None, ""), ("x", WORKFLOW)])
def test_a_workflow_that_is_given_and_is_none_is_refused(candidates: tuple[str | None, ...]) -> None:
    with pytest.raises(WRValidationError, match="workflow_id should be a UUID"):
        ids.choose_workflow(*candidates)


def test_no_workflow_is_given() -> None:
    with pytest.raises(WRValidationError, match="no workflow id: give workflow_id"):
        ids.choose_workflow(None, None)


RUN_IDS = [RUN, RUN.upper(), RUN.replace("-", ""), "run_7", "42", "01HXYZ-1", "bull:7"]


@pytest.mark.parametrize("run_id", RUN_IDS)
def test_a_run_id_of_any_form(run_id: str) -> None:
    assert ids.check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        *("", "None", None, 5, "x", "1" * 129),
        *(f" {RUN}", f"{RUN}\n", f"../{RUN}", f"{RUN}/stream", f"{RUN}?a=1", f"{RUN}%2e"),
        *("manual__2026-01-01T00:00:00+00:00", "manual__1"),
    ],
)
def test_what_is_no_run_id(run_id: object) -> None:
    with pytest.raises(WRValidationError, match="run_id should be a UUID"):
        ids.check_run_id(run_id)


# --- answers that are as promised -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "given", "result"),
    [
        pytest.param(
            TRIGGER, answer(200, {"runId": RUN, "jobId": "bull-1"}), TriggeredRun(RUN, "bull-1"), id="trigger, 200"
        ),
        pytest.param(TRIGGER, answer(201, {"runId": RUN}), TriggeredRun(RUN, None), id="trigger, 201"),
        pytest.param(
            GET,
            answer(200, {"id": RUN, "status": "CREATED"}),
            Run.from_json({"id": RUN, "status": "CREATED"}),
            id="read",
        ),
        pytest.param(
            GET,
            answer(200, {"id": RUN.upper(), "status": "CREATED"}),
            Run.from_json({"id": RUN.upper(), "status": "CREATED"}),
            id="read, id in upper case",
        ),
        pytest.param(
            GET,
            answer(200, b"\xef\xbb\xbf" + json.dumps({"id": RUN, "status": "CREATED"}).encode()),
            Run.from_json({"id": RUN, "status": "CREATED"}),
            id="read, with a BOM",
        ),
        pytest.param(UPDATE, answer(201, {"id": COMPONENT}), None, id="update"),
        pytest.param(UPDATE, answer(204), None, id="update, no content"),
        pytest.param(UPDATE, answer(200, b"OK"), None, id="update, not JSON"),
        pytest.param(STREAM, answer(200), None, id="stream"),
    ],
)
def test_a_good_answer(call: Call[Any], given: Answer, result: object) -> None:
    assert answers.read_answer(call, given) == result


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "the answer is not JSON: it is empty", id="empty"),
        pytest.param(b" \n", "the answer is not JSON: it is empty", id="blank"),
        pytest.param(
            b"<html>\n <h1>Bad gateway</h1>", "the answer is not JSON: <html> <h1>Bad gateway</h1>", id="HTML"
        ),
        pytest.param(
            '{"id": 1}'.encode("utf-16-le"),
            r'the answer is not JSON: {\x00"\x00i\x00d\x00"\x00:\x00 \x001\x00}\x00',
            id="UTF-16",
        ),
        pytest.param(b'{"id": ', 'the answer is not JSON: {"id":', id="cut off"),
        pytest.param(b"[" * 100_000, "the answer's JSON is nested too deeply", id="deep"),
        pytest.param(b"x" * 900, f"the answer is not JSON: {'x' * 500}…", id="long"),
        pytest.param(
            b"a\x1b[2K\x00\xe2\x80\xa8b", r"the answer is not JSON: a\x1b[2K\x00 b", id="control characters"
        ),
        pytest.param(b"[]", "a run should be a JSON object, not a list", id="list"),
        pytest.param(b"{}", "the field 'id' is missing", id="object without fields"),
        pytest.param(
            json.dumps({"id": OTHER_RUN, "status": "COMPLETED"}).encode(),
            f"the API answered with another run: {OTHER_RUN}",
            id="another run",
        ),
        pytest.param(
            json.dumps({"id": "a\nb", "status": "COMPLETED"}).encode(),
            r"the API answered with another run: a\nb",
            id="another run, forging a log",
        ),
    ],
)
def test_a_good_status_with_a_bad_body(body: bytes, message: str) -> None:
    with pytest.raises(WRProtocolError) as raised:
        answers.read_answer(GET, answer(200, body))
    error = raised.value
    assert error.message == message
    assert (error.method, error.path, error.status_code) == ("GET", GET.path, 200)
    assert error.details is not None
    assert str(error).isprintable()
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b'{"a": 1, "a": 2}', {"a": 2}, id="a key twice: the last counts"),
        pytest.param(b'"\\ud83d"', "\ud83d", id="half a character, escaped"),
        pytest.param(b'"\xff"', "\ufffd", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf[1]", [1], id="BOM"),
        pytest.param(b"20000000000000000000", 20000000000000000000, id="20 ether in wei"),
        pytest.param(b"9" * 5000, "9" * 5000, id="more digits than Python reads"),
        pytest.param(b"[1e400, -Infinity]", [math.inf, -math.inf], id="infinite"),
    ],
)
def test_json_that_others_refuse_is_read(body: bytes, value: Any) -> None:
    assert decode(body) == value


def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answer(200, {"id": RUN, "status": "CREATED"})
    monkeypatch.setattr(answers, "MAX_BODY_BYTES", len(whole.body))
    assert answers.read_answer(GET, whole).id == RUN
    larger = Answer(200, {}, whole.body + b" ")
    assert len(larger.body) == answers.body_limit(200)
    with pytest.raises(WRProtocolError, match=f"the answer is larger than {len(whole.body)} bytes"):
        answers.read_answer(GET, larger)


def test_an_error_is_read_less_far() -> None:
    assert [answers.body_limit(status) for status in (199, 200, 299, 300, 500)] == [
        2**20 + 1,
        64 * 2**20 + 1,
        64 * 2**20 + 1,
        2**20 + 1,
        2**20 + 1,
    ]


# --- answers that are errors ------------------------------------------------------------------------------


class Expected(NamedTuple):
    kind: type[WRError]
    message: str
    errors: Sequence[Any] = ()
    details: Any = None
    retry_after: float | None = None


def words(message: str, code: Any = None) -> list[dict[str, Any]]:
    return [{"code": code, "message": message}]


DOCUMENTED = {"errors": [{"code": "KEY", "message": "Invalid API key"}]}
NEST = {"statusCode": 404, "message": "No such run", "error": "Not Found"}
SEVERAL = {"message": ["name is empty", "config is missing"], "error": "Bad Request", "statusCode": 400}
LONG = {"message": "x" * 900}
DATE = {"Date": "Sun, 22 Nov 2026 10:00:00 GMT"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            answer(401, DOCUMENTED),
            Expected(WRAuthError, "Invalid API key", words("Invalid API key", "KEY"), DOCUMENTED),
            id="401, list of errors",
        ),
        pytest.param(
            answer(400, {"errors": [{"code": "A", "message": "one"}, {"message": "two"}]}),
            Expected(
                WRValidationError,
                "one; two",
                [{"code": "A", "message": "one"}, {"code": None, "message": "two"}],
                {"errors": [{"code": "A", "message": "one"}, {"message": "two"}]},
            ),
            id="400, two errors",
        ),
        pytest.param(
            answer(404, NEST),
            Expected(WRNotFoundError, "No such run", words("No such run", "Not Found"), NEST),
            id="404, message",
        ),
        pytest.param(
            answer(400, SEVERAL),
            Expected(
                WRValidationError,
                "name is empty; config is missing",
                [*words("name is empty", "Bad Request"), *words("config is missing", "Bad Request")],
                SEVERAL,
            ),
            id="400, message in a list",
        ),
        pytest.param(
            answer(403, {"error": "Forbidden", "code": "F"}),
            Expected(WRAuthError, "Forbidden", words("Forbidden", "F"), {"error": "Forbidden", "code": "F"}),
            id="403, error and code",
        ),
        pytest.param(
            answer(403, {"error": "Forbidden", "message": None}),
            Expected(WRAuthError, "Forbidden", words("Forbidden"), {"error": "Forbidden", "message": None}),
            id="403, message null",
        ),
        pytest.param(
            answer(409, {"errors": [], "message": "busy"}),
            Expected(WRValidationError, "busy", words("busy"), {"errors": [], "message": "busy"}),
            id="409, no errors but a message",
        ),
        pytest.param(
            answer(422, {"errors": ["bad"]}),
            Expected(WRValidationError, "bad", words("bad"), {"errors": ["bad"]}),
            id="422, errors as texts",
        ),
        pytest.param(
            answer(422, {"message": {"position": "bad"}}),
            Expected(
                WRValidationError,
                '{"position": "bad"}',
                words('{"position": "bad"}'),
                {"message": {"position": "bad"}},
            ),
            id="422, message an object",
        ),
        pytest.param(answer(400, "no"), Expected(WRValidationError, "no", words("no"), "no"), id="400, JSON text"),
        pytest.param(answer(400, {}), Expected(WRValidationError, "", words(""), {}), id="400, empty object"),
        pytest.param(
            answer(418, NEST),
            Expected(WRError, "No such run", words("No such run", "Not Found"), NEST),
            id="418, of no class",
        ),
        pytest.param(
            answer(408, {"message": "too slow"}),
            Expected(WRTimeoutError, "timed out: too slow", words("too slow"), {"message": "too slow"}),
            id="408",
        ),
        pytest.param(answer(500), Expected(WRServerError, "", words("")), id="500, empty"),
        pytest.param(
            answer(502, b"<html>\n<h1>Bad gateway</h1>\x1b[2K"),
            Expected(
                WRServerError,
                r"<html> <h1>Bad gateway</h1>\x1b[2K",
                words(r"<html> <h1>Bad gateway</h1>\x1b[2K"),
                r"<html> <h1>Bad gateway</h1>\x1b[2K",
            ),
            id="502, HTML",
        ),
        pytest.param(
            answer(599, {"message": "x"}), Expected(WRServerError, "x", words("x"), {"message": "x"}), id="599"
        ),
        pytest.param(
            answer(400, LONG),
            Expected(WRValidationError, "x" * 500 + "…", words("x" * 500 + "…"), LONG),
            id="400, long message",
        ),
        pytest.param(
            answer(400, {"message": "a\nINFO all is well\x1b[2K\u2028\ud800"}),
            Expected(
                WRValidationError,
                r"a\nINFO all is well\x1b[2K\u2028\ud800",
                words(r"a\nINFO all is well\x1b[2K\u2028\ud800"),
                {"message": "a\nINFO all is well\x1b[2K\u2028\ufffd"},
            ),
            id="400, forging a log",
        ),
        pytest.param(
            answer(500, b"[" * 100_000),
            Expected(WRServerError, "[" * 500 + "…", words("[" * 500 + "…"), "[" * 500 + "…"),
            id="500, deep",
        ),
        pytest.param(
            answer(500, b'{"message": "a", "message": "b"}'),
            Expected(WRServerError, "b", words("b"), {"message": "b"}),
            id="500, a key twice",
        ),
        pytest.param(
            answer(429, {"message": "Rate limit exceeded"}, {"Retry-After": "7"}),
            Expected(
                WRRateLimitError,
                "Rate limit exceeded",
                words("Rate limit exceeded"),
                {"message": "Rate limit exceeded"},
                7.0,
            ),
            id="429, seconds",
        ),
        pytest.param(
            answer(429, {"message": "x"}, {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", **DATE}),
            Expected(WRRateLimitError, "x", words("x"), {"message": "x"}, 30.0),
            id="429, date",
        ),
        pytest.param(
            answer(503, b"", {"Retry-After": "120"}),
            Expected(WRServerError, "", words(""), None, 120.0),
            id="503, seconds",
        ),
        *(
            pytest.param(
                answer(status, b"", {"Location": "https://elsewhere.example.com/v1"}),
                Expected(
                    WRProtocolError,
                    "redirected to https://elsewhere.example.com/v1, which is not followed: "
                    "set the connection's host to where the API is",
                    words(""),
                ),
                id=f"{status}, target",
            )
            for status in (301, 302, 303, 307, 308)
        ),
        pytest.param(
            answer(302, b"", {"Location": "https://x/\x1b[2K"}),
            Expected(
                WRProtocolError,
                r"redirected to https://x/\x1b[2K, which is not followed: "
                "set the connection's host to where the API is",
                words(""),
            ),
            id="302, target forging a log",
        ),
        pytest.param(
            answer(304),
            Expected(
                WRProtocolError,
                "redirected to nowhere, which is not followed: set the connection's host to where the API is",
                words(""),
            ),
            id="304, no target",
        ),
    ],
)
@pytest.mark.parametrize("call", [pytest.param(GET, id="read"), pytest.param(UPDATE, id="update")])
def test_a_bad_answer(call: Call[Any], given: Answer, expected: Expected) -> None:
    with pytest.raises(WRError) as raised:
        answers.read_answer(call, given)
    error = raised.value
    assert Expected(type(error), error.message, error.errors, error.details, error.retry_after) == expected
    assert (error.method, error.path, error.status_code) == (call.method, call.path, given.status)
    assert str(error).isprintable()


def test_no_more_errors_are_read_than_a_person_would() -> None:
    with pytest.raises(WRValidationError) as raised:
        answers.read_answer(GET, answer(400, {"errors": [{"message": str(n)} for n in range(1000)]}))
    assert len(raised.value.errors) == 20


@pytest.mark.parametrize(
    ("value", "headers", "seconds"),
    [
        pytest.param("0", {}, 0.0, id="zero"),
        pytest.param(" 5 ", {}, 5.0, id="space around"),
        pytest.param("9" * 50, {}, 999_999_999.0, id="longer than a life"),
        pytest.param("-5", {}, None, id="negative"),
        pytest.param("1.5", {}, None, id="fraction"),
        pytest.param("٣", {}, None, id="digit of another script"),
        pytest.param("²", {}, None, id="superscript"),
        pytest.param("soon", {}, None, id="words"),
        pytest.param("", {}, None, id="empty"),
        pytest.param("Sun, 22 Nov 2026 10:00:30 GMT", {}, 30.0, id="date"),
        pytest.param(
            "Sun, 22 Nov 2026 10:00:30 GMT", {"Date": "Sun, 22 Nov 2026 10:00:20 GMT"}, 10.0, id="own date"
        ),
        pytest.param("Sun, 22 Nov 2026 10:00:30 GMT", {"Date": "yesterday"}, 30.0, id="own date is none"),
        pytest.param("Sun, 22 Nov 2026 09:00:00 GMT", {}, 0.0, id="date gone by"),
        pytest.param("Sun, 22 Nov 2026 10:00:30 -0000", {}, 30.0, id="date without a zone"),
        pytest.param("Sun, 22 Nov 2026 12:00:30 +0200", {}, 30.0, id="date of another zone"),
        pytest.param("Sun, 99 Nov 2026 10:00:30 GMT", {}, None, id="no such day"),
        pytest.param("Sun, 22 Nov 99999999999 10:00:30 GMT", {}, None, id="no such year"),
    ],
)
def test_retry_after(value: str, headers: dict[str, str], seconds: float | None) -> None:
    now = datetime(2026, 11, 22, 10, tzinfo=timezone.utc).timestamp()
    assert answers.retry_after({"Retry-After": value, **headers}, now=now) == seconds


def test_no_retry_after() -> None:
    assert answers.retry_after({}, now=0.0) is None


HEADER = st.text() | st.builds(
    "{}, {} {} {} {}:{}:{} {}".format, *[st.sampled_from(["Sun", "Nov"]) | st.integers()] * 8
)


@given(HEADER, HEADER)
def test_any_retry_after_is_seconds_or_nothing(value: str, date: str) -> None:
    seconds = answers.retry_after({"Retry-After": value, "Date": date}, now=0.0)
    assert seconds is None or 0 <= seconds < math.inf


@pytest.mark.parametrize(
    ("behind", "note"),
    [
        pytest.param(0, "", id="the same time"),
        pytest.param(15, "", id="a little behind"),
        pytest.param(-15, "", id="a little ahead"),
        pytest.param(3600, r"; this machine's clock is (3599|3600|3601) s behind the API's", id="behind"),
        pytest.param(-3600, r"; this machine's clock is (3599|3600|3601) s ahead of the API's", id="ahead"),
    ],
)
def test_a_401_reports_a_wrong_clock(behind: float, note: str) -> None:
    refusal = answer(401, DOCUMENTED, {"Date": formatdate(time.time() + behind, usegmt=True)})
    with pytest.raises(WRAuthError) as raised:
        answers.read_answer(GET, refusal)
    assert re.fullmatch(f"Invalid API key{note}", raised.value.message)


def test_a_403_does_not_blame_the_clock() -> None:
    with pytest.raises(WRAuthError) as raised:
        answers.read_answer(GET, answer(403, DOCUMENTED, {"Date": formatdate(0, usegmt=True)}))
    assert raised.value.message == "Invalid API key"


# --- triggers: was a run started? -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(answer(200), WRProtocolError, id="200, empty"),
        pytest.param(answer(200, b"<html>"), WRProtocolError, id="200, HTML"),
        pytest.param(answer(201, {"jobId": "bull-1"}), WRProtocolError, id="201, no run id"),
        pytest.param(answer(201, {"runId": [5]}), WRProtocolError, id="201, run id of another type"),
        pytest.param(answer(101), WRProtocolError, id="101"),
        pytest.param(answer(304), WRProtocolError, id="304"),
        pytest.param(answer(460), WRError, id="460 of a load balancer"),
        pytest.param(answer(499), WRError, id="499 of a proxy"),
        pytest.param(answer(303, b"", {"Location": "/done"}), WRProtocolError, id="303: done, see elsewhere"),
        pytest.param(answer(408), WRTimeoutError, id="408"),
        pytest.param(answer(500), WRServerError, id="500"),
        pytest.param(answer(502), WRServerError, id="502"),
        pytest.param(answer(503, b"", {"Retry-After": "1"}), WRServerError, id="503"),
        pytest.param(answer(504), WRServerError, id="504"),
    ],
)
@pytest.mark.parametrize(
    ("call", "starts", "subject"),
    [
        pytest.param(TRIGGER, "a run", f"workflow {WORKFLOW}", id="trigger"),
        pytest.param(EXECUTE, "an execution", "component RANDOM_UUID", id="execute"),
    ],
)
def test_a_request_that_may_have_been_obeyed(
    given: Answer, reason: type[WRError], call: Call[Any], starts: str, subject: str
) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    with pytest.raises(WRTriggerUnknownError) as raised:
        answers.read_answer(call, given)
    error = raised.value
    assert type(error.reason) is reason
    assert error.reason.status_code == given.status
    assert error.__cause__ is None  # its message is in the text
    assert not answers.may_repeat(error)
    told = re.fullmatch(
        rf"whether {starts} started is not known: .*; {subject} was triggered at (\S+)",
        error.message,
    )
    assert told
    assert before <= datetime.fromisoformat(told[1]) <= datetime.now(timezone.utc)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        pytest.param(answer(301, b"", {"Location": "https://x/"}), WRProtocolError, id="301"),
        pytest.param(answer(302, b"", {"Location": "https://x/"}), WRProtocolError, id="302"),
        pytest.param(answer(307, b"", {"Location": "https://x/"}), WRProtocolError, id="307"),
        pytest.param(answer(308, b"", {"Location": "https://x/"}), WRProtocolError, id="308"),
        pytest.param(answer(400, NEST), WRValidationError, id="400"),
        pytest.param(answer(401, NEST), WRAuthError, id="401"),
        pytest.param(answer(402, NEST), WRError, id="402"),
        pytest.param(answer(403, NEST), WRAuthError, id="403"),
        pytest.param(answer(404, NEST), WRNotFoundError, id="404"),
        pytest.param(answer(409, NEST), WRValidationError, id="409"),
        pytest.param(answer(422, NEST), WRValidationError, id="422"),
        pytest.param(answer(429, NEST), WRRateLimitError, id="429"),
    ],
)
@pytest.mark.parametrize("call", [TRIGGER, EXECUTE], ids=["trigger", "execute"])
def test_a_request_that_was_certainly_not_obeyed(given: Answer, kind: type[WRError], call: Call[Any]) -> None:
    with pytest.raises(WRError) as raised:
        answers.read_answer(call, given)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("sent", "timed_out", "kind", "message"),
    [
        pytest.param(False, False, WRConnectionError, "cannot connect: refused", id="not connected"),
        pytest.param(False, True, WRTimeoutError, "timed out connecting: refused", id="timed out connecting"),
        pytest.param(True, False, WRConnectionError, "the connection broke: refused", id="broken"),
        pytest.param(True, True, WRTimeoutError, "timed out waiting for the answer", id="timed out"),
    ],
)
@pytest.mark.parametrize("call", [pytest.param(GET, id="read"), pytest.param(TRIGGER, id="trigger")])
def test_no_answer(call: Call[Any], sent: bool, timed_out: bool, kind: type[WRError], message: str) -> None:
    error = answers.no_answer(call, OSError("refused"), sent=sent, timed_out=timed_out)
    if sent and call is TRIGGER:
        assert type(error) is WRTriggerUnknownError
        assert error.message.startswith(f"whether a run started is not known: {message}; workflow {WORKFLOW} was ")
        error = error.reason
    assert (type(error), error.message, error.path) == (kind, message, call.path)


def test_no_answer_gives_the_words_at_the_root_in_one_line() -> None:
    wrapped = OSError("Max retries exceeded with url: …")
    wrapped.__cause__ = OSError()
    wrapped.__cause__.__context__ = ConnectionResetError("reset\nby peer")
    error = answers.no_answer(GET, wrapped, sent=True, timed_out=False)
    assert error.message == r"the connection broke: reset\nby peer"


def test_no_answer_without_words_names_the_kind() -> None:
    error = answers.no_answer(GET, TimeoutError(), sent=False, timed_out=True)
    assert error.message == "timed out connecting: TimeoutError"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        pytest.param(WRConnectionError("x"), True, id="no connection"),
        pytest.param(WRTimeoutError("x"), True, id="timed out"),
        pytest.param(WRServerError("x"), True, id="5xx"),
        pytest.param(WRRateLimitError("x"), True, id="429"),
        pytest.param(WRRateLimitError("x", retry_after=60.0), True, id="429, in a minute"),
        pytest.param(WRRateLimitError("x", retry_after=60.1), False, id="429, in more"),
        pytest.param(WRServerError("x", retry_after=3600.0), False, id="503, in an hour"),
        pytest.param(WRTriggerUnknownError("x", reason=WRServerError("x")), False, id="trigger unknown"),
        pytest.param(WRAuthError("x"), False, id="401"),
        pytest.param(WRNotFoundError("x"), False, id="404"),
        pytest.param(WRValidationError("x"), False, id="400"),
        pytest.param(WRProtocolError("x"), False, id="protocol"),
        pytest.param(WRError("x"), False, id="418"),
        pytest.param(OSError("x"), False, id="a fault of ours"),
    ],
)
def test_what_may_be_sent_again(error: Exception, again: bool) -> None:
    assert answers.may_repeat(error) is again


@pytest.mark.parametrize("status", [None, 200, 301, 400, 401, 429, 500])
def test_no_error_repeats_the_key_or_the_body_that_was_sent(status: int | None) -> None:
    call = calls.Call(
        "POST",
        "/v1/x",
        b'{"password":"hush"}',
        TriggeredRun.from_json,
        repeatable=False,
        subject=f"workflow {WORKFLOW}",
    )
    if status is None:
        error = answers.no_answer(call, OSError("refused"), sent=True, timed_out=False)
    else:
        with pytest.raises(WRError) as raised:
            answers.read_answer(call, answer(status))
        error = raised.value
    shown = f"{error} {error!r} {vars(error)}"
    assert "hush" not in shown
    assert "ws_k" not in shown


# --- a stream's answer and events -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream ;charset=utf-8"],
)
def test_a_stream(kind: str) -> None:
    events.check_stream(STREAM, {"Content-Type": kind})


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        pytest.param({}, "nothing", id="none"),
        pytest.param({"Content-Type": "text/html"}, "text/html", id="HTML"),
        pytest.param({"Content-Type": "text/event-streams"}, "text/event-streams", id="nearly"),
        pytest.param({"Content-Type": "a\x1b[2K"}, r"a\x1b[2K", id="forging a log"),
    ],
)
def test_what_is_no_stream(headers: dict[str, str], shown: str) -> None:
    with pytest.raises(WRProtocolError) as raised:
        events.check_stream(STREAM, headers)
    advice = "check the host of the connection"
    assert str(raised.value) == f"the stream is not text/event-stream, but {shown}: {advice} (GET {STREAM.path})"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="comment"),
        pytest.param(":ping", id="heartbeat as data"),
        pytest.param(" :ping ", id="heartbeat with spaces"),
        pytest.param("hello", id="not JSON"),
        pytest.param("NaN", id="NaN"),
        pytest.param(f'{{"id": "{RUN}", "status": "EXECUTING", "new": "\\ud800"}}', id="lone surrogate"),
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_heartbeats_and_unknown_events(data: str) -> None:
    assert events.read_run_event(RUN, data) is None


@pytest.mark.parametrize("run_id", [RUN, RUN.upper()])
def test_an_event(run_id: str) -> None:
    body = {"id": run_id, "status": "EXECUTING", "output": {"pendingStageCount": 3}}
    assert events.read_run_event(RUN, json.dumps(body)) == RunEvent.from_json(body)


# --- whatever a server sends ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["errors", "error", "message", "code", "id"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=10,
)
BODIES = st.binary() | JSON.map(lambda value: json.dumps(value).encode())


@given(
    st.sampled_from([GET, TRIGGER, UPDATE, STREAM]),
    st.integers(200, 599),
    BODIES,
    st.dictionaries(st.sampled_from(["Retry-After", "Date", "Location"]), st.text()),
)
def test_any_answer_is_a_result_or_an_error_fit_for_a_log(
    call: Call[Any], status: int, body: bytes, headers: dict[str, str]
) -> None:
    try:
        answers.read_answer(call, Answer(status, headers, body))
    except WRError as error:
        assert str(error).isprintable()  # noqa: PT017  # a result is as good


@given(st.text() | JSON.map(json.dumps))
def test_any_data_is_an_event_or_a_sign_of_life(data: str) -> None:
    assert isinstance(events.read_run_event(RUN, data), RunEvent | None)
