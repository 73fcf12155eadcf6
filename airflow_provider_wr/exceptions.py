"""
All errors of this provider.

WRError
├── WRConnectionError        no answer: DNS, refused, reset, TLS
├── WRTimeoutError           a wait or a call ran out of time
├── WRAuthError              401, 403
├── WRNotFoundError          404
├── WRValidationError        400, 409, 422, and invalid input rejected before anything is sent
├── WRConcurrentUpdateError  an update that was not sent, since a run may still need the old values
├── WRRateLimitError         429
├── WRServerError            5xx
├── WRProtocolError          an answer that violates the protocol
├── WRTriggerUnknownError    a request to start a run or an execution, with an unknown outcome
├── WRCreditLimitError       a run or an execution that used more credits than ``max_credits``
├── WRRunEndedError          a run that ended without success
│   ├── WRRunFailedError
│   └── WRRunCanceledError
└── WRComponentFailedError   an execution of a component that ended FAILED

"It failed" (:class:`WRRunEndedError`, :class:`WRComponentFailedError`) and "could not ask" (all others) are never
confused. The attribute ``retryable`` decides whether Airflow should retry the task; :func:`no_retries` makes
Airflow respect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

try:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
except ImportError:  # the api package works without Airflow
    AirflowException = AirflowFailException = Exception  # type: ignore[misc, assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_wr.api.executions import ComponentExecution
    from airflow_provider_wr.api.models import Run


class WRError(AirflowException):
    """
    Something went wrong between Airflow and White Rabbit.

    Its message has the cause first, then what to do, and the request last.

    :param message: the API's own message if it answered, else ours.
    :param method: HTTP method of the call; None without a call.
    :param path: path of the call, without the host; None without a call.
    :param status_code: HTTP status of the answer; None without one.
    :param details: the API's body: parsed JSON, or the beginning of a text; None without one.
    :param errors: the API's list of errors, each a dict of ``code`` and ``message``.
    :param retry_after: seconds, from the ``Retry-After`` header; None without one.
    :param sent: whether any bytes of the request may have reached the API; None without a call.
    :param conn_id: the Airflow connection of the call; None without a call.
    """

    status_code: int | None  # type: ignore[assignment]  # on Airflow's class, a constant 500

    #: Whether a retry of the task could succeed.
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        status_code: int | None = None,
        details: Any = None,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
        sent: bool | None = None,
        conn_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.method = method
        self.path = path
        self.status_code = status_code
        self.details = details
        self.errors = list(errors)
        self.retry_after = retry_after
        self.sent = sent
        self.conn_id = conn_id

    @property
    def cause(self) -> str:
        """What went wrong, in short: the status if it is an error, and the message."""
        status = self.status_code
        return " ".join(filter(None, (str(status) if status and status >= 300 else "", self.message)))

    @property
    def hint(self) -> str:
        """What the user can do about it, and over which connection the call was made; empty for nothing."""
        return f"sent over {self._connection}" if self.method and self.conn_id else ""

    @property
    def _connection(self) -> str:
        return f"connection {self.conn_id!r}" if self.conn_id else "the connection"

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.cause, self.hint)))
        return f"{text} ({self.method} {self.path})" if self.method else text

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, exceptions are pickled with their positional arguments only; ours have keywords.
        return _new, (_documented(type(self)), isinstance(self, _NotRetried), self.args), self.__dict__


@contextmanager
def naming(conn_id: str | None) -> Iterator[None]:
    """Set ``conn_id`` on the errors of a call."""
    try:
        yield
    except WRError as error:
        error.conn_id = conn_id
        raise


class _NotRetried(AirflowFailException):
    """Airflow's own class for "do not retry"."""


@contextmanager
def no_retries() -> Iterator[None]:
    """Convert errors that are not ``retryable`` to classes of the same name that Airflow does not retry."""
    try:
        yield
    except WRError as error:
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        raise not_retried(error) from error.__cause__


def not_retried(error: WRError) -> WRError:
    """Return the error as a subclass of the same name that Airflow does not retry."""
    final = _new(type(error), True, error.args)
    final.__dict__.update(error.__dict__)
    return final


def _new(kind: type[WRError], not_retried: bool, args: tuple[Any, ...]) -> WRError:
    final = _not_retried(kind) if not_retried else kind  # type: ignore[arg-type]  # mypy's Hashable
    return final.__new__(final, *args)


@cache
def _not_retried(kind: type[WRError]) -> type[WRError]:
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, _NotRetried), names)


def _documented(kind: type[WRError]) -> type[WRError]:
    return kind.__mro__[1] if issubclass(kind, _NotRetried) else kind


class WRConnectionError(WRError):
    """The API, or the Airflow connection to it, could not be reached, or broke before an answer came."""

    @property
    def hint(self) -> str:
        return f"check the host of {self._connection}, and the network" if self.method else ""


class WRTimeoutError(WRError):
    """
    A wait or a call timed out. The run keeps running: there is no call to cancel it.

    :param last_status: the last known status of the run; None if it was never read, and for a call.
    :param last_known: what was last known of the run, in words; empty for a call.
    """

    def __init__(
        self, message: str, *, last_status: str | None = None, last_known: str = "", **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.last_status = last_status
        self.last_known = last_known

    @property
    def hint(self) -> str:
        return f"check the timeouts of {self._connection}, and the network" if self.method else ""


class WRAuthError(WRError):
    """The API refused the key (401), or the key may not use this workflow (403)."""

    @property
    def hint(self) -> str:
        if self.status_code == 403:
            return f"the key of {self._connection} may be for other workflows (Workspace Settings, API Keys)"
        return f"check the password of {self._connection}"


class WRNotFoundError(WRError):
    """The API does not know the workflow, component or run (404)."""

    @property
    def hint(self) -> str:
        return f"check the id, and that the key of {self._connection} is for its workspace"


class WRValidationError(WRError):
    """Invalid input: rejected by us before anything was sent, or by the API (400, 409, 422)."""

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.status_code is not None


class WRConcurrentUpdateError(WRError):
    """An update was not sent: another update, or a run that may need the old values, is active."""


class WRRateLimitError(WRError):
    """The API's rate limit was exceeded (429)."""

    @property
    def hint(self) -> str:
        return f"make fewer calls over {self._connection}" if self.method else ""


class WRServerError(WRError):
    """The API, or a proxy in front of it, failed (5xx)."""

    @property
    def hint(self) -> str:
        where = f" of {self._connection}" if self.conn_id else ""
        return f"the fault is on the other side{where}"


class WRProtocolError(WRError):
    """An answer that violates the API's protocol: a redirect, HTML, wrong types, too large."""

    @property
    def hint(self) -> str:
        return f"check the host of {self._connection}" if self.method else ""


class WRTriggerUnknownError(WRError, AirflowFailException):
    """
    A request to start a run, or an execution of a component, was sent, but its outcome is unknown.

    Airflow does not retry a task that raises it, since a second request could start a second one.

    :param why: what is known, in words.
    :param reason: the error that hides the outcome.
    :param starts: what the request starts: "run" or "execution".
    """

    retryable = False

    def __init__(self, why: str, *, reason: WRError, starts: str = "run", **facts: Any) -> None:
        self.doubt = f"whether {'an' if starts == 'execution' else 'a'} {starts} started is not known"
        super().__init__(f"{self.doubt}: {why}", **facts)
        self.why = why
        self.reason = reason
        self.starts = starts

    @property
    def hint(self) -> str:
        if self.starts == "execution":
            return "find out whether the component did its work, and clear the task if it did not"
        return "look in the White Rabbit dashboard for a run, and clear the task if there is none"

    @property
    def cause(self) -> str:
        return f"{self.doubt} ({self._connection}): {self.why}" if self.conn_id else self.message


class WRCreditLimitError(WRError):
    """
    A run or an execution has used more credits than the task's ``max_credits``.

    Only the wait ends. White Rabbit has no call to cancel, so an active run keeps running and uses more credits.

    :param credits: what was used when it was last seen; None where an event does not say.
    :param max_credits: the task's limit; None where an event does not say.
    """

    retryable = False

    def __init__(
        self, message: str, *, credits: float | None = None, max_credits: float | None = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.credits = credits
        self.max_credits = max_credits


class WRRunEndedError(WRError):
    """
    The run ended without success.

    :param run: the finished run.
    :param retryable: whether a retry of the task could succeed; False if it would only read the same run, or must
        not start a new one.
    :param advice: what to do, for the message; empty for none.
    :param link: URL of the run's page; None for none.
    """

    def __init__(self, run: Run, *, retryable: bool = True, advice: str = "", link: str | None = None) -> None:
        super().__init__("\n".join(filter(None, (run.ending, advice, link))))
        self.run = run
        self.retryable = retryable


class WRRunFailedError(WRRunEndedError):
    """The run ended FAILED. The message lists each failed stage: module, attempt, error."""


class WRRunCanceledError(WRRunEndedError):
    """The run ended CANCELED. The message has the reason, if there is one."""


def run_ended_error(run: Run, *, retryable: bool, advice: str = "", link: str | None = None) -> WRRunEndedError:
    """Return the error for a run that ended FAILED or CANCELED; see :class:`WRRunEndedError`."""
    kind = WRRunFailedError if run.status == "FAILED" else WRRunCanceledError
    return kind(run, retryable=retryable, advice=advice, link=link)


class WRComponentFailedError(WRError):
    """
    The execution of a component ended FAILED. The message, ``details`` and ``errors`` have the API's error.

    :param execution: the finished execution.
    :param retryable: whether a retry of the task could succeed; False if it would only read the same execution, or
        must not start a new one.
    :param advice: what to do, for the message; empty for none.
    :param link: URL of the execution's page; None for none.
    """

    def __init__(
        self, execution: ComponentExecution, *, retryable: bool = True, advice: str = "", link: str | None = None
    ) -> None:
        super().__init__(
            "\n".join(filter(None, (execution.ending, advice, link))),
            details=execution.kept_error,
            errors=[{"code": "EXECUTION_FAILED", "message": execution.error_text}],
        )
        self.execution = execution
        self.retryable = retryable
