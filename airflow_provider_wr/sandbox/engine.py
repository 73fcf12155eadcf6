"""Moves runs through their stages in real time, one asyncio task per run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_wr.sandbox.behaviour import Behaviour
from airflow_provider_wr.sandbox.feed import Feed
from airflow_provider_wr.sandbox.runs import Run, Stage, now
from airflow_provider_wr.sandbox.workflow import stage_output

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.workflow import Component, Workflow


class StageFailed(Exception):
    """A stage ended FAILED, and so does its run."""


class RunCanceled(Exception):
    """A stage asked for its run to end CANCELED; the text is the reason."""


@dataclass(frozen=True)
class Execution:
    """A run, its feed and the task that moves it."""

    run: Run
    feed: Feed
    task: asyncio.Task[None]


class Engine:
    """All runs of one sandbox. It must be used on the event loop."""

    def __init__(self, speed: float) -> None:
        """`speed` divides the time every stage takes."""
        self._speed = speed
        self.executions: dict[str, Execution] = {}

    def start(self, workflow: Workflow, *, instantly: bool = False) -> Execution:
        """Create a run and set it going; `instantly` makes its stages take no time at all."""
        run = Run(
            workflow.id,
            f"bull-{12345 + len(self.executions)}",
            [Stage(component) for component in workflow.steps],
        )
        feed = Feed(run)
        mover = _Mover(run, feed, pace=0 if instantly else 1 / self._speed)
        execution = Execution(run, feed, asyncio.create_task(mover.move()))
        self.executions[run.id] = execution
        return execution

    def close(self) -> None:
        """Stop every run where it is and end every stream."""
        for execution in self.executions.values():
            execution.task.cancel()
            execution.feed.close()


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
        stage.complete(stage_output(stage.component.module, config, behaviour.count))
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

    def _fail(self, stage: Stage, message: str) -> NoReturn:
        stage.fail(message)
        self._changed()
        raise StageFailed

    def _changed(self) -> None:
        self.run.updated_at = now()
        self.feed.changed()
