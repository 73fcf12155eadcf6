"""Checks the Ed25519 signature of a request."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SKEW = 30
"""Seconds by which a request's timestamp may differ from the server's clock."""


def load_public_key(text: str) -> Ed25519PublicKey:
    """Read a base64 DER SubjectPublicKeyInfo; ValueError if it is no Ed25519 key."""
    key = load_der_public_key(base64.b64decode(text, validate=True))
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is not an Ed25519 key")
    return key


def is_signed(key: Ed25519PublicKey, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Tell whether the signature fits `METHOD|PATH|TIMESTAMP|BODY`, no body counting as `{}`."""
    timestamp = headers.get("X-Sdk-Timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and abs(time.time() - int(timestamp)) <= MAX_SKEW):
        return False
    try:
        signature = base64.b64decode(headers.get("X-Sdk-Signature", ""), validate=True)
        key.verify(signature, f"{method}|{path}|{timestamp}|".encode() + (body or b"{}"))
    except (ValueError, InvalidSignature):
        return False
    return True
