"""A retry starts another run only if that cannot pay again."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_wr.models import Run
from airflow_provider_wr.operators.retry_policy import RetryPolicy

RUN = "9e4c7b1a-1111-4222-8333-944455556666"
HASH = {"transactionHash": "0xabc"}


def stage(module: str | None, status: str, **fields: Any) -> dict[str, Any]:
    return {"id": "s", "module": module, "status": status, "output": None, "executionAttempt": 1, **fields}


def ended(*stages: Any, **fields: Any) -> Run:
    return Run.from_json({"id": RUN, "status": "FAILED", "runStages": list(stages), **fields})


@pytest.mark.parametrize(
    ("run", "harmless"),
    [
        pytest.param(ended(), True, id="no stages"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "CREATED")), True, id="queued"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "CANCELED")), True, id="canceled before it could run"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "RUNNING")), False, id="running"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "COMPLETED")), False, id="completed"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "FAILED")), False, id="failed"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "PAUSED")), False, id="of an unknown status"),
        pytest.param(
            ended(stage("SEND_EVM_TRANSACTION", "CREATED", executionAttempt=2)), False, id="queued again"
        ),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "CANCELED", creditUsage=2)), False, id="with credits"),
        pytest.param(ended(stage("SEND_EVM_TRANSACTION", "CANCELED", output=HASH)), False, id="with an output"),
        pytest.param(ended(stage("GET_EVM_ACCOUNT_BALANCE", "COMPLETED")), True, id="reads"),
        pytest.param(ended(stage("get_evm_account_balance", "FAILED")), True, id="reads, in lower case"),
        pytest.param(
            ended(*(stage(m, "COMPLETED") for m in ("FOR_EACH", "ARRAY_BUILDER", "STRING_CONSTANT"))),
            True,
            id="logic",
        ),
        pytest.param(ended(stage("ON_API_CALLED", "COMPLETED")), True, id="the trigger of the workflow"),
        pytest.param(ended(stage("API_CALL", "COMPLETED")), False, id="a request"),
        pytest.param(ended(stage("BRAND_NEW", "COMPLETED")), False, id="an unknown module"),
        pytest.param(ended(stage("FORGET_ME", "COMPLETED")), False, id="a module that only ends like one"),
        pytest.param(ended(stage("GET_X", "COMPLETED"), stage("SIGN", "FAILED")), False, id="one of several"),
        pytest.param(Run.from_json({"id": RUN, "status": "FAILED"}), False, id="no list of stages"),
        pytest.param(
            Run.from_json({"id": RUN, "status": "FAILED", "runStages": None}), False, id="null for stages"
        ),
        pytest.param(ended(totalUsage=3), False, id="no stages, but credits"),
    ],
)
def test_what_is_harmless(run: Run, harmless: bool) -> None:
    assert RetryPolicy("if_harmless").error(run).retryable is harmless
    assert RetryPolicy("always").error(run).retryable
    assert not RetryPolicy("never").error(run).retryable


@pytest.mark.parametrize(
    ("modules", "harmless"),
    [(["SIGN"], True), (["sign"], True), (["S*"], True), (["SIG"], False), (["PAY"], False), ([], False)],
)
def test_modules_that_the_author_knows_to_be_harmless(modules: list[str], harmless: bool) -> None:
    assert RetryPolicy("if_harmless", modules).error(ended(stage("SIGN", "FAILED"))).retryable is harmless


def test_the_error_lists_what_was_done() -> None:
    run = ended(
        stage("PAY", "COMPLETED", output=HASH),
        stage("NOTIFY", "FAILED", error={"message": "no route"}),
        *(stage("PAY", "COMPLETED", output={"n": n}) for n in range(7)),
        stage("GET_X", "COMPLETED", output={"x": 1}),
    )
    assert str(RetryPolicy("if_harmless").error(run)).splitlines()[2:] == [
        "No retry: these stages may have had an effect, which a new run would repeat:",
        "  NOTIFY FAILED",
        '  PAY ×8 COMPLETED: {"transactionHash": "0xabc"}, {"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}, and 3 more',
        "Fix the cause, then clear the task to start a new run. "
        "retry_run='always' retries all the same; harmless_modules names modules without an effect.",
    ]


def test_outputs_that_are_not_wanted_are_in_no_error() -> None:
    error = RetryPolicy("if_harmless", show_outputs=False).error(ended(stage("PAY", "COMPLETED", output=HASH)))
    assert "0xabc" not in str(error)


def test_a_long_list_is_cut() -> None:
    text = str(RetryPolicy("if_harmless").error(ended(*(stage(f"M{n}", "COMPLETED") for n in range(30)))))
    assert "and 20 more modules" in text
    assert len(text) < 2000
