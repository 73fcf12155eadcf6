"""Sandboxes, each with its own Airflow connection, so that each test can count its runs."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox

COUNT = 80
LITERAL, LITERAL_CONN = "WR_E2E_RUN_ID", "WR_E2E_CONN_ID"
"""The environment variables that hold a run's id and its connection, for a DAG file to name."""

API_KEY = f"ws_{secrets.token_hex(16)}"
_private_key = Ed25519PrivateKey.generate()
API_SECRET = base64.b64encode(
    _private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
).decode()
PUBLIC_KEY = base64.b64encode(
    _private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


class Rabbit(Sandbox):
    """A sandbox that requires signed requests."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(api_key=API_KEY, public_key=PUBLIC_KEY)
        self.conn_id = conn_id

    @property
    def connection(self) -> dict[str, Any]:
        connection = super().connection
        return {**connection, "extra": {**connection["extra"], "api_secret": API_SECRET}}

    def configure(self, component: str = "Quote", **config: object) -> None:
        """Change the behaviour of a stage, by default the first, for all runs that start from now on."""
        with WRHook(self.conn_id) as hook:
            hook.update_component(self.components[component], config=config)

    def start_run(self) -> str:
        """Start a run outside of Airflow, and return its id."""
        with WRHook(self.conn_id) as hook:
            return hook.trigger_run().run_id

    def received(self, endpoint: str) -> int:
        """Return the number of answered requests to an endpoint."""
        return sum(request["endpoint"] == endpoint for request in self.control.requests())


def rabbits() -> Iterator[Rabbit]:
    """Yield new sandboxes, the one of the example DAGs first; each must be closed."""
    yield Rabbit("wr_default")
    for number in range(COUNT):
        yield Rabbit(f"wr_{number}")
