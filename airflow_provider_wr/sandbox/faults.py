"""The ways in which the sandbox can misbehave, on request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

ENDPOINTS = (
    *("trigger", "get_run", "stream", "update"),
    *("execute_component", "get_execution", "stream_execution", "replay_callback", "list_components"),
)
_STREAMS = ("stream", "stream_execution")

_ONLY_FOR = {
    "obey": ("trigger", "update", "execute_component", "replay_callback"),
    "finish_first": ("trigger", "execute_component"),
    "drop_after": _STREAMS,
    "silent": _STREAMS,
    "lose_terminal": _STREAMS,
    "stages_by_id": ("get_run",),
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next calls of one endpoint.

    A call meets at most one fault, the oldest for its endpoint. Settings may be combined. ValueError
    says what is wrong with a setting, TypeError names an unknown one.
    """

    endpoint: str
    """One of `ENDPOINTS`."""
    times: int | None = 1
    """How many calls it spoils; None: all, until cleared."""
    delay: int | float = 0
    """Seconds to wait before the answer; the request is obeyed after them too, with `obey` before them."""
    obey: bool = False
    """Do what was asked before anything else happens, although the caller may never learn of it."""
    status: int | None = None
    """Answer with this status instead."""
    retry_after: str | None = None
    """The Retry-After header of that answer, verbatim: seconds or an HTTP date."""
    html: bool = False
    """Answer with a proxy's HTML page instead, with `status`, by default 502."""
    reset: bool = False
    """Reset the TCP connection (RST) instead of answering."""
    close: bool = False
    """Close the TCP connection (FIN) instead of answering."""
    echo_key: bool = False
    """The message of an error repeats the API key of the request."""
    finish_first: bool = False
    """The run or execution takes no time and has finished before the request that starts it is answered."""
    drop_after: int | None = None
    """Cut the stream after this many events of the run or execution, in the middle of the response."""
    silent: bool = False
    """Open the stream, then send neither events nor heartbeats."""
    lose_terminal: bool = False
    """Keep the terminal event from the stream, which stays open."""
    drift: bool = False
    """Say the same in other forms, as a slightly different server would."""
    stages_by_id: bool = False
    """Answer with a run whose stages are an object by their ids, not a list."""

    def __post_init__(self) -> None:
        types = get_type_hints(Fault)
        settings = {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name)}
        for name, value in settings.items():
            if not isinstance(value, types[name]):
                raise ValueError(f"{name} must not be {value!r}")
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"{name} must not be negative")
            if self.endpoint not in _ONLY_FOR.get(name, ENDPOINTS):
                raise ValueError(f"{name} is not for the endpoint {self.endpoint!r}")
        if not settings.keys() - {"endpoint", "times"}:
            raise ValueError("the fault does nothing")
        if self.echo_key and self.status is None:
            raise ValueError("echo_key is for an error: give a status, too")
        if self.times == 0:
            raise ValueError("times must be at least 1")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status must be from 200 to 599")


_DEFAULTS = {setting.name: setting.default for setting in fields(Fault)}


class Faults:
    """The faults which are switched on, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Every fault with the calls it has left in `times`."""
        return [asdict(fault) for fault in self._faults]

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault that a call of `endpoint` meets, if any, and count the call."""
        for index, fault in enumerate(self._faults):
            if fault.endpoint == endpoint:
                match fault.times:
                    case None:
                        pass
                    case 1:
                        del self._faults[index]
                    case left:
                        self._faults[index] = replace(fault, times=left - 1)
                return fault
        return None
