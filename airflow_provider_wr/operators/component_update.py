"""Validate component updates from a DAG, and build their calls."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from airflow_provider_wr.api import calls
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.ids import check_uuid
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.arguments import check_rendered, is_literal
from airflow_provider_wr.exceptions import WRValidationError
from airflow_provider_wr.operators.objects import build_object, from_json, is_sequence

FIELDS = ("component_id", "config", "config_from_params", "name", "position")


def build_all(workflow_id: str, params: Mapping[str, Any], updates: Any) -> list[Call[None]]:
    """
    Return the calls for rendered ``component_updates``; see :func:`build`.

    The output of mapped tasks is a lazy sequence, which is read here. If it is empty, the tasks were skipped.
    """
    if not isinstance(updates, list) and is_sequence(updates):
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
    position = update.get("position")
    try:
        config = build_object(update, "config", params)
        if isinstance(position, str):
            position = from_json(position, "position")
        if isinstance(position, (list, tuple)):
            position = [from_json(each, "position") if isinstance(each, str) else each for each in position]
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
