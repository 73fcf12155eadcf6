"""What the author of a DAG gave to an operator: checked when the DAG is parsed, and again once it is rendered."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from inspect import signature
from typing import Any

from airflow_provider_wr.exceptions import WRValidationError


class _Unset:
    def __repr__(self) -> str:
        return "None"


#: The default of an argument that must be told from a None that a template rendered to.
UNSET: Any = _Unset()


def warn_author(text: str) -> None:
    """Warn at the line of the DAG file: the nearest caller outside this package and Airflow."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(("airflow_provider_wr.", "airflow.")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


class Given:
    """
    Which arguments of an operator were given: only one that was left out takes its default.

    :param mapped: whether the operator is an instance of a mapped one, so that a None was computed.
    :param arguments: those whose default is ``UNSET``. A None that stands in a DAG file counts as left out.
    """

    def __init__(self, mapped: bool, **arguments: Any) -> None:
        self._names = [
            name for name, value in arguments.items() if value is not UNSET and (mapped or value is not None)
        ]

    def check(self, operator: object) -> None:
        """Raise :class:`WRValidationError` if one of them rendered to nothing."""
        for name in self._names:
            check_rendered(getattr(operator, name), name)

    def values(self, operator: object) -> dict[str, Any]:
        """Return those that were given, rendered."""
        return {name: getattr(operator, name) for name in self._names}


def value_or_none(argument: Any) -> Any:
    """Return an argument whose default is ``UNSET``; None where it was left out."""
    return None if argument is UNSET else argument


def is_mapped(operator: object) -> bool:
    """Return whether Airflow makes an operator out of a mapped one. It keeps that under a name of its own."""
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def default_args(dag: Any, task_group: Any) -> dict[str, Any]:
    """Return the defaults that a DAG and a task group hold for the arguments of a task; none without a DAG."""
    if dag is None:
        return {}
    return {**(dag.default_args or {}), **((task_group and task_group.default_args) or {})}


class Prepared:
    """
    What ``partial()`` has prepared, with the arguments that each instance of the mapped operator will have.

    :param prepare: Airflow's own ``partial()``.
    :param arguments: those that were given.
    :param optional: the names of those for which a None that stands in a DAG file counts as left out.
    """

    def __init__(self, prepare: Callable[..., Any], arguments: Mapping[str, Any], *optional: str) -> None:
        left_out = {name for name in optional if name in arguments and arguments[name] is None}
        self.partial = prepare(**{name: value for name, value in arguments.items() if name not in left_out})
        self._kwargs: dict[str, Any] = self.partial.kwargs
        own = arguments.get("default_args") or {}
        defaults = default_args(self._kwargs.get("dag"), self._kwargs.get("task_group"))
        # As with an operator that is not mapped, no default takes the place of a None.
        self._kwargs.update(dict.fromkeys(left_out & {*defaults, *own}, UNSET))
        # Airflow puts its own arguments' defaults in here, and those of others only into each instance.
        taken = {
            name
            for kind in self.partial.operator_class.__mro__
            for name in signature(kind.__init__).parameters
            if "__init__" in vars(kind)
        }
        # And a mapped operator forgets its own.
        self._kwargs.update({name: own[name] for name in own if name in taken and name not in self._kwargs})
        self.arguments = {name: value for name, value in defaults.items() if name in taken} | self._kwargs

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument; ``default`` where it is left out."""
        value = self.arguments.get(name, UNSET)
        return default if value is UNSET else value

    def set(self, name: str, value: Any) -> None:
        """Give every instance another argument."""
        self._kwargs[name] = self.arguments[name] = value

    def check(self, **checks: Callable[[Any], Any]) -> None:
        """Check arguments as the operator's constructor does, which runs only with the task."""
        for name, check in checks.items():
            if self.get(name, UNSET) is not UNSET:
                check(self.arguments[name])


def check_rendered(value: Any, name: str) -> Any:
    """Return ``value``; raises :class:`WRValidationError` if it rendered to nothing: None, or a blank text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise WRValidationError(
            f"{name} is empty ({value!r}): check its template, or leave it out for its default"
        )
    return value


def is_literal(value: Any) -> bool:
    """Return whether a value in a DAG file is what it will be when the task runs: no template, no XComArg."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(map(is_literal, value.keys())) and all(map(is_literal, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float))


def to_seconds(value: Any, name: str) -> float:
    """Return a duration in seconds, given as a number, its text or a ``timedelta``; raises ``ValueError``."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name} should be seconds or a timedelta, not {value!r}")
    return seconds


def check_credits(value: Any) -> float | None:
    """Return ``max_credits``, given as a number or its text; raises ``ValueError`` for what is no amount."""
    if value is None:
        return None
    try:
        credits = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        credits = math.nan
    if not 0 <= credits < math.inf:
        raise ValueError(f"max_credits should be an amount of credits, such as 25, and is {value!r}")
    return credits


def check_modules(value: Any) -> tuple[str, ...]:
    """Return ``harmless_modules``; raises ``ValueError`` for a text, whose letters are no modules."""
    if isinstance(value, str):
        raise ValueError(f"harmless_modules should be a list of modules, not {value!r}")
    return tuple(value or ())


def check_choice(value: Any, name: str, *choices: str) -> Any:
    """Return ``value`` if it is one of the choices; raises ``ValueError`` if not."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} should be {', '.join(others)} or {last}, not {value!r}")
    return value
