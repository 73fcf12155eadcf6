"""Error messages, the class hierarchy, and pickling."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_wr import exceptions
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRComponentFailedError,
    WRConcurrentUpdateError,
    WRConnectionError,
    WRCreditLimitError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRRunCanceledError,
    WRRunEndedError,
    WRRunFailedError,
    WRServerError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
    run_ended_error,
)
from airflow_provider_wr.models import ComponentExecution, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"
PATH = f"/v1/sdk/workflows/executions/{RUN_ID}"

PARENTS: dict[type[WRError], type[Exception]] = {
    WRError: AirflowException,
    WRConnectionError: WRError,
    WRTimeoutError: WRError,
    WRAuthError: WRError,
    WRNotFoundError: WRError,
    WRValidationError: WRError,
    WRConcurrentUpdateError: WRError,
    WRRateLimitError: WRError,
    WRServerError: WRError,
    WRProtocolError: WRError,
    WRTriggerUnknownError: WRError,
    WRCreditLimitError: WRError,
    WRRunEndedError: WRError,
    WRRunFailedError: WRRunEndedError,
    WRRunCanceledError: WRRunEndedError,
    WRComponentFailedError: WRError,
}


def classes(root: type[WRError] = WRError) -> Iterator[type[WRError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == exceptions.__name__ and getattr(exceptions, child.__name__) is child:
            yield from classes(child)


def ended(status: str = "FAILED") -> Run:
    stage = {"id": "s1", "module": "HTTP_REQUEST", "status": "FAILED", "error": {"message": "no route"}}
    return Run.from_json({"id": RUN_ID, "status": status, "totalUsage": 5, "runStages": [stage]})


def failed(**changes: Any) -> ComponentExecution:
    record = {"id": RUN_ID, "module": "API_CALL", "status": "FAILED", "totalUsage": 5}
    return ComponentExecution.from_json({**record, "error": {"message": "no route"}, **changes})


def build(kind: type[WRError]) -> WRError:
    """Create an error with all attributes set."""
    if issubclass(kind, WRRunEndedError):
        return kind(ended())
    if issubclass(kind, WRComponentFailedError):
        return kind(failed())
    facts: dict[str, Any] = {
        "method": "GET",
        "path": PATH,
        "status_code": 418,
        "details": {"message": "teapot"},
        "errors": [{"code": "T", "message": "teapot"}],
        "retry_after": 2.5,
    }
    if issubclass(kind, WRTriggerUnknownError):
        facts["reason"] = WRConnectionError("reset", method="POST", path=PATH)
    return kind("teapot", **facts)


def facts(error: WRError) -> dict[str, Any]:
    """All attributes of an error, for comparison, since exceptions compare by identity."""
    return {
        "class": type(error),
        "text": str(error),
        "args": error.args,
        **{name: facts(fact) if isinstance(fact, WRError) else fact for name, fact in vars(error).items()},
    }


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in classes()])
def test_every_error_survives_pickling(kind: type[WRError]) -> None:
    error = build(kind)
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)  # noqa: S301


def test_the_tree() -> None:
    assert {kind: kind.__bases__[0] for kind in classes()} == PARENTS


def test_the_tree_is_drawn_in_the_modules_docstring() -> None:
    assert [kind.__name__ for kind in classes() if kind.__name__ not in (exceptions.__doc__ or "")] == []


def test_airflow_retries_all_but_the_final_ones() -> None:
    assert {kind for kind in classes() if issubclass(kind, AirflowFailException)} == {
        WRTriggerUnknownError,
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(WRError("words"), "words", id="no call"),
        pytest.param(WRError("words", method="GET", path="/v1/x"), "words (GET /v1/x)", id="no answer"),
        pytest.param(
            WRError("words", method="GET", path="/v1/x", status_code=418), "418 words (GET /v1/x)", id="answer"
        ),
        pytest.param(
            WRProtocolError("words", method="GET", path="/v1/x", status_code=200),
            "words: check the host of the connection (GET /v1/x)",
            id="answer that is no error by its status",
        ),
        pytest.param(
            WRValidationError("", method="POST", path="/v1/x", status_code=400),
            "400 (POST /v1/x)",
            id="answer without words",
        ),
        pytest.param(
            WRServerError("", method="GET", path="/v1/x", status_code=502),
            "502: the fault is on the other side (GET /v1/x)",
            id="answer without words, with a hint",
        ),
        pytest.param(
            WRAuthError("Invalid API key", method="GET", path="/v1/x", status_code=401, conn_id="wr_default"),
            "401 Invalid API key: check the password of connection 'wr_default' (GET /v1/x)",
            id="401",
        ),
        pytest.param(
            WRAuthError("Forbidden", method="GET", path="/v1/x", status_code=403),
            "403 Forbidden: the key of the connection may be for other workflows "
            "(Workspace Settings, API Keys) (GET /v1/x)",
            id="403, of no connection that is known",
        ),
        pytest.param(
            WRNotFoundError("No such run", conn_id="wr_default"),
            "No such run: check the id, and that the key of connection 'wr_default' is for its workspace",
            id="404",
        ),
        pytest.param(
            WRConnectionError("refused", method="GET", path="/v1/x", conn_id="wr_default"),
            "refused: check the host of connection 'wr_default', and the network (GET /v1/x)",
            id="no connection",
        ),
        pytest.param(WRConnectionError("not looked up"), "not looked up", id="no connection, and no call"),
        pytest.param(WRTimeoutError("the wait timed out"), "the wait timed out", id="a wait that timed out"),
        pytest.param(
            WRTriggerUnknownError("reset", reason=WRError("reset")),
            "whether a run started is not known: reset: look in the White Rabbit dashboard for a run, "
            "and clear the task if there is none",
            id="trigger unknown",
        ),
        pytest.param(
            WRTriggerUnknownError("timed out", reason=WRError(""), starts="execution"),
            "whether an execution started is not known: timed out: find out whether the component did its work, "
            "and clear the task if it did not",
            id="execution unknown",
        ),
        pytest.param(
            WRComponentFailedError(failed(), advice="Clear it.", link="https://x/e"),
            f"execution {RUN_ID} ended FAILED, 5 credits used\n  API_CALL: no route\nClear it.\nhttps://x/e",
            id="component failed",
        ),
        pytest.param(
            WRRunFailedError(ended(), advice="Clear it.", link="https://x/run"),
            f"run {RUN_ID} ended FAILED, 5 credits used\n  HTTP_REQUEST: no route\nClear it.\nhttps://x/run",
            id="run failed",
        ),
    ],
)
def test_the_text(error: WRError, text: str) -> None:
    assert str(error) == text


CAUSES: dict[type[WRError], tuple[int | None, str]] = {
    WRError: (405, "Method Not Allowed"),
    WRConnectionError: (None, "cannot connect: Connection refused"),
    WRTimeoutError: (None, "timed out waiting for the answer"),
    WRAuthError: (401, "Invalid API key"),
    WRNotFoundError: (404, "Run not found"),
    WRValidationError: (422, "config.count must be a number"),
    WRRateLimitError: (429, "Rate limit exceeded"),
    WRServerError: (503, "Service unavailable"),
    WRProtocolError: (200, "the answer is not JSON: <html>"),
    WRTriggerUnknownError: (None, "timed out"),
}


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in CAUSES])
def test_cause_and_connection_come_within_what_a_log_view_shows(kind: type[WRError]) -> None:
    status, words = CAUSES[kind]
    more: dict[str, Any] = {"reason": WRError("")} if kind is WRTriggerUnknownError else {}
    error = kind(words, method="GET", path=PATH, status_code=status, conn_id="wr_default", **more)
    shown = str(error)[:90]
    assert words in shown
    assert "connection 'wr_default'" in shown
    assert str(error).endswith(f" (GET {PATH})")


def test_every_error_of_a_call_is_among_them() -> None:
    of_runs = {WRRunEndedError, WRRunFailedError, WRRunCanceledError}
    ours = {WRConcurrentUpdateError, WRCreditLimitError, WRComponentFailedError} | of_runs
    assert set(classes()) == set(CAUSES) | ours


@pytest.mark.parametrize("retryable", [False, True])
@pytest.mark.parametrize(("status", "kind"), [("FAILED", WRRunFailedError), ("CANCELED", WRRunCanceledError)])
def test_a_run_that_did_not_end_well(status: str, kind: type[WRRunEndedError], retryable: bool) -> None:
    run = ended(status)
    error = run_ended_error(run, retryable=retryable, advice="Clear the task.")
    assert (type(error), error.run, error.retryable) == (kind, run, retryable)
    assert error.message == f"{run.ending}\nClear the task."


def test_a_component_that_failed_has_the_apis_error() -> None:
    error = WRComponentFailedError(
        failed(error={"code": 7, "message": "no\0route", "wei": 2**70}), retryable=False
    )
    assert (error.execution.id, error.retryable) == (RUN_ID, False)
    assert error.details == {"code": 7, "message": "no\ufffdroute", "wei": str(2**70)}
    assert error.errors == [{"code": "EXECUTION_FAILED", "message": "no\\x00route"}]
    assert WRComponentFailedError(failed(error=None)).errors == [{"code": "EXECUTION_FAILED", "message": ""}]


def test_no_fact_is_invented() -> None:
    error = WRError("words")
    assert vars(error) == {
        "message": "words",
        "method": None,
        "path": None,
        "status_code": None,
        "details": None,
        "errors": [],
        "retry_after": None,
        "sent": None,
        "conn_id": None,
    }
