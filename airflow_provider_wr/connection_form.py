"""The fields of a ``wr`` connection in Airflow's form, for every version of it."""

from __future__ import annotations

from typing import Any

#: What stands for a stored secret in the form of Airflow 2.11: where it comes back, the secret is kept.
STORED_SECRET = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"  # noqa: S105 - no secret

#: Airflow's own fields, in the form that provider info has them.
BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {
        "host": "https://api.whiterabbit.app",
        "password": "ws_…",
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


#: The fields of the extra, in the form that provider info has them from Airflow 3.2 on.
FIELDS: dict[str, dict[str, Any]] = {
    "workflow_id": _field("Workflow ID", "UUID of the workflow that is used where a task names none."),
    "api_secret": _field(
        "API secret",
        "Ed25519 private key (PKCS#8 DER, base64); with it, every request is signed.",
        format="password",
    ),
    "run_url": _field(
        "Run URL", "Template of the link to a run, with {run_id} and {workflow_id}; no link without it."
    ),
    "execution_url": _field(
        "Execution URL",
        "Template of the link to an execution of a component, with {execution_id}; no link without it.",
    ),
    "harmless_modules": _field(
        "Harmless modules",
        "Modules whose stages have no effect, with commas: a retry may start a new run after them.",
    ),
    "connect_timeout": _field("Connect timeout", "Seconds to open a connection. Default: 10.", "number"),
    "read_timeout": _field("Read timeout", "Seconds for the answer to a plain call. Default: 30.", "number"),
    "verify": _field("Verify TLS", "true, false, or the path of a CA bundle. Default: true."),
    "allow_http": _field("Allow plain http", "Send the key to another machine without TLS.", "boolean"),
    "allow_concurrent_updates": _field(
        "Allow concurrent updates",
        "Update components while other runs are under way: all runs set the same values.",
        "boolean",
    ),
}


def widgets() -> dict[str, Any]:
    """Return :data:`FIELDS` as the form of Airflow 2.11 to 3.1 has them."""
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
    """Return :data:`BEHAVIOUR` as the form of Airflow 2.11 to 3.1 has it."""
    return {key.replace("-", "_"): value for key, value in BEHAVIOUR.items()}


# Only Airflow 2.11 draws the fields; later ones read their labels and types.


def _draw_secret(field: Any, **attributes: Any) -> Any:
    """Draw what stands for a stored secret: an empty field would delete it when the form is saved."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget

    typed = field.raw_data not in (None, [STORED_SECRET])  # and back, since another field is wrong
    value = STORED_SECRET if field.data and not typed else ""
    return BS3PasswordFieldWidget(hide_value=False)(field, value=value, **attributes)


def _draw_box(field: Any, **attributes: Any) -> Any:
    """Draw a box that a stored text "false" leaves empty, and that is tested as "true", not as "y"."""
    from wtforms.widgets import CheckboxInput

    field.data = str(field.data).lower() == "true"
    return CheckboxInput()(field, value="true", **attributes)
