"""Components that run without a workflow: their catalogue and their executions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_wr.sandbox.callbacks import Callback, callback_problems
from airflow_provider_wr.sandbox.runs import TERMINAL, new_id, now
from airflow_provider_wr.sandbox.stream import Feed, Moving
from airflow_provider_wr.sandbox.workflow import Behaviour, as_error, component_output

if TYPE_CHECKING:
    from collections.abc import Iterator

ExecutionStatus = Literal["CREATED", "EXECUTING", "COMPLETED", "FAILED"]
Schema = dict[str, Any]

MAX_ATTEMPTS = 3
MAX_WAIT_MS = 15_000

BACKOFF = 0.2
"""Seconds before the second attempt of an execution; doubled for the third."""

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}


@dataclass(frozen=True)
class Module:
    """One kind of component, as the catalogue lists it."""

    name: str
    module: str
    type: str
    credits: int
    """Credits for one execution; not part of the catalogue."""
    inputs: dict[str, Schema] = field(default_factory=dict)
    outputs: dict[str, Schema] = field(default_factory=dict)
    configs: dict[str, Schema] = field(default_factory=dict)
    required_configs: tuple[str, ...] = ()
    runs_alone: bool = True

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "module": self.module,
            "type": self.type,
            "executionModes": ["WORKFLOW", "COMPONENT"] if self.runs_alone else ["WORKFLOW"],
            "inputs": {"parameters": [{"name": key, "schema": each} for key, each in self.inputs.items()]},
            "outputs": {"response": [{"name": key, "schema": each} for key, each in self.outputs.items()]},
            "configs": {
                "type": "object",
                "properties": self.configs,
                "required": list(self.required_configs),
            },
        }


CATALOGUE = {
    module.module: module
    for module in (
        Module("Random UUID", "RANDOM_UUID", "UTILITY", 1, outputs={"uuid": TEXT}),
        Module(
            "API call",
            "API_CALL",
            "HTTP",
            1,
            outputs={"data": {"type": "object"}},
            configs={
                "apiUrl": TEXT,
                "method": {"type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
                "headers": {"type": "object"},
                "query": {"type": "array", "items": {"anyOf": [TEXT, NUMBER]}},
                "followRedirects": {"type": "boolean"},
            },
            required_configs=("apiUrl", "method"),
        ),
        Module(
            "EVM account balance",
            "GET_EVM_ACCOUNT_BALANCE",
            "EVM",
            1,
            inputs={"address": TEXT},
            outputs={"balance": TEXT},
            configs={"chainId": NUMBER},
        ),
        Module(
            "Send EVM transaction",
            "SEND_EVM_TRANSACTION",
            "EVM",
            2,
            inputs={"to": TEXT, "value": {"type": "bigint"}},
            outputs={"transactionHash": TEXT},
            configs={"chainId": NUMBER},
            required_configs=("chainId",),
        ),
        Module("For each", "FOR_EACH", "LOGIC", 1, inputs={"items": {"type": "array"}}, runs_alone=False),
    )
}
"""The modules by their names in requests. The families are White Rabbit's, the schemas the sandbox's own."""


def request_problems(body: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of a request to execute a component."""
    module = CATALOGUE.get(str(body.get("module")))
    for name in ("input", "config"):
        if not isinstance(body.get(name, {}), dict):
            yield f"{name} must be an object"
            return
    if module is None:
        yield "module must be one of the catalogue"
    elif not module.runs_alone:
        yield f"module {module.module} runs in workflows only"
    else:
        yield from (f"input.{name} is required" for name in module.inputs if name not in body.get("input", {}))
        yield from (
            f"config.{name} is required" for name in module.required_configs if name not in body.get("config", {})
        )
    for name, least, most in (("attempts", 1, MAX_ATTEMPTS), ("waitForMs", 0, MAX_WAIT_MS)):
        value = body.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            yield f"{name} must be an integer from {least} to {most}"
    yield from callback_problems(*(body.get(name) for name in _CALLBACK))
    known = {"module", "input", "config", "attempts", "waitForMs", *_CALLBACK}
    yield from (f"property {name} should not exist" for name in body if name not in known)


_CALLBACK = ("callbackUrl", "callbackSecret", "callbackHeaders")


@dataclass
class ComponentExecution:
    """One execution of a component without a workflow."""

    module: Module
    input: dict[str, Any]
    config: dict[str, Any]
    attempts: int
    """Maximum number of attempts."""
    callback: Callback
    id: str = field(default_factory=new_id)
    status: ExecutionStatus = "CREATED"
    attempt: int = 0
    """The current or last attempt, starting at 1."""
    output: Any = None
    error: Any = None
    total_usage: int = 0
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    def begin(self, attempt: int) -> None:
        self.status = "EXECUTING"
        self.attempt = attempt
        self.updated_at = now()

    def complete(self, output: Any) -> None:
        self.output = output
        self._end("COMPLETED")

    def fail(self, error: Any) -> None:
        self.error = error
        self._end("FAILED")

    def _end(self, status: ExecutionStatus) -> None:
        self.status = status
        self.total_usage = self.module.credits
        self.updated_at = now()

    def summary(self) -> dict[str, Any]:
        """The execution in the control API."""
        return {
            "id": self.id,
            "module": self.module.module,
            "status": self.status,
            "input": self.input,
            "config": self.config,
            "attempts": self.attempt,
            "createdAt": self.created_at,
        }

    def record(self) -> dict[str, Any]:
        """The answer to `GET …/components/executions/{id}`, and the body of the callback."""
        return {
            "id": self.id,
            "module": self.module.module,
            "status": self.status,
            "completed": self.is_terminal,
            "output": self.output,
            "error": self.error,
            "totalUsage": self.total_usage,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "callback": self.callback.as_json(),
        }

    def event(self) -> dict[str, Any]:
        """The data of one event of the stream."""
        return {
            "id": self.id,
            "status": self.status,
            "output": self.output,
            "error": self.error,
            "timestamp": self.updated_at,
        }


class Executions:
    """All executions of one sandbox, by id. It must be used on the event loop."""

    def __init__(self, speed: float) -> None:
        """`speed` divides all durations."""
        self._pace = 1 / speed
        self._all: dict[str, Moving[ComponentExecution]] = {}
        self._steering: dict[str, dict[str, Any]] = {}
        self._let_go: dict[str, asyncio.Event] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[ComponentExecution]:
        return (moving.subject for moving in self._all.values())

    def get(self, execution_id: str) -> Moving[ComponentExecution] | None:
        return self._all.get(execution_id)

    def start(self, body: dict[str, Any], *, instantly: bool = False) -> Moving[ComponentExecution]:
        """Start an execution for a valid request; `instantly` without any delay."""
        url, secret, headers = (body.get(name) for name in _CALLBACK)
        execution = ComponentExecution(
            CATALOGUE[body["module"]],
            body.get("input", {}),
            body.get("config", {}),
            body.get("attempts", 1),
            Callback(url, secret, headers or {}),
        )
        feed = Feed(execution)
        pace = 0 if instantly else self._pace
        moving = Moving(execution, feed, asyncio.create_task(self._move(execution, feed, pace)))
        self._all[execution.id] = moving
        return moving

    def steer(self, module: str, config: dict[str, Any]) -> None:
        """Merge `config` into the config of all executions of a module that start from now on.

        Without `hold` in it, held executions continue.
        """
        self._steering[module] = config
        if not config.get("hold"):
            self._let_go.pop(module, asyncio.Event()).set()

    def deliver(self, execution: ComponentExecution) -> None:
        """Send the callback of an execution that has ended, in the background."""
        delivery = execution.callback.deliver(execution.id, execution.record, self._pace)
        task = asyncio.create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    def close(self) -> None:
        """Stop every execution where it is, every stream and every delivery."""
        for moving in self._all.values():
            moving.close()
        for task in self._deliveries:
            task.cancel()

    async def _move(self, execution: ComponentExecution, feed: Feed, pace: float) -> None:
        execution.begin(attempt=1)
        feed.changed()
        try:
            steering = self._steering.get(execution.module.module, {})
            behaviour = Behaviour.from_config({**execution.config, **steering})
        except ValueError as error:
            execution.fail(as_error(str(error)))
        else:
            await self._attempt(execution, behaviour, pace)
        feed.changed()
        if execution.callback.url is not None:
            self.deliver(execution)

    async def _attempt(self, execution: ComponentExecution, behaviour: Behaviour, pace: float) -> None:
        module = execution.module.module
        for attempt in range(1, execution.attempts + 1):
            if attempt > 1:
                await asyncio.sleep(BACKOFF * 2 ** (attempt - 2) * pace)
                execution.begin(attempt)
            await asyncio.sleep(behaviour.seconds * pace)
            if behaviour.hold:
                await self._let_go.setdefault(module, asyncio.Event()).wait()
            if attempt > behaviour.fail_attempts and behaviour.fail_with is None:
                execution.complete(component_output(module, execution.config, behaviour))
                return
        reason = behaviour.fail_with
        execution.fail(as_error(f"attempt {execution.attempt} failed" if reason is None else reason))
