"""Answers of a slightly different server: functions that change the format of an answer, but not its meaning.

The format of the API's answers is not guaranteed: decimals may be strings, dates numbers, statuses may have
another case, and a framework may add messages. Nothing here is random.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STATUSES = {
    "CREATED": "Created",
    "EXECUTING": "executing",
    "RUNNING": "running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "CANCELLED",
}
"""Other spellings of the statuses of runs, stages and executions."""

REFUSED_STREAMS = {"COMPLETED": 409, "FAILED": 409, "CANCELED": 410}
"""The status that answers a stream of a run or an execution that has ended."""

OTHER_EVENTS = (
    ("ping", "ping"),
    ("message", None),
    (
        "update",
        {"id": "0ffbea70-0000-4000-8000-000000000000", "status": "COMPLETED", "output": {"totalUsage": 99}},
    ),
    ("error", {"message": "upstream reconnected"}),
)
"""Extra events between those of a stream, in turn: name and data. The third belongs to another run."""


def answer(endpoint: str, status: int, body: Any) -> tuple[int, Any]:
    """Return the changed status and body of an answer."""
    if status >= 400:
        return status, error(status, body)
    match endpoint:
        case "trigger":
            return 200, triggered(body)
        case "get_run":
            return 200, run(body)
        case "execute_component" | "get_execution":
            return 200, execution(body)
        case "list_components":
            return 200, catalogue(body)
        case _:
            return 200, {"updated": True, "component": None}


def error(status: int, body: Any) -> Any:
    """Add fields, and list the messages of invalid input."""
    if "errors" in body:
        messages = [each["message"] for each in body["errors"]]
        body = {"error": body["errors"][0]["code"], "message": messages}
    return {"statusCode": status, **body, "requestId": None}


def triggered(body: Any) -> Any:
    """Turn the job id into a number."""
    return {**body, "jobId": int(body["jobId"].removeprefix("bull-")), "status": "Created", "scheduledAt": None}


def run(detail: Any) -> Any:
    """Change the format of a run and its stages, and add unknown fields."""
    stages = detail["runStages"]
    if isinstance(stages, dict):
        stages = {key: stage(each) for key, each in stages.items()}
    else:
        stages = [stage(each) for each in stages]
    return {**_reformed(detail), "runStages": stages, "tags": None, "workspace": {"region": "eu"}}


def stage(detail: Any) -> Any:
    """Change the format of a stage; before it starts, it has no module."""
    begun = detail["status"] not in ("CREATED", "CANCELED")
    return {**_reformed(detail), "module": detail["module"] if begun else None, "input": None}


def execution(record: Any) -> Any:
    """Change the format of an execution; `completed` and a missing callback are null."""
    callback = record["callback"]
    callback = {**_reformed(callback), "lastStatus": None} if callback["url"] else None
    changed = {"completed": None, "callback": callback, "error": _bare(record["error"])}
    return {**_reformed(record), **changed, "tags": None}


def catalogue(modules: Any) -> Any:
    """Add fields, an unknown type, and a module without schemas."""
    for module in modules:
        module["deprecated"] = None
        module["configs"]["properties"]["memo"] = {"type": "text", "nullable": True}
    alone = {"name": None, "module": "NEW_MODULE", "type": None, "executionModes": ["COMPONENT", "AGENT"]}
    return [*modules, {**alone, "inputs": None, "outputs": None, "configs": None}]


def event(data: Any) -> Any:
    """Change the format of an event, with its id in upper case; the last has neither output nor error."""
    changed: dict[str, Any] = {"id": data["id"].upper(), "version": 2}
    output = data["output"]
    if data["status"] in REFUSED_STREAMS:
        changed |= {key: None for key in ("output", "error") if key in data}
    elif output is not None:
        stages = [stage(each) for each in output["nonTerminalStages"]]
        changed["output"] = {**_reformed(output), "nonTerminalStages": stages}
    return {**_reformed(data), **changed}


def event_lines(number: int, data: str, name: str = "update") -> tuple[str, ...]:
    """Return the lines of one event of a stream, in NestJS's order."""
    return f"event: {name}", f"id: {number}", "retry: 3000", f"data: {data}"


def text(value: Any) -> str:
    """Encode JSON; an object has its first key twice, with the same value."""
    if not isinstance(value, dict):
        return _json(value)
    key = next(iter(value))
    return f"{_json({key: value[key]})[:-1]},{_json(value)[1:]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bare(error: Any) -> Any:
    """Return the message of an error that has nothing else."""
    return error["message"] if isinstance(error, dict) and error.keys() == {"message"} else error


def _decimal(number: float) -> str:
    return f"{number:.2f}"


def _count_or_null(number: int) -> str | None:
    return str(number) if number else None


def _milliseconds(date: str) -> int:
    return round(datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp() * 1000)


_FORMS: dict[str, Callable[[Any], Any]] = {
    "status": STATUSES.__getitem__,
    "totalUsage": _decimal,
    "creditUsage": _decimal,
    "pendingStageCount": str,
    "failedStageCount": _count_or_null,
    "executionAttempt": str,
    "createdAt": _milliseconds,
    "updatedAt": _milliseconds,
    "cancelRequestedAt": _milliseconds,
    "executionDispatchedAt": _milliseconds,
    "timestamp": _milliseconds,
    "deliveredAt": _milliseconds,
    "lastAttemptAt": _milliseconds,
    "attemptCount": str,
}
"""Converters of field values; null and other fields are unchanged."""


def _reformed(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _FORMS[key](value) if key in _FORMS and value is not None else value for key, value in fields.items()
    }
