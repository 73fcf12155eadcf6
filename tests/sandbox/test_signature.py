"""With a public key, every request needs a fresh and valid signature."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sandbox.workflow import COMPONENTS, WORKFLOW_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = Ed25519PrivateKey.generate()
WORKFLOW = f"/v1/sdk/workflows/{WORKFLOW_ID}"
COMPONENT = f"{WORKFLOW}/components/{COMPONENTS['Quote']}"
RUN = "/v1/sdk/workflows/executions/00000000-0000-4000-8000-000000000000"


def public_key(secret: Ed25519PrivateKey | X25519PrivateKey) -> str:
    der = secret.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(public_key=public_key(SECRET)) as sandbox:
        yield sandbox


def send(
    sandbox: Sandbox, method: str, path: str, body: str | None, *, signed: str, age: int = 0
) -> requests.Response:
    timestamp = str(int(time.time()) - age)
    signature = base64.b64encode(SECRET.sign(signed.replace("TIME", timestamp).encode())).decode()
    headers = {"X-Api-Key": sandbox.api_key, "X-Sdk-Timestamp": timestamp, "X-Sdk-Signature": signature}
    data = body.encode() if body else None
    return requests.request(method, sandbox.url + path, data=data, headers=headers, timeout=10)


@pytest.mark.parametrize(
    ("method", "path", "body", "signed", "status"),
    [
        pytest.param("POST", WORKFLOW, "{}", f"POST|{WORKFLOW}|TIME|{{}}", 201, id="body"),
        pytest.param("POST", WORKFLOW, None, f"POST|{WORKFLOW}|TIME|{{}}", 201, id="no body"),
        pytest.param(
            "POST", COMPONENT, '{"name":"ü"}', f'POST|{COMPONENT}|TIME|{{"name":"ü"}}', 201, id="not ASCII"
        ),
        pytest.param("GET", RUN, None, f"GET|{RUN}|TIME|{{}}", 404, id="read"),
        pytest.param("GET", RUN, None, f"GET|{RUN}|TIME|", 401, id="read signed without {}"),
        pytest.param("GET", RUN, None, f"POST|{RUN}|TIME|{{}}", 401, id="other method"),
        pytest.param("POST", WORKFLOW, "{}", f"POST|{RUN}|TIME|{{}}", 401, id="other path"),
        pytest.param("POST", WORKFLOW, "{}", f"POST|{WORKFLOW}|1|{{}}", 401, id="other time"),
        pytest.param("POST", WORKFLOW, "{ }", f"POST|{WORKFLOW}|TIME|{{}}", 401, id="other bytes"),
    ],
)
def test_signatures(
    sandbox: Sandbox,
    method: str,
    path: str,
    body: str | None,
    signed: str,
    status: int,
) -> None:
    assert send(sandbox, method, path, body, signed=signed).status_code == status


@pytest.mark.parametrize(("age", "status"), [(25, 201), (-25, 201), (35, 401), (-35, 401)])
def test_a_timestamp_must_be_near(sandbox: Sandbox, age: int, status: int) -> None:
    response = send(sandbox, "POST", WORKFLOW, "{}", signed=f"POST|{WORKFLOW}|TIME|{{}}", age=age)
    assert response.status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Sdk-Timestamp": "soon", "X-Sdk-Signature": "AAAA"},
        {"X-Sdk-Timestamp": str(int(time.time())), "X-Sdk-Signature": "no base64"},
    ],
)
def test_malformed_signatures(sandbox: Sandbox, headers: dict[str, str]) -> None:
    headers = {"X-Api-Key": sandbox.api_key, **headers}
    response = requests.post(sandbox.url + WORKFLOW, headers=headers, timeout=10)
    assert response.status_code == 401
    assert "Invalid signature" in response.text


@pytest.mark.parametrize(
    "key", ["AAAA", "?", public_key(X25519PrivateKey.generate())], ids=["short", "no base64", "X25519"]
)
def test_a_key_that_is_none_is_refused_at_once(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the library
        Sandbox(public_key=key)
