"""A change to a component, as a DAG's author gives it, made ready to be sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_wr import protocol
from airflow_provider_wr.exceptions import WRValidationError
from airflow_provider_wr.protocol import Call
from airflow_provider_wr.quoting import quote

log = logging.getLogger(__name__)

FIELDS = ("component_id", "config", "config_from_params", "name", "position")


def build(workflow_id: str, params: Mapping[str, Any], update: Mapping[str, Any]) -> Call[None]:
    """
    Return the call that makes a change.

    :param params: the DAG run's params.
    :param update: the arguments of ``WRUpdateComponentOperator``, rendered, other than its workflow and
        connection.

    Raises :class:`WRValidationError` for anything that should not be sent.
    """
    if not isinstance(update, Mapping):
        raise WRValidationError(f"an update should be an object (a dict), and is a {type(update).__name__}")
    if unknown := [key for key in update if key not in FIELDS]:
        raise WRValidationError(f"an update has {unknown[0]!r}, and may have {', '.join(FIELDS)}")
    config, name, position = update.get("config"), update.get("name"), update.get("position")
    if isinstance(config, str):
        config = _from_json(config, "config")
    if (from_params := update.get("config_from_params")) is not None:
        config = _with_params(config, from_params, params)
    if isinstance(position, str):
        position = _from_json(position, "position")
    if isinstance(position, (list, tuple)):
        position = [_from_json(each, "position") if isinstance(each, str) else each for each in position]
    component_id = protocol.check_uuid(update.get("component_id"), "component_id")
    return protocol.update_component(workflow_id, component_id, config=config, name=name, position=position)


def log_sent(call: Call[None]) -> None:
    """Log which component an update has changed, and which keys of its config. The values may be secrets."""
    body = json.loads(call.body or b"{}")
    fields = [f"config {', '.join(body['config']) or '(no keys)'}"] if "config" in body else []
    fields += [field for field in ("name", "position") if field in body]
    log.info("Updated component %s: %s", call.path.rpartition("/")[2], quote("; ".join(fields)))


def _from_json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WRValidationError(f"{field} is a text that is not JSON: {quote(text)!r}") from None


def _with_params(config: Any, wanted: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with the params copied in, their types as they are."""
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, (Sequence, Mapping)):
        raise WRValidationError(
            "config_from_params should be a list of params' names, or an object of config keys and params' names"
        )
    if not isinstance(config, Mapping | None):
        raise WRValidationError(f"config should be an object (a dict), and is a {type(config).__name__}")
    merged = dict(config or {})
    for key, param in wanted.items() if isinstance(wanted, Mapping) else zip(wanted, wanted, strict=True):
        if not isinstance(param, str) or param not in params:
            known = quote(", ".join(sorted(params))) or "none"
            raise WRValidationError(
                f"config_from_params names the param {param!r}, which the DAG has not: {known}"
            )
        if key in merged:
            raise WRValidationError(f"config and config_from_params both set {key!r}")
        merged[key] = params[param]
    return merged
