"""
Every error a user of this provider can meet.

WRError
├── WRConnectionError        no answer: DNS, refused, reset, TLS
├── WRTimeoutError           a wait or a call ran out of time
├── WRAuthError              401, 403
├── WRNotFoundError          404
├── WRValidationError        400, 409, 422, and bad input refused before anything is sent
├── WRConcurrentUpdateError  an update that was not sent, since a run may still need the values before it
├── WRRateLimitError         429
├── WRServerError            5xx
├── WRProtocolError          an answer that is not what the protocol promises
├── WRTriggerUnknownError    a request that starts a run or an execution, and whose outcome cannot be known
├── WRCreditLimitError       what is waited for has used more credits than ``max_credits``
├── WRRunEndedError          a run that ended, but not well
│   ├── WRRunFailedError
│   └── WRRunCanceledError
└── WRComponentFailedError   an execution of a component that ended FAILED

"It failed" (:class:`WRRunEndedError`, :class:`WRComponentFailedError`) and "I could not ask" (all others) are not
confused. Whether Airflow should retry a task that fails with an error is its ``retryable``; :func:`no_retries`
makes Airflow respect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

try:
    from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
except ImportError:  # what has no I/O needs no Airflow
    AirflowException = AirflowFailException = Exception  # type: ignore[misc, assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_wr.api.executions import ComponentExecution
    from airflow_provider_wr.api.models import Run


class WRError(AirflowException):
    """
    Something went wrong between Airflow and White Rabbit.

    Its text has the cause first, then what to do, and the request last.

    :param message: the API's own words where it answered, else ours.
    :param method: HTTP method of the call; None when no call was made.
    :param path: path of the call, without the host; None when no call was made.
    :param status_code: HTTP status of the answer; None when there was none.
    :param details: the API's body: parsed JSON, or the beginning of its text; None when there was none.
    :param errors: the API's list of errors, each a dict of ``code`` and ``message``.
    :param retry_after: seconds after which the API wants to be asked again; None when it did not say.
    :param sent: whether any of the request may have reached the API; None when no call was made.
    :param conn_id: the Airflow connection of the call; None when no call was made.
    """

    status_code: int | None  # type: ignore[assignment]  # on Airflow's own class a constant, always 500

    #: Whether a retry of the task may end otherwise.
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
        """What went wrong, in short: the status of an answer that is an error, and the message."""
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
        # By default an exception is pickled by its positional arguments alone; ours has its facts by keyword.
        return _new, (_documented(type(self)), isinstance(self, _NotRetried), self.args), self.__dict__


@contextmanager
def naming(conn_id: str | None) -> Iterator[None]:
    """Let the errors of a call name the Airflow connection it was made over."""
    try:
        yield
    except WRError as error:
        error.conn_id = conn_id
        raise


class _NotRetried(AirflowFailException):
    """Airflow's own class for "do not retry"."""


@contextmanager
def no_retries() -> Iterator[None]:
    """Raise an error that is not ``retryable`` as one that Airflow does not retry, under the same name."""
    try:
        yield
    except WRError as error:
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        raise not_retried(error) from error.__cause__


def not_retried(error: WRError) -> WRError:
    """Return the same error as one that Airflow does not retry. Its class has the same name, and is a subclass."""
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
    A wait or a call ran out of time. A run that was waited for goes on: there is no call to cancel it.

    :param last_status: the status in which the run was last seen; None when it never was, and for a call.
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
    """Bad input: refused by us before anything was sent, or by the API (400, 409, 422)."""

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.status_code is not None


class WRConcurrentUpdateError(WRError):
    """An update was not sent: another one, or a run that may need the values before it, is under way."""


class WRRateLimitError(WRError):
    """The API's rate limit was met (429)."""

    @property
    def hint(self) -> str:
        return f"make fewer calls over {self._connection}" if self.method else ""


class WRServerError(WRError):
    """The API, or a proxy before it, failed (5xx)."""

    @property
    def hint(self) -> str:
        where = f" of {self._connection}" if self.conn_id else ""
        return f"the fault is on the other side{where}"


class WRProtocolError(WRError):
    """An answer that is not what the API's protocol promises: a redirect, HTML, wrong types, too large."""

    @property
    def hint(self) -> str:
        return f"check the host of {self._connection}" if self.method else ""


class WRTriggerUnknownError(WRError, AirflowFailException):
    """
    A request that starts a run, or an execution of a component, was sent, and whether it did cannot be known.

    Airflow does not retry a task that raises it, since a second request could start a second one.

    :param why: what is known, in words.
    :param reason: what kept us from knowing.
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
    What a task waits for has used more credits than the task's ``max_credits``.

    Only the wait ends. White Rabbit has no call to cancel, so a run that is active goes on and uses more credits.

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
    The run ended, but not well.

    :param run: the finished run.
    :param retryable: whether a retry of the task may end otherwise; False where it could only meet the same run,
        or must not start another.
    :param advice: what was done, and how to go on; empty for none.
    :param link: URL of the run's page; None where there is none.
    """

    def __init__(self, run: Run, *, retryable: bool = True, advice: str = "", link: str | None = None) -> None:
        super().__init__("\n".join(filter(None, (run.ending, advice, link))))
        self.run = run
        self.retryable = retryable


class WRRunFailedError(WRRunEndedError):
    """The run ended FAILED. Its text lists each failed stage: module, attempt, error."""


class WRRunCanceledError(WRRunEndedError):
    """The run ended CANCELED. Its text gives the reason, where one was left."""


def run_ended_error(run: Run, *, retryable: bool, advice: str = "", link: str | None = None) -> WRRunEndedError:
    """Return the error for a run that ended FAILED or CANCELED; see :class:`WRRunEndedError`."""
    kind = WRRunFailedError if run.status == "FAILED" else WRRunCanceledError
    return kind(run, retryable=retryable, advice=advice, link=link)


class WRComponentFailedError(WRError):
    """
    The execution of a component ended FAILED. Its text, ``details`` and ``errors`` have the API's error.

    :param execution: the finished execution.
    :param retryable: whether a retry of the task may end otherwise; False where it could only meet the same
        execution, or must not start another.
    :param advice: what was done, and how to go on; empty for none.
    :param link: URL of the execution's page; None where there is none.
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
