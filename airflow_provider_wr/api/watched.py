"""What can be waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from airflow_provider_wr.api import calls, events
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.models import Run, RunEvent


@dataclass(frozen=True, slots=True)
class Watched:
    """
    Something that White Rabbit does, and that a wait watches until it has ended.

    :param noun: what it is, in words.
    :param read: reads it as it is now.
    :param stream: opens the stream of its events.
    :param read_event: reads the data of one event; None for a sign of life that says nothing.
    """

    noun: str
    id: str
    read: Call[Run]
    stream: Call[None]
    read_event: Callable[[str], RunEvent | None]

    def __str__(self) -> str:
        return f"{self.noun} {self.id}"


def run(run_id: str) -> Watched:
    """Watch a run; raises :class:`WRValidationError` for what cannot be the id of one."""
    return Watched(
        "run",
        run_id,
        calls.get_run(run_id),
        calls.stream_run(run_id),
        partial(events.read_run_event, run_id),
    )
