"""Validate the arguments of operators, when a DAG is parsed and again after rendering."""

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


#: A default value that differs from a None that a template rendered to.
UNSET: Any = _Unset()


def warn_author(text: str) -> None:
    """Warn at the line of the DAG file: the nearest caller outside this package and Airflow."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(("airflow_provider_wr.", "airflow.")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


class Given:
    """
    Tracks which arguments of an operator were given. Only omitted ones take their default, not those rendered
    empty.

    :param mapped: whether the operator is an instance of a mapped one, so that a None was computed.
    :param arguments: those whose default is ``UNSET``. A literal None in a DAG file counts as omitted.
    """

    def __init__(self, mapped: bool, **arguments: Any) -> None:
        self._names = [
            name for name, value in arguments.items() if value is not UNSET and (mapped or value is not None)
        ]

    def check(self, operator: object) -> None:
        """Raise :class:`WRValidationError` if one of them rendered to an empty value."""
        for name in self._names:
            check_rendered(getattr(operator, name), name)

    def values(self, operator: object) -> dict[str, Any]:
        """Return the given arguments, rendered."""
        return {name: getattr(operator, name) for name in self._names}


def value_or_none(argument: Any) -> Any:
    """Return an argument whose default is ``UNSET``; None if it was omitted."""
    return None if argument is UNSET else argument


def is_mapped(operator: object) -> bool:
    """Return whether an operator is an instance of a mapped one, from a private attribute of Airflow."""
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def default_args(dag: Any, task_group: Any) -> dict[str, Any]:
    """Return the ``default_args`` of a DAG and a task group; empty without a DAG."""
    if dag is None:
        return {}
    return {**(dag.default_args or {}), **((task_group and task_group.default_args) or {})}


class Prepared:
    """
    The result of ``partial()``, with the arguments that each instance of the mapped operator will get.

    :param prepare: Airflow's own ``partial()``.
    :param arguments: the given arguments.
    :param optional: names of arguments for which a literal None counts as omitted.
    """

    def __init__(self, prepare: Callable[..., Any], arguments: Mapping[str, Any], *optional: str) -> None:
        left_out = {name for name in optional if name in arguments and arguments[name] is None}
        self.partial = prepare(**{name: value for name, value in arguments.items() if name not in left_out})
        self._kwargs: dict[str, Any] = self.partial.kwargs
        own = arguments.get("default_args") or {}
        defaults = default_args(self._kwargs.get("dag"), self._kwargs.get("task_group"))
        # As for an operator that is not mapped, default_args do not replace a None.
        self._kwargs.update(dict.fromkeys(left_out & {*defaults, *own}, UNSET))
        # Airflow applies default_args here only to its own arguments, and to ours in each instance.
        taken = {
            name
            for kind in self.partial.operator_class.__mro__
            for name in signature(kind.__init__).parameters
            if "__init__" in vars(kind)
        }
        # And it ignores the default_args of a mapped operator itself.
        self._kwargs.update({name: own[name] for name in own if name in taken and name not in self._kwargs})
        self.arguments = {name: value for name, value in defaults.items() if name in taken} | self._kwargs

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument; ``default`` if it is omitted."""
        value = self.arguments.get(name, UNSET)
        return default if value is UNSET else value

    def set(self, name: str, value: Any) -> None:
        """Set an argument for every instance."""
        self._kwargs[name] = self.arguments[name] = value

    def check(self, **checks: Callable[[Any], Any]) -> None:
        """Validate arguments as the operator's constructor does, which runs only with the task."""
        for name, check in checks.items():
            if self.get(name, UNSET) is not UNSET:
                check(self.arguments[name])


def check_rendered(value: Any, name: str) -> Any:
    """Return ``value``; raises :class:`WRValidationError` if it rendered to None or a blank string."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise WRValidationError(f"{name} is empty ({value!r}): check its template, or omit it to use the default")
    return value


def is_literal(value: Any) -> bool:
    """Return whether a value in a DAG file is final: neither a template nor an XComArg."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(map(is_literal, value.keys())) and all(map(is_literal, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float))


def to_seconds(value: Any, name: str) -> float:
    """Return a duration in seconds from a number, a numeric string or a ``timedelta``; raises ``ValueError``."""
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
    """Return ``max_credits`` from a number or a numeric string; raises ``ValueError`` for anything else."""
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
    """Return ``harmless_modules``; raises ``ValueError`` for a string, which would be a sequence of letters."""
    if isinstance(value, str):
        raise ValueError(f"harmless_modules should be a list of modules, not {value!r}")
    return tuple(value or ())


def check_choice(value: Any, name: str, *choices: str) -> Any:
    """Return ``value`` if it is one of the choices; raises ``ValueError`` if not."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} should be {', '.join(others)} or {last}, not {value!r}")
    return value
