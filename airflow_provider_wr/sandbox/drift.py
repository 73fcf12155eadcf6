"""How a slightly different server would say the same: functions over what the sandbox would have said.

Nobody has promised the form of the API's answers: decimals may be texts, dates numbers, statuses of another
case, and a framework may say something of its own. What is said stays the same, and nothing here is random.
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
"""What comes between the events of a stream, in turn: an event's name and its data; the third is another's."""


def answer(endpoint: str, status: int, body: Any) -> tuple[int, Any]:
    """Return the status and the body that this server answers instead."""
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
    """Add fields; list the messages of invalid input under the error's code."""
    if "errors" in body:
        messages = [each["message"] for each in body["errors"]]
        body = {"error": body["errors"][0]["code"], "message": messages}
    return {"statusCode": status, **body, "requestId": None}


def triggered(body: Any) -> Any:
    """Write the job's id as a number."""
    return {**body, "jobId": int(body["jobId"].removeprefix("bull-")), "status": "Created", "scheduledAt": None}


def run(detail: Any) -> Any:
    """Write a run's detail and its stages in the other forms, with fields that nobody knows."""
    stages = detail["runStages"]
    if isinstance(stages, dict):
        stages = {key: stage(each) for key, each in stages.items()}
    else:
        stages = [stage(each) for each in stages]
    return {**_reformed(detail), "runStages": stages, "tags": None, "workspace": {"region": "eu"}}


def stage(detail: Any) -> Any:
    """Write a stage in the other forms; one that has not begun has no module."""
    begun = detail["status"] not in ("CREATED", "CANCELED")
    return {**_reformed(detail), "module": detail["module"] if begun else None, "input": None}


def execution(record: Any) -> Any:
    """Write the record of an execution in the other forms; no callback is null, and so is `completed`."""
    callback = record["callback"]
    callback = {**_reformed(callback), "lastStatus": None} if callback["url"] else None
    changed = {"completed": None, "callback": callback, "error": _bare(record["error"])}
    return {**_reformed(record), **changed, "tags": None}


def catalogue(modules: Any) -> Any:
    """Add fields, a type that nobody knows, and a module without schemas."""
    for module in modules:
        module["deprecated"] = None
        module["configs"]["properties"]["memo"] = {"type": "text", "nullable": True}
    alone = {"name": None, "module": "NEW_MODULE", "type": None, "executionModes": ["COMPONENT", "AGENT"]}
    return [*modules, {**alone, "inputs": None, "outputs": None, "configs": None}]


def event(told: Any) -> Any:
    """Write an event in the other forms, its id in upper case; the last has no output and no error."""
    changed: dict[str, Any] = {"id": told["id"].upper(), "version": 2}
    output = told["output"]
    if told["status"] in REFUSED_STREAMS:
        changed |= {key: None for key in ("output", "error") if key in told}
    elif output is not None:
        stages = [stage(each) for each in output["nonTerminalStages"]]
        changed["output"] = {**_reformed(output), "nonTerminalStages": stages}
    return {**_reformed(told), **changed}


def event_lines(number: int, data: str, name: str = "update") -> tuple[str, ...]:
    """Return the lines of one event of a stream, in NestJS's order."""
    return f"event: {name}", f"id: {number}", "retry: 3000", f"data: {data}"


def text(value: Any) -> str:
    """Write JSON; an object has its first key twice, with the same value."""
    if not isinstance(value, dict):
        return _json(value)
    key = next(iter(value))
    return f"{_json({key: value[key]})[:-1]},{_json(value)[1:]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bare(error: Any) -> Any:
    """Return an error's message instead of the error, where it is nothing more."""
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
"""The other form of each field's value; null and all other fields stay as they are."""


def _reformed(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _FORMS[key](value) if key in _FORMS and value is not None else value for key, value in fields.items()
    }
