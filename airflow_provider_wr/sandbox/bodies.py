"""Reads and checks the bodies of requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_wr.sandbox.answers import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request


async def json_object(request: Request) -> dict[str, Any]:
    """Parse the body, none counting as `{}`; refuse what could not be sent back as JSON either."""
    try:
        value = json.loads(await request.body() or b"{}")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "Malformed JSON in request body") from error
    if not isinstance(value, dict):
        raise ApiError(422, "body must be an object")
    return value


def update_problems(changes: dict[str, Any]) -> Iterator[str]:
    if not changes:
        yield "at least one of config, name, position is required"
    for name, value in changes.items():
        match name, value:
            case ("config", dict()) | ("name", str()):
                pass
            case "position", [int() | float(), int() | float()] if not any(type(n) is bool for n in value):
                pass
            case "config", _:
                yield "config must be an object"
            case "name", _:
                yield "name must be a string"
            case "position", _:
                yield "position must be two numbers"
            case _:
                yield f"property {name} should not exist"
