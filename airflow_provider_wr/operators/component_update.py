"""Validate component updates from a DAG, and build their calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from airflow_provider_wr.api import calls
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.ids import check_uuid
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.arguments import check_rendered, is_literal
from airflow_provider_wr.exceptions import WRValidationError

FIELDS = ("component_id", "config", "config_from_params", "name", "position")


def build_all(workflow_id: str, params: Mapping[str, Any], updates: Any) -> list[Call[None]]:
    """
    Return the calls for rendered ``component_updates``; see :func:`build`.

    The output of mapped tasks is a lazy sequence, which is read here. If it is empty, the tasks were skipped.
    """
    if not isinstance(updates, list) and _is_sequence(updates):
        updates = list(updates)
        if not updates:
            raise WRValidationError("component_updates is empty: the mapped tasks it comes from returned nothing")
    _check_list(updates)
    return [build(workflow_id, params, update, f"component_updates[{n}]") for n, update in enumerate(updates)]


def build(workflow_id: str, params: Mapping[str, Any], update: Any, place: str = "") -> Call[None]:
    """
    Return the call for one update.

    :param params: the DAG run's params.
    :param update: the rendered arguments of ``WRUpdateComponentOperator``, without workflow and connection.
        A missing key leaves the value unchanged.
    :param place: prefix for errors, such as ``component_updates[0]``; empty for an operator's own arguments.

    Raises :class:`WRValidationError` for invalid input.
    """
    _check_fields(update, place)
    for field, value in update.items():
        check_rendered(value, f"{place}.{field}" if place else field)
    config, position = update.get("config"), update.get("position")
    try:
        if isinstance(config, str):
            config = _from_json(config, "config")
            if config is None:
                raise WRValidationError("config should be an object (a dict), not null")
        if "config_from_params" in update:
            config = _with_params(config, update["config_from_params"], params)
        if isinstance(position, str):
            position = _from_json(position, "position")
        if isinstance(position, (list, tuple)):
            position = [_from_json(each, "position") if isinstance(each, str) else each for each in position]
        component_id = check_uuid(update.get("component_id"), "component_id")
        return calls.update_component(
            workflow_id, component_id, config=config, name=update.get("name"), position=position
        )
    except WRValidationError as error:
        raise WRValidationError(f"{place}: {error.message}" if place else error.message) from None


def check_all(updates: Any) -> None:
    """Reject, when the DAG is parsed, ``component_updates`` that are invalid whatever they render to."""
    if isinstance(updates, Mapping) or (isinstance(updates, str) and is_literal(updates)):
        _check_list(updates)
    if isinstance(updates, (list, tuple)):
        for n, update in enumerate(updates):
            if isinstance(update, Mapping) or is_literal(update):
                check(update, f"component_updates[{n}]")


def check(update: Mapping[str, Any], place: str = "") -> None:
    """Reject, when the DAG is parsed, an update that is invalid whatever it renders to."""
    _check_fields(update, place)
    if is_literal(update) and "config_from_params" not in update:
        build("00000000-0000-0000-0000-000000000000", {}, update, place)


def _check_list(updates: Any) -> None:
    if not isinstance(updates, (list, tuple)):
        raise WRValidationError(f"component_updates should be a list of dicts, not {_kind(updates)}")


def _check_fields(update: Any, place: str) -> None:
    if not isinstance(update, Mapping):
        raise WRValidationError(f"{place or 'the update'} should be a dict, not {_kind(update)}")
    for field in update:
        if field not in FIELDS:
            name = printable(str(field))
            snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
            close = get_close_matches(snake, FIELDS, 1)
            hint = f"did you mean {close[0]}?" if close else f"known fields: {', '.join(FIELDS)}"
            raise WRValidationError(f"{place or 'the update'} has no field {name!r}; {hint}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _from_json(text: str, field: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"at character {error.pos + 1}: {printable(text)!r}"
    except (ValueError, RecursionError):
        where = f"nested too deeply: {printable(text)!r}"
    raise WRValidationError(f"{field} is not valid JSON, {where}") from None


def _with_params(config: Any, names: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with params added, with their types unchanged."""
    if not _is_sequence(names) and not isinstance(names, Mapping):
        raise WRValidationError(
            "config_from_params should be a list of param names, or a dict of config keys to param names"
        )
    if not isinstance(config, Mapping | None):
        raise WRValidationError(f"config should be an object (a dict), not a {type(config).__name__}")
    merged = dict(config or {})
    pairs: Iterable[tuple[Any, Any]] = names.items() if isinstance(names, Mapping) else ((n, n) for n in names)
    for key, param in pairs:
        if not isinstance(param, str) or param not in params:
            known = printable(", ".join(sorted(params))) or "none"
            raise WRValidationError(f"config_from_params: the DAG has no param {param!r}; it has: {known}")
        if key in merged:
            raise WRValidationError(f"config and config_from_params both set {key!r}")
        merged[key] = params[param]
    return merged
