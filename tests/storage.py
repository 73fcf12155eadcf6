"""Store values the way Airflow does, without the databases."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

try:
    from pydantic import JsonValue, TypeAdapter

    _check = TypeAdapter(JsonValue).validate_python
except ImportError:  # Airflow 2.11 does without

    def _check(value: Any) -> Any:
        return value


try:
    from airflow.sdk.serde import deserialize, serialize
except ImportError:  # below Airflow 3.2
    from airflow.serialization.serde import deserialize, serialize

#: An escaped U+0000, and no backslash that is escaped itself.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def stored(value: Any) -> Any:
    """Return a value as Airflow gives it back; raises where it cannot be kept."""
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(serialize(value)))  # to the task's supervisor
    text = json.dumps(_check(sent), allow_nan=False, ensure_ascii=False)  # to the API server
    text.encode()
    if _NUL.search(text):
        raise ValueError("PostgreSQL holds no U+0000")
    return deserialize(json.loads(text))
