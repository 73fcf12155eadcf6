"""An argument that is sent as a JSON object: a dict, the text of one, and DAG params with their types intact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRValidationError


def build_object(given: Mapping[str, Any], name: str, params: Mapping[str, Any]) -> Any:
    """
    Return an argument such as ``config``, with the params that ``config_from_params`` names.

    :param given: the arguments that were given, rendered.
    :param params: the DAG run's params.

    Returns None if neither is given. Raises :class:`WRValidationError` for invalid input.
    """
    value = given.get(name)
    if isinstance(value, str):
        value = from_json(value, name)
        if value is None:
            raise WRValidationError(f"{name} should be an object (a dict), not null")
    if f"{name}_from_params" in given:
        value = _with_params(name, value, given[f"{name}_from_params"], params)
    return value


def from_json(text: str, field: str) -> Any:
    """Return the value of a JSON text; raises :class:`WRValidationError`, which names the field."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"at character {error.pos + 1}: {printable(text)!r}"
    except (ValueError, RecursionError):
        where = f"nested too deeply: {printable(text)!r}"
    raise WRValidationError(f"{field} is not valid JSON, {where}") from None


def is_sequence(value: Any) -> bool:
    """Return whether a value is a list or the like, such as the output of mapped tasks; a text is not."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _with_params(name: str, value: Any, names: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``value`` with params added, with their types unchanged."""
    if not is_sequence(names) and not isinstance(names, Mapping):
        raise WRValidationError(
            f"{name}_from_params should be a list of param names, or a dict of {name} keys to param names"
        )
    if not isinstance(value, Mapping | None):
        raise WRValidationError(f"{name} should be an object (a dict), not a {type(value).__name__}")
    merged = dict(value or {})
    pairs: Iterable[tuple[Any, Any]] = names.items() if isinstance(names, Mapping) else ((n, n) for n in names)
    for key, param in pairs:
        if not isinstance(param, str) or param not in params:
            known = printable(", ".join(sorted(params))) or "none"
            raise WRValidationError(f"{name}_from_params: the DAG has no param {param!r}; it has: {known}")
        if key in merged:
            raise WRValidationError(f"{name} and {name}_from_params both set {key!r}")
        merged[key] = params[param]
    return merged
