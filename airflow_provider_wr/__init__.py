"""Drive White Rabbit workflows from Apache Airflow."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this package provides."""

    def modules(folder: str) -> list[dict[str, Any]]:
        return [{"integration-name": "White Rabbit", "python-modules": [f"airflow_provider_wr.{folder}.wr"]}]

    return {
        "package-name": "airflow-provider-wr",
        "name": "White Rabbit",
        "description": "Update components, trigger workflow runs and wait for them without a worker slot.",
        "versions": [__version__],
        "integrations": [{"integration-name": "White Rabbit", "tags": ["service"]}],
        "operators": modules("operators"),
        "sensors": modules("sensors"),
        "hooks": modules("hooks"),
        "triggers": modules("triggers"),
        "extra-links": ["airflow_provider_wr.links.wr.WRRunLink"],
        "connection-types": [
            {
                "connection-type": "wr",
                "hook-class-name": "airflow_provider_wr.hooks.wr.WRHook",
                "hook-name": "White Rabbit",
                "ui-field-behaviour": {
                    "hidden-fields": ["login"],
                    "relabeling": {"host": "Base URL", "password": "API key"},
                    "placeholders": {"host": "https://api.whiterabbit.app", "password": "ws_…"},
                },
                "conn-fields": _CONNECTION_FIELDS,
            }
        ],
    }


def _field(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


_CONNECTION_FIELDS = {
    "workflow_id": _field("Workflow id", "UUID of the workflow that is used where a call names none."),
    "api_secret": _field(
        "API secret",
        "Ed25519 private key (PKCS#8 DER, base64); with it, every request is signed.",
        format="password",
    ),
    "run_url": _field(
        "Run URL", "Template of the link to a run, with {run_id} and {workflow_id}; no link without it."
    ),
    "connect_timeout": _field("Connect timeout", "Seconds to open a connection; 10 unless said.", "number"),
    "read_timeout": _field("Read timeout", "Seconds for the answer to a plain call; 30 unless said.", "number"),
    "verify": _field("Verify TLS", "true, false, or the path of a CA bundle; true unless said."),
    "allow_http": _field(
        "Allow plain http", "Send the key to another machine without TLS; false unless said.", "boolean"
    ),
}
