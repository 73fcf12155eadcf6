"""The form fields of a ``wr`` connection, for every version of Airflow."""

from __future__ import annotations

from typing import Any

#: Placeholder of a stored secret in the form of Airflow 2.11. If it is submitted, Airflow keeps the secret.
STORED_SECRET = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"  # noqa: S105 - no secret

#: Labels and placeholders, in the format of provider info.
BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {
        "host": "https://api.whiterabbit.app",
        "password": "ws_…",
        "port": "443",
        "schema": "https",
        "workflow_id": "123e4567-e89b-12d3-a456-426614174000",
        "run_url": "https://…/runs/{run_id}",
        "execution_url": "https://…/executions/{execution_id}",
        "connect_timeout": "10",
        "read_timeout": "30",
        "verify": "true",
    },
}


def _field(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


#: The fields of the extra, in the format of provider info since Airflow 3.2.
FIELDS: dict[str, dict[str, Any]] = {
    "workflow_id": _field("Workflow ID", "UUID of the default workflow."),
    "api_secret": _field(
        "API secret",
        "Ed25519 private key (PKCS#8 DER, base64). If set, every request is signed.",
        format="password",
    ),
    "run_url": _field(
        "Run URL",
        "Template of the link to a run, with {run_id} and {workflow_id}. Default: its page inside Airflow 3.1+.",
    ),
    "execution_url": _field(
        "Execution URL",
        "Template of the link to an execution, with {execution_id}. Default: its page inside Airflow 3.1+.",
    ),
    "harmless_modules": _field(
        "Harmless modules",
        "Modules without side effects, comma-separated: a retry may start a new run after them.",
    ),
    "connect_timeout": _field("Connect timeout", "Seconds to open a connection. Default: 10.", "number"),
    "read_timeout": _field("Read timeout", "Seconds for the answer to a plain call. Default: 30.", "number"),
    "verify": _field("Verify TLS", "true, false, or the path of a CA bundle. Default: true."),
    "allow_http": _field("Allow plain http", "Send the key to another machine without TLS.", "boolean"),
    "allow_concurrent_updates": _field(
        "Allow concurrent updates",
        "Allow updates while other runs are active, if all runs set the same values.",
        "boolean",
    ),
}


def widgets() -> dict[str, Any]:
    """Return :data:`FIELDS` in the format of Airflow 2.11 to 3.1."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    def widget(label: str, description: str, schema: dict[str, Any]) -> Any:
        if "boolean" in schema["type"]:
            return BooleanField(label, description=description, widget=_draw_box)
        if schema.get("format") == "password":
            return PasswordField(label, description=description, widget=_draw_secret)
        return StringField(label, description=description, widget=BS3TextFieldWidget())

    return {name: widget(**field) for name, field in FIELDS.items()}


def behaviour() -> dict[str, Any]:
    """Return :data:`BEHAVIOUR` in the format of Airflow 2.11 to 3.1."""
    return {key.replace("-", "_"): value for key, value in BEHAVIOUR.items()}


# Only Airflow 2.11 renders these fields; later versions read their labels and types.


def _draw_secret(field: Any, **attributes: Any) -> Any:
    """Render a placeholder for a stored secret: saving an empty field would delete the secret."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget

    typed = field.raw_data not in (None, [STORED_SECRET])  # shown again since another field is invalid
    value = STORED_SECRET if field.data and not typed else ""
    return BS3PasswordFieldWidget(hide_value=False)(field, value=value, **attributes)


def _draw_box(field: Any, **attributes: Any) -> Any:
    """Render a checkbox that a stored "false" leaves unchecked, and that submits "true" instead of "y"."""
    from wtforms.widgets import CheckboxInput

    field.data = str(field.data).lower() == "true"
    return CheckboxInput()(field, value="true", **attributes)
