"""Drive White Rabbit workflows from Apache Airflow."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """Tell Airflow what this package provides."""
    return {
        "package-name": "airflow-provider-wr",
        "name": "White Rabbit",
        "description": "Update components, trigger workflow runs and wait for them on White Rabbit.",
    }
