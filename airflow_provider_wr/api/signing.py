"""
The Ed25519 signature that White Rabbit's REST API accepts in addition to the API key.

The signed text is ``METHOD|PATH|TIMESTAMP|BODY``: the method in upper case, the path from ``/v1`` on, Unix seconds
within 30 s of the server's clock, and the exact bytes of the body, or ``{}`` without one.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from airflow_provider_wr.exceptions import WRValidationError


class Signer:
    """
    Signs requests with the API secret.

    :param api_secret: Ed25519 private key, PKCS#8 DER in base64, as White Rabbit issues it.

    Raises :class:`WRValidationError`, without the secret in its message, for anything else.
    """

    def __init__(self, api_secret: str) -> None:
        try:
            der = base64.b64decode("".join(api_secret.split()), validate=True)
        except (binascii.Error, ValueError):
            raise WRValidationError("the API secret is not base64") from None
        try:
            key = load_der_private_key(der, password=None)
        except Exception:  # cryptography raises several types, and some messages contain the key
            raise WRValidationError("the API secret is not a private key in PKCS#8 DER, base64") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise WRValidationError("the API secret is a private key, but not an Ed25519 one")
        self._key = key

    def headers(self, method: str, path: str, body: bytes | None, timestamp: int) -> dict[str, str]:
        """
        Return the signature headers for one attempt.

        :param path: from ``/v1`` on.
        :param body: the exact bytes that are sent; None without a body.
        :param timestamp: Unix seconds, now.
        """
        signed = f"{method}|{path}|{timestamp}|".encode() + (body if body is not None else b"{}")
        return {
            "X-Sdk-Timestamp": str(timestamp),
            "X-Sdk-Signature": base64.b64encode(self._key.sign(signed)).decode(),
        }
