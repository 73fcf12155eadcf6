"""Validation of a connection: what a user may enter, and the resulting settings or error."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import Connection, redact
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_wr import connection, connection_form
from airflow_provider_wr.api import redaction, watched
from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRValidationError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ws_0123456789abcdef"
WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"


def api_secret() -> str:
    der = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(der).decode()


def read(*, extra: dict[str, Any] | str | None = None, **fields: Any) -> WRSettings:
    text = json.dumps(extra) if isinstance(extra, dict) else extra
    return WRSettings.from_connection(
        Connection(conn_id="wr_test", conn_type="wr", **{"password": KEY, "extra": text, **fields})
    )


def refusal(**fields: Any) -> str:
    with pytest.raises(WRValidationError) as refused:
        read(**fields)
    prefix = "connection 'wr_test': "
    assert refused.value.message.startswith(prefix)
    assert refused.value.message.isprintable()
    return refused.value.message.removeprefix(prefix)


# --- rows of settings -------------------------------------------------------------------------------------


def test_a_key_is_enough() -> None:
    assert read() == WRSettings(
        base_url="https://api.whiterabbit.app",
        api_key=KEY,
        signer=None,
        workflow_id=None,
        connect_timeout=10.0,
        read_timeout=30.0,
        verify=True,
        run_url=None,
        execution_url=None,
    )


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        pytest.param({"workflow_id": WORKFLOW}, {"workflow_id": WORKFLOW}, id="workflow"),
        pytest.param({"workflow_id": ""}, {}, id="workflow empty, as the form leaves it"),
        pytest.param({"workflow_id": None}, {}, id="workflow null"),
        pytest.param({"connect_timeout": 3}, {"connect_timeout": 3.0}, id="seconds"),
        pytest.param({"read_timeout": "4.5"}, {"read_timeout": 4.5}, id="seconds as a text, as in a URI"),
        pytest.param({"read_timeout": ""}, {}, id="seconds empty"),
        pytest.param({"verify": True}, {}, id="verify"),
        pytest.param({"verify": "True"}, {}, id="verify as a text"),
        pytest.param({"verify": ""}, {}, id="verify empty"),
        pytest.param({"verify": False}, {"verify": False}, id="do not verify"),
        pytest.param({"verify": "false"}, {"verify": False}, id="do not verify, as a text"),
        pytest.param({"verify": "/etc"}, {"verify": "/etc"}, id="verify against a folder"),
        pytest.param(
            {"run_url": "https://app.example.com/{workflow_id}/{run_id}"},
            {"run_url": "https://app.example.com/{workflow_id}/{run_id}"},
            id="run URL",
        ),
        pytest.param({"run_url": ""}, {}, id="run URL empty"),
        pytest.param(
            {"execution_url": "https://app.example.com/{execution_id}"},
            {"execution_url": "https://app.example.com/{execution_id}"},
            id="execution URL",
        ),
        pytest.param({"allow_http": "False"}, {}, id="allow_http"),
        pytest.param(
            {"allow_concurrent_updates": "true"}, {"allow_concurrent_updates": True}, id="concurrent updates"
        ),
        pytest.param({"extra__wr__read_timeout": "5"}, {"read_timeout": 5.0}, id="prefix"),
        pytest.param({"extra__wr__read_timeout": "5", "read_timeout": "5"}, {"read_timeout": 5.0}, id="both"),
        pytest.param({"extra__wr__read_timeout": 5, "read_timeout": ""}, {"read_timeout": 5.0}, id="plain empty"),
        pytest.param({"extra__wr__read_timeout": "", "read_timeout": 5}, {"read_timeout": 5.0}, id="prefix empty"),
        pytest.param({"extra__wr__verify": False}, {"verify": False}, id="prefix, false"),
    ],
)
def test_the_extra(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(extra=extra) == WRSettings("https://api.whiterabbit.app", KEY, **expected)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param("{", "the extra is not JSON", id="not JSON"),
        pytest.param("[]", "the extra is not a JSON object", id="list"),
        pytest.param(
            {"api_secert": "hush"},
            "unknown extra 'api_secert'; known are allow_concurrent_updates, allow_http, api_secret, "
            "connect_timeout, execution_url, harmless_modules, read_timeout, run_url, verify, workflow_id",
            id="unknown name",
        ),
        pytest.param(
            {"extra__wr__api_secert": "hush"},
            "unknown extra 'extra__wr__api_secert'; known are allow_concurrent_updates, allow_http, api_secret, "
            "connect_timeout, execution_url, harmless_modules, read_timeout, run_url, verify, workflow_id",
            id="unknown name with the prefix",
        ),
        pytest.param(
            {"extra__wr__api_secret": "hush", "api_secret": "hush, too"},
            "the extras 'api_secret' and 'extra__wr__api_secret' differ: leave out 'extra__wr__api_secret'",
            id="differ",
        ),
        pytest.param(
            {"extra__wr__verify": False, "verify": True},
            "the extras 'verify' and 'extra__wr__verify' differ: leave out 'extra__wr__verify'",
            id="false and true",
        ),
        pytest.param({"workflow_id": 7}, "the extra 'workflow_id' is not a string", id="workflow number"),
        pytest.param(
            {"workflow_id": "../x"},
            "the extra 'workflow_id' should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, not '../x'",
            id="workflow not a UUID",
        ),
        pytest.param({"api_secret": ["hush"]}, "the extra 'api_secret' is not a string", id="secret list"),
        pytest.param({"api_secret": "hush!"}, "the API secret is not base64", id="secret not base64"),
        pytest.param(
            {"api_secret": connection_form.STORED_SECRET},
            "the form does not submit stored secrets: enter the API key and secret again to test them",
            id="what stands for a secret in a form",
        ),
        *(
            pytest.param(
                {"connect_timeout": seconds},
                "the extra 'connect_timeout' is not a positive number of seconds",
                id=f"seconds {seconds}",
            )
            for seconds in (0, -1, "soon", "nan", "inf", True, [5])
        ),
        pytest.param({"verify": 1}, "the extra 'verify' is neither true nor false", id="verify number"),
        pytest.param({"allow_http": "yes"}, "the extra 'allow_http' is neither true nor false", id="allow_http"),
        pytest.param(
            {"verify": "/no/such/bundle.pem"},
            "the extra 'verify' is neither true, false nor the path of a CA bundle: /no/such/bundle.pem",
            id="verify against nothing",
        ),
        *(
            pytest.param(
                {"run_url": f"https://x/{braces}"},
                "the extra 'run_url' may contain {run_id} and {workflow_id}, but no other braces",
                id=f"run URL {braces}",
            )
            for braces in ("{run}", "{}", "{0}", "{", "{run_id.secret}")
        ),
        pytest.param(
            {"execution_url": "https://x/{run_id}"},
            "the extra 'execution_url' may contain {execution_id}, but no other braces",
            id="execution URL with the field of a run",
        ),
        pytest.param(
            {"run_url": "javascript:alert({run_id})"},
            "the extra 'run_url' is not an http(s) URL",
            id="run URL with a script",
        ),
        pytest.param(
            {"run_url": "app.example.com/{run_id}"},
            "the extra 'run_url' is not an http(s) URL",
            id="run URL without a scheme",
        ),
    ],
)
def test_a_bad_extra_is_refused_by_name(extra: dict[str, Any] | str, message: str) -> None:
    assert refusal(extra=extra) == message


def test_a_connection_of_another_type_is_refused_before_all_else() -> None:
    connection = Connection(conn_id="wr_test", conn_type="http", extra='{"X-Header": "1"}')
    with pytest.raises(WRValidationError) as refused:
        WRSettings.from_connection(connection)
    assert refused.value.message == "connection 'wr_test': it is of type 'http', not 'wr'"


def test_a_connection_may_have_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WR_TEST", json.dumps({"password": KEY}))
    assert WRSettings.load("wr_test").api_key == KEY


@pytest.mark.parametrize("password", [None, "", "  \n"])
def test_a_key_must_be_there(password: str | None) -> None:
    assert refusal(password=password) == "the API key is missing: put it (ws_…) into the password"


@pytest.mark.parametrize("password", ["ws_a b", "ws_a\nX-Evil: 1", "ws_é", "ws_\x00", "ws_\x7f"])
def test_a_key_fits_a_header(password: str) -> None:
    assert refusal(password=password) == "the API key (the password) contains characters that no API key has"


def test_a_key_may_be_copied_with_white_space() -> None:
    assert read(password=f" {KEY}\n").api_key == KEY


# --- where the API is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        pytest.param({"host": ""}, "https://api.whiterabbit.app", id="empty"),
        pytest.param({"host": "  "}, "https://api.whiterabbit.app", id="blank"),
        pytest.param({"host": "api.example.com"}, "https://api.example.com", id="host"),
        pytest.param({"host": "https://api.example.com"}, "https://api.example.com", id="URL"),
        pytest.param({"host": " https://api.example.com/ "}, "https://api.example.com", id="URL with a slash"),
        pytest.param({"host": "https://example.com/wr/"}, "https://example.com/wr", id="URL with a path"),
        pytest.param({"host": "api.example.com", "port": 8443}, "https://api.example.com:8443", id="host, port"),
        pytest.param({"host": "api.example.com:8443"}, "https://api.example.com:8443", id="host with port"),
        pytest.param({"host": "a.example.com:1", "port": 1}, "https://a.example.com:1", id="a port twice"),
        pytest.param({"host": "https://example.com/v1/wr"}, "https://example.com/v1/wr", id="URL with /v1 first"),
        pytest.param({"host": "https://v1.example.com"}, "https://v1.example.com", id="v1 in the name"),
        pytest.param(
            {"host": "https://example.com/wr", "port": 8443}, "https://example.com:8443/wr", id="URL, port"
        ),
        pytest.param(
            {"host": "api.example.com", "schema": "https", "port": 443},
            "https://api.example.com:443",
            id="host, schema, port",
        ),
        pytest.param(
            {"host": "https://api.example.com", "schema": "HTTPS"}, "https://api.example.com", id="a schema twice"
        ),
        pytest.param(
            {"host": "localhost", "schema": "http", "port": 8080}, "http://localhost:8080", id="loopback"
        ),
        pytest.param({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080", id="loopback IPv4"),
        pytest.param({"host": "http://127.9.9.9"}, "http://127.9.9.9", id="loopback, any of its addresses"),
        pytest.param({"host": "http://[::1]:8080"}, "http://[::1]:8080", id="loopback IPv6"),
        pytest.param({"host": "http://wr.localhost"}, "http://wr.localhost", id="loopback by name"),
        pytest.param(
            {"host": "http://api.example.com", "extra": {"allow_http": True}},
            "http://api.example.com",
            id="http, allowed",
        ),
        pytest.param(
            {"host": "http://api.example.com", "extra": {"allow_http": "true"}},
            "http://api.example.com",
            id="http, allowed in a URI",
        ),
    ],
)
def test_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    assert read(**fields).base_url == base_url


NOT_A_URL = "the host is neither an http(s) URL without a query nor a host name"
NO_PORT = "the host is neither a URL nor a host name"
HAS_V1 = "the host contains /v1, which every call adds: leave out the path from there on"
CREDENTIALS = "the host contains a user name or password: put the API key into the password"


def plain_http(host: str) -> str:
    return (
        f"plain http to {host} would expose the API key to the network: use https, or set 'allow_http': true in "
        "the extra"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"host": "http://api.example.com"}, plain_http("api.example.com"), id="http"),
        pytest.param(
            {"host": "api.example.com", "schema": "http"}, plain_http("api.example.com"), id="http by schema"
        ),
        pytest.param(
            {"host": "http://localhost.example.com"}, plain_http("localhost.example.com"), id="localhost.…"
        ),
        pytest.param({"host": "http://notlocalhost"}, plain_http("notlocalhost"), id="notlocalhost"),
        pytest.param(
            {"host": "http://127.0.0.1.example.com"}, plain_http("127.0.0.1.example.com"), id="127.0.0.1.…"
        ),
        pytest.param({"host": "http://10.0.0.1"}, plain_http("10.0.0.1"), id="http in a private network"),
        pytest.param(
            {"host": "http://10.0.0.1", "extra": {"allow_http": False}},
            plain_http("10.0.0.1"),
            id="http, not allowed",
        ),
        pytest.param({"host": "ftp://api.example.com"}, NOT_A_URL, id="ftp"),
        pytest.param({"host": "api.example.com", "schema": "ftp"}, NOT_A_URL, id="ftp by schema"),
        pytest.param({"host": "https://"}, NOT_A_URL, id="no host"),
        pytest.param({"host": "https://example.com/?key=1"}, NOT_A_URL, id="query"),
        pytest.param({"host": "https://example.com/#top"}, NOT_A_URL, id="fragment"),
        pytest.param({"host": "https://example.com/?"}, NOT_A_URL, id="empty query, which would swallow the path"),
        pytest.param({"host": "https://example.com/#"}, NOT_A_URL, id="empty fragment"),
        pytest.param({"host": "https://example.com:port"}, NO_PORT, id="port not a number"),
        pytest.param({"host": "https://example.com:99999"}, NO_PORT, id="port too large"),
        pytest.param({"host": "https://[::1"}, NO_PORT, id="bracket left open"),
        pytest.param({"host": "https://user:hush@example.com"}, CREDENTIALS, id="user and password"),
        pytest.param({"host": "https://hush@example.com"}, CREDENTIALS, id="user"),
        pytest.param({"host": "hush@example.com"}, CREDENTIALS, id="user without a scheme"),
        *(
            pytest.param({"host": f"https://example.com{path}"}, HAS_V1, id=path)
            for path in ("/v1", "/v1/", "/wr/V1//", "/v1/sdk", "/wr/v1/sdk/workflows")
        ),
        pytest.param({"host": "localhost/v1", "schema": "http"}, HAS_V1, id="/v1 behind a host name"),
        pytest.param(
            {"host": "http://127.0.0.1:8787", "port": 443},
            "the host has port 8787, but the port is 443: leave one out",
            id="two ports",
        ),
        pytest.param(
            {"host": "https://api.example.com", "schema": "http"},
            "the host has https, but the schema is http: leave one out",
            id="two schemas",
        ),
    ],
)
def test_a_bad_host_is_refused_and_its_secrets_not_repeated(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields) == message


# --- the ways Airflow takes a connection ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"wr://:{KEY}@", WRSettings("https://api.whiterabbit.app", KEY), id="URI with a key"),
        pytest.param(
            f"wr://:{KEY}@api.example.com", WRSettings("https://api.example.com", KEY), id="URI with a host"
        ),
        pytest.param(
            f"wr://:{KEY}@localhost:8080/http?workflow_id={WORKFLOW}&verify=false&read_timeout=5",
            WRSettings("http://localhost:8080", KEY, workflow_id=WORKFLOW, verify=False, read_timeout=5.0),
            id="URI with schema, port and extras",
        ),
        pytest.param(
            f"wr://:{KEY}@https%3A%2F%2Fexample.com%2Fwr",
            WRSettings("https://example.com/wr", KEY),
            id="URI with a URL as its host",
        ),
        pytest.param(
            f"wr://:{KEY}@[::1]:8080/http", WRSettings("http://[::1]:8080", KEY), id="URI with an IPv6 address"
        ),
        pytest.param(
            json.dumps(
                {
                    "conn_type": "wr",
                    "password": KEY,
                    "host": "localhost",
                    "schema": "http",
                    "port": 8080,
                    "extra": {"workflow_id": WORKFLOW, "verify": False, "connect_timeout": 5},
                }
            ),
            WRSettings("http://localhost:8080", KEY, workflow_id=WORKFLOW, verify=False, connect_timeout=5.0),
            id="JSON",
        ),
    ],
)
def test_a_connection_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: WRSettings
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WR_TEST", text)
    assert WRSettings.load("wr_test") == expected


def test_a_bundle_that_exists_is_kept(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert read(extra={"verify": str(bundle)}).verify == str(bundle)


def test_not_verifying_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    connection._warn_unverified.cache_clear()
    with caplog.at_level(logging.WARNING, connection.__name__):
        for _ in range(3):
            read(extra={"verify": False})
    assert [record.getMessage() for record in caplog.records] == [
        "TLS certificates of White Rabbit are not verified: a connection has 'verify': false"
    ]


# --- secrets ----------------------------------------------------------------------------------------------


def test_a_repr_hides_the_secrets() -> None:
    secret = api_secret()
    settings = read(extra={"api_secret": secret})
    assert settings.signer is not None
    assert KEY not in repr(settings)
    assert secret not in repr(settings)
    assert "signer" not in repr(settings)


def test_the_secrets_are_masked_in_logs() -> None:
    key, secret = f"ws_{api_secret()}", api_secret()
    assert redact(f"{key} {secret}") == f"{key} {secret}"
    read(password=key, extra={"api_secret": secret})
    assert redact(f"{key} {secret}") == "*** ***"


def test_a_secret_is_masked_and_signs_under_its_name_with_the_prefix() -> None:
    secret = api_secret()
    assert read(extra={"extra__wr__api_secret": secret}).signer is not None
    assert redact(secret) == "***"


def test_the_secrets_are_masked_even_when_the_connection_is_refused() -> None:
    key = f"ws_{api_secret()}"
    refusal(password=key, host="ftp://x")
    assert redact(key) == "***"


def test_a_key_with_white_space_around_is_masked_as_it_is_sent() -> None:
    key = f"ws_{api_secret()}"
    read(password=f" {key}\n")
    assert redact(f"X-Api-Key: {key}") == "X-Api-Key: ***"


# --- the link to a run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "workflow_id", "link"),
    [
        pytest.param({}, "w", None, id="no template"),
        pytest.param({"run_url": "https://x/{run_id}"}, "w", "https://x/r", id="run alone"),
        pytest.param({"run_url": "https://x/{workflow_id}/{run_id}"}, "w", "https://x/w/r", id="both"),
        pytest.param(
            {"run_url": "https://x/{workflow_id}/{run_id}", "workflow_id": WORKFLOW},
            None,
            f"https://x/{WORKFLOW}/r",
            id="the connection's workflow",
        ),
        pytest.param(
            {"run_url": "https://x/{workflow_id}", "workflow_id": WORKFLOW},
            "w",
            "https://x/w",
            id="the call's counts",
        ),
        pytest.param(
            {"run_url": "https://x/{workflow_id}/{run_id}"}, None, "https://x//r", id="workflow not known"
        ),
    ],
)
def test_the_link_to_a_run(extra: dict[str, Any], workflow_id: str | None, link: str | None) -> None:
    assert read(extra=extra).run_link("r", workflow_id) == link


def test_the_link_to_an_execution() -> None:
    settings = read(extra={"execution_url": "https://x/e/{execution_id}"})
    assert settings.execution_link("e-1\0") == "https://x/e/e-1\ufffd"
    assert settings.link_to(watched.execution(WORKFLOW)) == f"https://x/e/{WORKFLOW}"
    assert settings.link_to(watched.run(WORKFLOW)) is None
    assert read(extra={"run_url": "https://x/{run_id}"}).link_to(watched.execution(WORKFLOW)) is None


def test_a_secret_that_is_masked_is_masked_in_airflows_logs_too() -> None:
    connection.mask("hush-a-callback", None, "")
    assert redaction.redact("say hush-a-callback") == "say ***"
    assert redact("say hush-a-callback") == "say ***"
