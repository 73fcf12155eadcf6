"""The faults that the sandbox can simulate."""

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
    """A fault for the next calls of one endpoint.

    A call gets at most one fault, the oldest for its endpoint. Settings may be combined. Raises ValueError for an
    invalid setting, TypeError for an unknown one.
    """

    endpoint: str
    """One of `ENDPOINTS`."""
    times: int | None = 1
    """Number of calls to affect; None for all, until cleared."""
    delay: int | float = 0
    """Seconds to wait before processing the request and answering; `obey` processes it before."""
    obey: bool = False
    """Process the request first, although the caller may not get the answer."""
    status: int | None = None
    """Answer with this status instead."""
    retry_after: str | None = None
    """The Retry-After header of that answer, verbatim: seconds or an HTTP date."""
    html: bool = False
    """Answer with the HTML page of a proxy instead, with `status`, by default 502."""
    reset: bool = False
    """Reset the TCP connection (RST) instead of answering."""
    close: bool = False
    """Close the TCP connection (FIN) instead of answering."""
    echo_key: bool = False
    """Repeat the API key of the request in the error message."""
    finish_first: bool = False
    """Finish the run or execution, without any delay, before answering the request that starts it."""
    drop_after: int | None = None
    """Cut the stream after this many events of the run or execution, in the middle of the response."""
    silent: bool = False
    """Open the stream, then send neither events nor heartbeats."""
    lose_terminal: bool = False
    """Drop the terminal event, and keep the stream open."""
    drift: bool = False
    """Answer like a slightly different server: the same content in another format."""
    stages_by_id: bool = False
    """Return the stages of a run as an object by id, not as a list."""

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
    """The active faults, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All faults; `times` is the number of calls left."""
        return [asdict(fault) for fault in self._faults]

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault for a call of `endpoint`, if any, and count the call."""
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
