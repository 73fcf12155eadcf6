"""What can be waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_wr.api import calls, events
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.models import Run, RunStage


class State(Protocol):
    """How something is that can be waited for, as a read or an event says; None is what it does not say."""

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
    Something that White Rabbit does, and that a wait watches until it has ended.

    :param noun: what it is, in words.
    :param read: reads it as it is now.
    :param stream: opens the stream of its events.
    :param read_event: reads the data of one event; None for a sign of life that says nothing.
    """

    noun: str
    id: str
    read: Call[T]
    stream: Call[None]
    read_event: Callable[[str], Any | None]

    def __str__(self) -> str:
        return f"{self.noun} {self.id}"


def run(run_id: str) -> Watched[Run]:
    """Watch a run; raises :class:`WRValidationError` for what cannot be the id of one."""
    return Watched(
        "run",
        run_id,
        calls.get_run(run_id),
        calls.stream_run(run_id),
        partial(events.read_run_event, run_id),
    )
