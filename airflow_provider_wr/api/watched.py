"""A run that can be waited for, seen through its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_wr.api import calls, events
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.executions import ComponentExecution
from airflow_provider_wr.api.models import Run, RunStage


class State(Protocol):
    """The state of a run, from a read or an event; None for what it does not contain."""

    @property
    def status(self) -> str: ...
    @property
    def is_terminal(self) -> bool: ...
    @property
    def pending_stage_count(self) -> int | None: ...
    @property
    def total_usage(self) -> float | None: ...
    @property
    def active_stages(self) -> Sequence[RunStage]: ...


T = TypeVar("T", bound=State)


@dataclass(frozen=True, slots=True)
class Watched(Generic[T]):
    """
    Something that runs on White Rabbit until it reaches a terminal status.

    :param noun: its kind, for messages.
    :param read: the call that reads its state.
    :param stream: the call that opens its event stream.
    :param read_event: parses the data of one event; returns None for heartbeats and the like.
    """

    noun: str
    id: str
    read: Call[T]
    stream: Call[None]
    read_event: Callable[[str], Any | None]

    def __str__(self) -> str:
        return f"{self.noun} {self.id}"


def run(run_id: str) -> Watched[Run]:
    """Return a run to watch; raises :class:`WRValidationError` for an invalid id."""
    return Watched(
        "run",
        run_id,
        calls.get_run(run_id),
        calls.stream_run(run_id),
        partial(events.read_run_event, run_id),
    )


def execution(execution_id: str) -> Watched[ComponentExecution]:
    """Watch an execution of a component; raises :class:`WRValidationError` for what cannot be the id of one."""
    return Watched(
        "execution",
        execution_id,
        calls.get_execution(execution_id),
        calls.stream_execution(execution_id),
        partial(events.read_execution_event, execution_id),
    )
