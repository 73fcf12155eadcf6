"""Advance runs through their stages in real time, and hold the state of the sandbox."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_wr.sandbox.components import Executions
from airflow_provider_wr.sandbox.faults import Faults
from airflow_provider_wr.sandbox.runs import Run, Stage, now
from airflow_provider_wr.sandbox.stream import Feed, Moving
from airflow_provider_wr.sandbox.workflow import (
    API_KEY,
    Behaviour,
    as_error,
    component_output,
    supplier_payments,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.workflow import Component, Workflow

MAX_LOGGED_REQUESTS = 100_000


class StageFailed(Exception):
    """A stage ended FAILED, and so does its run."""


class RunCanceled(Exception):
    """A stage cancels its run; the message is the reason."""


class Engine:
    """All runs of one sandbox. It must be used on the event loop."""

    def __init__(self, speed: float) -> None:
        """`speed` divides the duration of every stage."""
        self._speed = speed
        self.runs: dict[str, Moving[Run]] = {}

    def start(self, workflow: Workflow, *, instantly: bool = False) -> Moving[Run]:
        """Create and start a run; `instantly` without any delay in its stages."""
        run = Run(
            workflow.id,
            f"bull-{12345 + len(self.runs)}",
            [Stage(component) for component in workflow.steps],
        )
        feed = Feed(run)
        mover = _Mover(run, feed, pace=0 if instantly else 1 / self._speed)
        self.runs[run.id] = Moving(run, feed, asyncio.create_task(mover.move()))
        return self.runs[run.id]

    def close(self) -> None:
        """Stop all runs and close all streams."""
        for moving in self.runs.values():
            moving.close()


@dataclass(frozen=True)
class _Mover:
    run: Run
    feed: Feed
    pace: float
    """Real seconds per configured second."""

    async def move(self) -> None:
        self.run.status = "EXECUTING"
        self._changed()
        try:
            for stage in tuple(self.run.stages):
                await self._perform(stage)
        except StageFailed:
            self.run.end("FAILED")
        except RunCanceled as canceled:
            self.run.request_cancel(str(canceled))
            self.run.end("CANCELED")
        else:
            self.run.end("COMPLETED")
        self._changed()

    async def _perform(self, stage: Stage) -> None:
        config = stage.component.config
        try:
            behaviour = Behaviour.from_config(config)
        except ValueError as error:
            self._fail(stage, str(error))
        for attempt in range(1, behaviour.fail_attempts + 2):
            stage.dispatch(attempt)
            self._changed()
            await asyncio.sleep(behaviour.seconds * self.pace)
        if behaviour.hold:
            await stage.component.let_go.wait()
        if behaviour.cancel_run is not None:
            raise RunCanceled(behaviour.cancel_run)
        if behaviour.fail_with is not None:
            self._fail(stage, behaviour.fail_with)
        if stage.component.body is not None:
            await self._fan_out(stage, stage.component.body, behaviour.count)
        stage.complete(component_output(stage.component.module, config, behaviour))
        self._changed()

    async def _fan_out(self, parent: Stage, body: Component, count: int) -> None:
        children = [Stage(body) for _ in range(count)]
        self.run.stages.extend(children)
        outcomes = await asyncio.gather(*map(self._perform, children), return_exceptions=True)
        errors = [outcome for outcome in outcomes if outcome is not None]
        if errors and all(isinstance(error, StageFailed) for error in errors):
            self._fail(parent, f"{len(errors)} of {count} items failed")
        for error in errors:
            raise error

    def _fail(self, stage: Stage, reason: Any) -> NoReturn:
        stage.fail(as_error(reason))
        self._changed()
        raise StageFailed

    def _changed(self) -> None:
        self.run.updated_at = now()
        self.feed.changed()


@dataclass(frozen=True)
class Settings:
    """The options of a sandbox, which a reset keeps."""

    api_key: str = API_KEY
    public_key: Ed25519PublicKey | None = None
    """Verify the signature of every request with this key."""
    heartbeat: float = 15.0
    """Seconds between two heartbeats of a stream."""
    speed: float = 1.0
    """Divides the duration of every stage."""
    drift: bool = False
    """Answer every request as a slightly different server would."""

    def __post_init__(self) -> None:
        if self.heartbeat <= 0 or self.speed <= 0:
            raise ValueError("heartbeat and speed must be greater than 0")


class World:
    """The state of a sandbox. A reset replaces it, so pending requests cannot affect the new state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api_key = settings.api_key
        self.workflow = supplier_payments()
        self.engine = Engine(settings.speed)
        self.executions = Executions(settings.speed)
        self.faults = Faults()
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_LOGGED_REQUESTS)
        self._closed = asyncio.Event()

    def drifts(self, fault: Fault | None) -> bool:
        """Return whether to answer like a slightly different server."""
        return self.settings.drift or (fault is not None and fault.drift)

    async def pause(self, seconds: float) -> None:
        """Sleep, but at most until a reset."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    def close(self) -> None:
        self._closed.set()
        self.engine.close()
        self.executions.close()
