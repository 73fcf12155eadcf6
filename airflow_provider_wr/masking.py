"""Mask secrets, in Airflow's logs and pages and in all that the API says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from airflow_provider_wr.api.redaction import hide
from airflow_provider_wr.api.text import is_utf8

#: Characters from which on the value of a callback's header counts as a secret.
MIN_HEADER_SECRET = 8


def mask(*secrets: str | None) -> None:
    """Mask secrets from now on, in this process. None and empty strings are ignored."""
    for secret in filter(None, secrets):
        _secrets_masker().mask_secret(secret)
        hide(secret)


def mask_callback(secret: object, headers: object) -> None:
    """Mask what of a callback is secret; see :func:`callback_secrets`."""
    mask(*callback_secrets(secret, headers))


def callback_secrets(secret: object, headers: object) -> set[str]:
    """
    Return the strings of a callback to mask: its secret, and the values of its headers.

    For a value such as ``Bearer …``, also the last word. Short values are not secrets: masking every ``true``
    would make the API's answers unreadable.
    """
    values = headers.values() if isinstance(headers, Mapping) else ()
    texts = {text for value in values if isinstance(value, str) for text in (value, value.rpartition(" ")[2])}
    found = {text for text in texts if len(text) >= MIN_HEADER_SECRET}
    if isinstance(secret, str):
        found.add(secret)
    return {text for text in found if is_utf8(text)}


class MaskedField:
    """
    A templated field of an operator that is masked as soon as Airflow has rendered it, before Airflow stores it.

    What the DAG's author wrote is kept as it is: the constructor sets that with :meth:`keep`.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Any, owner: type | None = None) -> Any:
        return self if task is None else task.__dict__.get(self._name)

    def __set__(self, task: Any, value: Any) -> None:
        self.keep(task, value)
        mask_callback(value, value)

    def keep(self, task: Any, value: Any) -> None:
        """Set the field without masking it."""
        task.__dict__[self._name] = value


@cache
def _secrets_masker() -> Any:
    # Where it is in Airflow 3.2, 3.0 and 2.11; the newest common-compat for Python 3.10 does not know.
    for module in ("airflow.sdk.log", "airflow.sdk.execution_time.secrets_masker"):
        try:
            return import_module(module)
        except ImportError:
            continue
    return import_module("airflow.utils.log.secrets_masker")
