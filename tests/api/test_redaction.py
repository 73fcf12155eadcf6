"""Secrets that the API echoes are masked everywhere."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_wr.api import answers, calls, events, redaction
from airflow_provider_wr.api.answers import Answer
from airflow_provider_wr.api.decoding import decode
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRError
from airflow_provider_wr.masking import callback_secrets
from airflow_provider_wr.models import Run

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"
KEY = 'ws_k3y/+=&<"\\~'


@pytest.fixture(autouse=True)
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", ())
    redaction.hide(KEY)


FORMS = [
    pytest.param(KEY, id="plain"),
    pytest.param(json.dumps(KEY)[1:-1], id="JSON"),
    pytest.param(json.dumps(KEY)[1:-1].replace("/", r"\/"), id="JSON of PHP"),
    pytest.param("".join(f"\\u{ord(c):04x}" for c in KEY), id="JSON, all escaped"),
    pytest.param("".join(f"\\u{ord(c):04X}" for c in KEY), id="JSON, all escaped in capitals"),
    pytest.param(quote(KEY, safe=""), id="URL"),
    pytest.param("".join(f"%{ord(c):02x}" for c in KEY), id="URL, all escaped"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_every_form(form: str) -> None:
    assert redaction.redact(f"a {form} b {form}") == "a *** b ***"
    assert redaction.holds_secret(f"é {form} b".encode())
    assert printable(f"a {form} b") == "a *** b"


@pytest.mark.parametrize("write", [str, lambda text: json.dumps(text)[1:-1], quote])
def test_a_secret_beyond_ascii_is_masked_in_every_form(write: Any) -> None:
    redaction.hide("schlüssel-€-🔑")
    form = write("schlüssel-€-🔑")
    assert redaction.redact(f"a {form} b {form}") == "a *** b ***"
    assert redaction.holds_secret(f"é {form} b".encode())
    assert decode(f'{{"a": "{form}"}}'.encode()) == {"a": "***"}


def test_a_secret_is_masked_before_a_text_is_cut() -> None:
    for place in range(480, 502):
        shown = printable("x" * place + KEY + "y" * 500)
        assert KEY[:2] not in shown


@pytest.mark.parametrize("text", ["", "100 %", r"C:\new", "%zz", "\\u00", "ws_", KEY[:-1], "é 👍 \ud83d"])
def test_all_else_is_as_it_was(text: str) -> None:
    assert redaction.redact(text) == text
    assert not redaction.holds_secret(text.encode(errors="replace"))


def test_what_is_too_short_to_be_a_secret_is_not_masked() -> None:
    redaction.hide("key")
    assert redaction.redact("ws_key") == "ws_key"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot connect to http://user:pa55@proxy:3128", "cannot connect to http://***@proxy:3128"),
        ("http://user@proxy/", "http://***@proxy/"),
        ("see http://host/a@b", "see http://host/a@b"),
        ("a@b", "a@b"),
    ],
)
def test_the_user_of_a_proxy_is_masked(text: str, shown: str) -> None:
    assert printable(text) == shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=5), st.text(), st.text(), st.floats())
@example("00000", "\0", "", 100000.0)
def test_any_secret_is_masked_in_any_json(secret: str, before: str, after: str, number: float) -> None:
    redaction.hide(secret)
    for ascii_only in (True, False):
        text = before + secret + after
        read = decode(json.dumps({"a": [text, number], text: 1}, ensure_ascii=ascii_only).encode())
        assert not any(secret in each.replace(redaction.MASK, "") for each in [read["a"][0], *read])


def test_secrets_are_hidden_while_other_threads_read() -> None:
    read = threading.Event()

    def hide_many() -> None:
        for number in range(300):
            redaction.hide(f"secret {number}")
        read.set()

    thread = threading.Thread(target=hide_many)
    thread.start()
    while not read.is_set():
        redaction.redact("nothing at all")
    thread.join()
    assert redaction.redact("secret 299") == "***"


# --- where it could come out ------------------------------------------------------------------------------

ECHO = f"Invalid API key: {KEY}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"error": KEY, "message": ECHO, "headers": {KEY: [KEY]}}), id="documented"),
        pytest.param(json.dumps({"errors": [{"code": KEY, "message": {"for": ECHO}}]}), id="a list"),
        pytest.param(json.dumps(ECHO), id="a text"),
        pytest.param(f"<html>{ECHO}</html>", id="HTML"),
        pytest.param("x" * 495 + KEY, id="HTML, cut"),
    ],
)
@pytest.mark.parametrize("status", [200, 302, 401, 503])
def test_an_error_holds_no_secret(status: int, body: str) -> None:
    headers = {"Location": f"/login?key={quote(KEY)}"}
    with pytest.raises(WRError) as raised:
        answers.read_answer(calls.get_run(RUN_ID), Answer(status, headers, body.encode()))
    assert "ws_k3" not in str(raised.value) + repr(vars(raised.value))


def test_a_run_holds_no_secret() -> None:
    body: dict[str, Any] = {"id": RUN_ID, "status": "FAILED", "cancelReason": ECHO}
    stage = {"id": "s", "module": KEY, "status": "FAILED", "output": {"headers": {KEY: KEY}}, "error": ECHO}
    run: Run = answers.read_answer(
        calls.get_run(RUN_ID), Answer(200, {}, json.dumps({**body, "runStages": [stage]}).encode())
    )
    assert "ws_k3" not in repr(run) + repr(run.raw) + run.ending + repr(run.as_xcom())
    assert run.stages[0].error == "Invalid API key: ***"


def test_an_event_holds_no_secret() -> None:
    event = events.read_run_event(RUN_ID, json.dumps({"id": RUN_ID, "status": "EXECUTING", "echo": ECHO}))
    assert event is not None
    assert event.raw["echo"] == "Invalid API key: ***"


ESCAPES = st.sampled_from(
    [
        "w",
        "s",
        "_",
        "k",
        "3",
        "y",
        "ws_k3y",
        "%77",
        "%73",
        "%5F",
        "%5f",
        "\\u0077",
        "\\u005f",
        "%20",
        "%",
        "\\",
        "\\n",
        "é",
    ]
)


@given(st.lists(ESCAPES, max_size=30), st.integers(0, 200), st.booleans())
@example(["%77"] * 20 + ["w", "%73", "_", "k", "3", "y"], 200, True)
@example(["w", "s", "_", "k", "3", "\\u0079"], 0, False)
def test_a_secret_is_found_wherever_other_escapes_are(pieces: list[str], apart: int, end: bool) -> None:
    """The search around escapes finds what the slow search through everything finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_secrets", ())
        redaction.hide("ws_k3y")
        (secret,) = redaction._secrets
        text = "x" * apart + ("x" * apart).join(["%77", "".join(pieces)] if end else ["".join(pieces), "%77"])
        assert redaction.holds_secret(text) == bool(secret.pattern.search(text))
        assert redaction.holds_secret(text.encode()) == bool(secret.pattern.search(text))


def test_of_a_large_answer_only_what_is_near_an_escape_of_the_secret_is_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Escapes of other characters are everywhere in URLs; the full pattern takes a second for some MiB."""

    class Counted:
        def __init__(self, pattern: Any) -> None:
            self._pattern = pattern
            self.searched = 0

        def search(self, data: Any, start: int, end: int) -> Any:
            self.searched += max(0, min(end, len(data)) - max(start, 0))
            return self._pattern.search(data, start, end)

    (secret,) = redaction._secrets
    counted = Counted(secret._pattern)
    monkeypatch.setattr(secret, "_pattern", counted)
    assert not redaction.holds_secret(b"https://a.b/c%20d%C3%A9 " * 50_000)
    assert counted.searched == 0
    assert not redaction.holds_secret(b"x" * 100_000 + b"%77" + b"x" * 100_000)
    assert 0 < counted.searched < 1000


@pytest.mark.parametrize(
    ("secret", "headers", "secrets"),
    [
        (None, None, set()),
        ("hush", None, {"hush"}),
        ("hush", {"A": "Bearer abcdefgh", "B": "true"}, {"Bearer abcdefgh", "abcdefgh", "hush"}),
        (7, ["abcdefgh"], set()),
        ("hush\ud83d", {"A": 7, "B": "abcdefgh\ud83d"}, set()),
    ],
)
def test_what_of_a_callback_is_secret(secret: Any, headers: Any, secrets: set[str]) -> None:
    assert callback_secrets(secret, headers) == secrets
