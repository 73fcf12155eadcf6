"""Signatures verify with the public key, and the secret is never shown."""

from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from airflow_provider_wr.api.calls import get_run, stream_run, trigger_run, update_component
from airflow_provider_wr.api.signing import Signer
from airflow_provider_wr.exceptions import WRValidationError

KEY = Ed25519PrivateKey.generate()
ID = "9e4c7b1a-1111-4222-8333-944455556666"


def der(key: object = KEY, encryption: KeySerializationEncryption | None = None) -> bytes:
    private: Ed25519PrivateKey = key  # type: ignore[assignment]  # the others have the same method
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, encryption or NoEncryption())


def in_base64(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


SECRET = in_base64(der())


@pytest.mark.parametrize(
    ("method", "path", "body", "signed"),
    [
        pytest.param("POST", "/v1/x", b"{}", b"POST|/v1/x|1700000000|{}", id="empty body"),
        pytest.param("POST", "/v1/x", b'{"a":1}', b'POST|/v1/x|1700000000|{"a":1}', id="body"),
        pytest.param(
            "POST", "/v1/x", '{"name":"ü"}'.encode(), 'POST|/v1/x|1700000000|{"name":"ü"}'.encode(), id="not ASCII"
        ),
        pytest.param("GET", "/v1/x", None, b"GET|/v1/x|1700000000|{}", id="no body"),
        pytest.param("POST", "/v1/x", b"", b"POST|/v1/x|1700000000|", id="a body of no bytes is not none"),
    ],
)
def test_what_is_signed(method: str, path: str, body: bytes | None, signed: bytes) -> None:
    headers = Signer(SECRET).headers(method, path, body, 1700000000)
    assert headers.keys() == {"X-Sdk-Timestamp", "X-Sdk-Signature"}
    assert headers["X-Sdk-Timestamp"] == "1700000000"
    signature = base64.b64decode(headers["X-Sdk-Signature"], validate=True)
    KEY.public_key().verify(signature, signed)
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(signature, signed + b" ")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(trigger_run(ID), id="trigger"),
        pytest.param(get_run(ID), id="read"),
        pytest.param(stream_run(ID), id="stream"),
        pytest.param(update_component(ID, ID, config={"price": 1.0, "name": "ü"}), id="update"),
    ],
)
def test_each_call_signs_what_it_sends(call: object) -> None:
    from airflow_provider_wr.api.calls import Call

    assert isinstance(call, Call)
    headers = call.headers(api_key="ws_key", signer=Signer(SECRET), now=1700000000.9)
    signed = f"{call.method}|{call.path}|1700000000|".encode() + (call.body or b"{}")
    KEY.public_key().verify(base64.b64decode(headers["X-Sdk-Signature"]), signed)
    assert headers["X-Sdk-Timestamp"] == "1700000000"


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda secret: secret, id="as it is"),
        pytest.param(lambda secret: f" {secret}\n", id="space around"),
        pytest.param(lambda secret: f"{secret[:20]}\r\n{secret[20:]}", id="in lines"),
    ],
)
def test_a_secret_may_be_copied_with_white_space(wrap: object) -> None:
    assert callable(wrap)
    headers = Signer(wrap(SECRET)).headers("GET", "/v1/x", None, 5)
    KEY.public_key().verify(base64.b64decode(headers["X-Sdk-Signature"]), b"GET|/v1/x|5|{}")


PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        pytest.param("", "is not a private key in PKCS#8 DER, base64", id="empty"),
        pytest.param("not base64!", "is not base64", id="not base64"),
        pytest.param("gehëim", "is not base64", id="not ASCII"),
        pytest.param(SECRET[:-1], "is not base64", id="character short"),
        pytest.param(PEM, "is not base64", id="PEM"),
        pytest.param(SECRET[:-8], "is not a private key in PKCS#8 DER, base64", id="bytes short"),
        pytest.param(
            in_base64(KEY.private_bytes_raw()), "is not a private key in PKCS#8 DER, base64", id="raw key"
        ),
        pytest.param(in_base64(PUBLIC), "is not a private key in PKCS#8 DER, base64", id="public key"),
        pytest.param(
            in_base64(der(encryption=BestAvailableEncryption(b"password"))),
            "is not a private key in PKCS#8 DER, base64",
            id="encrypted",
        ),
        pytest.param(
            in_base64(der(generate_private_key(SECP256R1()))),
            "is a private key, but not an Ed25519 one",
            id="elliptic curve",
        ),
        pytest.param(
            in_base64(der(X25519PrivateKey.generate())), "is a private key, but not an Ed25519 one", id="X25519"
        ),
    ],
)
def test_a_bad_secret_is_refused_and_not_repeated(secret: str, message: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        Signer(secret)
    assert refused.value.message == f"the API secret {message}"
    # Otherwise a traceback shows the original error, which may contain the secret.
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_a_signer_shows_nothing() -> None:
    signer = Signer(SECRET)
    shown = f"{signer!r} {signer} {vars(signer)}"
    assert SECRET not in shown
    assert SECRET[20:30] not in shown
    assert KEY.private_bytes_raw().hex() not in shown
