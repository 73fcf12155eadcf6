"""Run White Rabbit workflows from Apache Airflow."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this package provides."""

    from airflow_provider_wr import connection_form

    def modules(folder: str) -> list[dict[str, Any]]:
        return [{"integration-name": "White Rabbit", "python-modules": [f"airflow_provider_wr.{folder}.wr"]}]

    return {
        "package-name": "airflow-provider-wr",
        "name": "White Rabbit",
        "description": "Update components, trigger workflow runs and wait for them without a worker slot.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "White Rabbit",
                "external-doc-url": "https://whiterabbit.app",
                "how-to-guide": ["/docs/trigger.md", "/docs/wait.md", "/docs/update.md", "/docs/components.md"],
                "logo": "/docs/img/logo.svg",
                "tags": ["service"],
            }
        ],
        "operators": modules("operators"),
        "sensors": modules("sensors"),
        "hooks": modules("hooks"),
        "triggers": modules("triggers"),
        "extra-links": [
            "airflow_provider_wr.links.wr.WRRunLink",
            "airflow_provider_wr.links.wr.WRExecutionLink",
        ],
        "cli": ["airflow_provider_wr.cli.definition.get_commands"],
        "connection-types": [
            {
                "connection-type": "wr",
                "hook-class-name": "airflow_provider_wr.hooks.wr.WRHook",
                "hook-name": "White Rabbit",
                "ui-field-behaviour": connection_form.BEHAVIOUR,
                "conn-fields": connection_form.FIELDS,
            }
        ],
    }
