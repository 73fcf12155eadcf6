"""
The outcomes of a wait, and the expected result in every mode.

Each cell of this table – an outcome in a mode – is run once: by ``e2e/test_modes.py`` where it takes a real
scheduler and triggerer, by ``dags/test_modes.py`` where ``dag.test()`` is enough. ``docs/wait.md`` has it as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

IN_WORKER = ("poke", "reschedule")
FROM_TRIGGER = ("start_from_trigger", "start_and_end_from_trigger")
SENSORS = (*IN_WORKER, "deferred", *FROM_TRIGGER)
OPERATORS = ("operator_in_worker", "operator_deferred")
DEFERRING = {"deferred", *FROM_TRIGGER, "operator_deferred"}

# How many worker processes the last try of a task uses; in mode "reschedule" it is one for each look at the run.
WORKERS = {
    "poke": 1,
    "deferred": 2,
    "start_from_trigger": 1,
    "start_and_end_from_trigger": 1,
    "operator_in_worker": 1,
    "operator_deferred": 2,
}
ENDED_BY_TRIGGER = {**WORKERS, "start_and_end_from_trigger": 0}
NEVER_DEFERRED = {**WORKERS, "deferred": 1, "operator_deferred": 1}


class End(NamedTuple):
    """How a task that waits ended. It had one retry."""

    state: str
    retries_left: int
    run: str | None
    """The status of the run in the XCom."""
    says: tuple[str, ...]
    """What its log says, as :func:`said` returns it."""


@dataclass(frozen=True)
class Outcome:
    """One outcome in all modes: how it comes about, and what is expected of each task that waits."""

    name: str
    row: str
    """Its row in the table of the page."""
    happens: str
    """finish, wait, spend, restore_network, refuse_key or refuse_key_for_a_while: what is done while all wait."""
    sensor: End
    operator: End | None = None
    """None where the operator lacks the option."""
    runs: int = 1
    """How many runs all tasks of the e2e DAG start: one, and for each operator one per try that starts one."""
    workers: Mapping[str, int] = field(default_factory=lambda: WORKERS)
    config: Mapping[str, Any] = field(default_factory=dict)
    """How the first stage of the runs ends."""
    in_process: tuple[str, ...] = ()
    """The modes for which ``dag.test()`` is enough."""
    unknown_to: tuple[str, ...] = ()
    """The modes that do not have this outcome."""

    @property
    def in_airflow(self) -> list[str]:
        """The modes that need a real scheduler and triggerer."""
        modes = SENSORS + (OPERATORS if self.operator else ())
        return [mode for mode in modes if mode not in self.in_process + self.unknown_to]

    def end(self, mode: str) -> End:
        """Return the expected result of the task in this mode."""
        return self.operator if mode in OPERATORS and self.operator else self.sensor


FAILING = {"failWith": "out of gas"}
CANCELING = {"cancelRun": "no more"}

FIRST = "EXECUTING | 4 stages pending | 0 credits | running: HTTP_REQUEST"
"""What each mode sees of a run whose first stage is held."""

ENDED = {
    "COMPLETED": "run RUN ended COMPLETED, 14 credits used",
    "FAILED": "run RUN ended FAILED, 1 credit used\n  HTTP_REQUEST: out of gas",
    "CANCELED": "run RUN ended CANCELED: no more, 0 credits used",
}
"""How a run's end is told, as a line or as an error's text."""

NO_RETRY = (
    "No retry: these stages may have had an effect, which a new run would repeat:\n  HTTP_REQUEST FAILED\n"
    "Fix the cause, then clear the task to start a new run. retry_run='always' retries all the same; "
    "harmless_modules names modules without an effect."
)
"""What an operator adds to the error of a run that it does not repeat."""

UNREACHABLE = "the connection broke: Connection reset by peer; retrying (run RUN)"
REFUSED = (
    "401 Invalid API key: check the password of connection 'CONNECTION' (GET /v1/sdk/workflows/executions/RUN)"
)
GOES_ON = "run RUN, last seen EXECUTING, keeps running: White Rabbit has no call to cancel it; see URL/runs/RUN"


def _completed(*before: str) -> End:
    return End("success", 1, "COMPLETED", (*before, FIRST, ENDED["COMPLETED"]))


def _ended(
    status: str, error: str, *, retries_left: int, run: str | None = None, advice: Sequence[str] = ()
) -> End:
    text = "\n".join((ENDED[status], *advice, "URL/runs/RUN"))
    return End("failed", retries_left, run, (FIRST, f"{error}: {text}"))


def _timed_out(error: str, text: str, *, retries_left: int) -> End:
    return End("failed", retries_left, None, (f"{error}: {text} {GOES_ON}",))


def _skipped(*says: str) -> End:
    return End("skipped", 1, None, says)


_OVER_CREDITS = End(
    *("failed", 1, None),
    (
        FIRST,
        "WRCreditLimitError: run RUN has used 1 credit, more than max_credits=0.5, and keeps running: "
        "White Rabbit has no call to cancel it; see URL/runs/RUN",
    ),
)

_REFUSED = End("failed", 0, None, (FIRST, f"WRAuthError: {REFUSED}"))

OUTCOMES = [
    Outcome(
        name="completed",
        row="COMPLETED",
        happens="finish",
        sensor=_completed(),
        operator=_completed(),
        runs=3,
        workers=ENDED_BY_TRIGGER,
    ),
    Outcome(
        name="failed",
        row="FAILED",
        happens="finish",
        sensor=_ended("FAILED", "WRRunFailedError", retries_left=1),
        operator=_ended("FAILED", "WRRunFailedError", retries_left=1, run="FAILED", advice=[NO_RETRY]),
        runs=3,  # a request had failed, which may have had an effect
        config=FAILING,
    ),
    Outcome(
        name="failed_soft_fail",
        row="FAILED, `soft_fail=True`",
        happens="finish",
        sensor=_skipped(
            FIRST, f"{ENDED['FAILED']}\nURL/runs/RUN", "skipped: Skipping due to soft_fail is set to True."
        ),
        config=FAILING,
        in_process=(*IN_WORKER, "deferred"),
    ),
    Outcome(
        name="canceled",
        row="CANCELED",
        happens="finish",
        sensor=_ended("CANCELED", "WRRunCanceledError", retries_left=1),
        operator=_ended("CANCELED", "WRRunCanceledError", retries_left=0, run="CANCELED"),
        runs=5,  # nothing had been done
        config=CANCELING,
    ),
    Outcome(
        name="canceled_allowed",
        row="one of `allowed_statuses`",
        happens="finish",
        sensor=End("success", 1, "CANCELED", (FIRST, ENDED["CANCELED"])),
        workers=ENDED_BY_TRIGGER,
        config=CANCELING,
    ),
    Outcome(
        name="over_credits",
        row="more than `max_credits` used",
        happens="spend",
        sensor=_OVER_CREDITS,
        operator=_OVER_CREDITS,
        runs=3,
    ),
    Outcome(
        name="timeout",
        row="`timeout` passes",
        happens="wait",
        sensor=_timed_out("AirflowSensorTimeout", "Sensor has timed out after LIMIT s;", retries_left=1),
        operator=_timed_out(
            "WRTimeoutError",
            "the wait timed out after LIMIT s;",
            retries_left=0,
        ),
        runs=3,
    ),
    Outcome(
        name="timeout_soft_fail",
        row="`timeout` passes, `soft_fail=True`",
        happens="wait",
        sensor=_skipped(f"skipped: Sensor has timed out after LIMIT s; {GOES_ON}"),
    ),
    Outcome(
        name="execution_timeout",
        row="`execution_timeout` passes",
        happens="wait",
        sensor=_timed_out("AirflowTaskTimeout", "Sensor has timed out after LIMIT s;", retries_left=0),
        operator=_timed_out("AirflowTaskTimeout", "the wait timed out after LIMIT s;", retries_left=0),
        runs=2,
        in_process=("poke", "operator_in_worker"),
        unknown_to=("reschedule",),  # in mode "reschedule", it applies to each poke separately
    ),
    Outcome(
        name="unreachable",
        row="an outage, 429, 5xx",
        happens="restore_network",
        sensor=_completed(UNREACHABLE),
        operator=_completed(UNREACHABLE),
        runs=3,
        workers=ENDED_BY_TRIGGER,
    ),
    Outcome(
        name="refused",
        row="401, 403",
        happens="refuse_key",
        sensor=_REFUSED,
        operator=_REFUSED,
        runs=2,
        workers=NEVER_DEFERRED,
        in_process=(*IN_WORKER, "operator_in_worker"),
    ),
    Outcome(
        name="refused_silent_fail",
        row="401, 403, `silent_fail=True`",
        happens="refuse_key_for_a_while",
        sensor=End(
            "success", 1, "COMPLETED", (FIRST, f"Sensor poke failed: WRAuthError: {REFUSED}", ENDED["COMPLETED"])
        ),
        in_process=(*IN_WORKER, "deferred"),
    ),
    Outcome(
        name="refused_never_fail",
        row="401, 403, `never_fail=True`",
        happens="refuse_key",
        sensor=_skipped(FIRST, REFUSED, "skipped: Skipping due to never_fail is set to True."),
        in_process=(*IN_WORKER, "deferred"),
    ),
]

# --- executions of a component ----------------------------------------------------------------------------

PAYMENT = "SEND_EVM_TRANSACTION"
"""The component whose executions are waited for."""

#: The words for an execution, where those for a run differ.
_OF_EXECUTION = {
    ENDED["COMPLETED"]: "execution RUN ended COMPLETED, 2 credits used",
    ENDED["FAILED"]: f"execution RUN ended FAILED, 2 credits used\n  {PAYMENT}: out of gas",
    NO_RETRY: (
        f"No retry: {PAYMENT} may have had an effect, which a new execution would repeat.\n"
        "Fix the cause, then clear the task to start a new execution. retry_run='always' retries all the same; "
        "harmless_modules names modules without an effect."
    ),
    "WRRunFailedError": "WRComponentFailedError",
    "/runs/RUN": "/executions/RUN",
    "/v1/sdk/workflows/executions": "/v1/sdk/components/executions",
    "run RUN, last": "execution RUN, last",
}


def _of_execution(end: End) -> End:
    # How far it is depends on when a mode looks: an event has no credits.
    says = [line for line in end.says if line != FIRST]
    for run, execution in _OF_EXECUTION.items():
        says = [line.replace(run, execution) for line in says]
    return end._replace(says=tuple(says))


#: The same outcomes for an execution, in the modes for which ``dag.test()`` is enough. It cannot be canceled, nor
#: be half paid for. What takes a real scheduler is the same code for both.
EXECUTIONS = [
    replace(
        outcome,
        sensor=_of_execution(outcome.sensor),
        operator=outcome.operator and _of_execution(outcome.operator),
        in_process=("poke", "deferred", *(OPERATORS if outcome.operator else ())),
    )
    for outcome in OUTCOMES
    if outcome.name in ("completed", "failed", "failed_soft_fail", "timeout", "timeout_soft_fail", "refused")
]

# --- logs -------------------------------------------------------------------------------------------------

#: How many of these there are depends on when a mode looks: "poke" and "reschedule" do so at intervals. And only a
#: mode with a stream has an event that says nothing but the status.
_SEEN_BY_CHANCE = re.compile(
    r"(CREATED|EXECUTING) \| |[A-Z]+$|The API's answers are not as documented|"
    r".*; retrying \((run|execution) RUN\)$"
)

#: How an operator came by its run, which is no part of the wait.
_START = re.compile(
    r"Started (run|execution) RUN|Waiting for (run|execution) RUN|(Run|Execution) RUN of an earlier try|"
    r"(Run|Execution) RUN, started at"
)


def said(lines: Iterable[str], expected: Iterable[str], *, limit: float) -> tuple[str, ...]:
    """
    Return what a task's log said of its wait, as far as every mode must say it.

    The next process to wait – the triggerer, the next worker – says first how far the run is: what is said again
    at once counts once. What depends on when a mode looks is left out unless it is expected.

    :param limit: seconds that the task has.
    """
    expected = tuple(expected)
    kept = (
        line
        for line in (_general(line, limit) for line in lines)
        if (line in expected or not _SEEN_BY_CHANCE.match(line)) and not _START.match(line)
    )
    return tuple(line for line, _ in groupby(kept))


def _general(line: str, limit: float) -> str:
    """Return a line without what differs from one run, sandbox, limit or mode to another."""
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "RUN", line)
    line = re.sub(r"http://127\.0\.0\.1:\d+", "URL", line)
    line = re.sub(r"connection 'wr_\w+'", "connection 'CONNECTION'", line)
    line = re.sub(r"(executions/RUN)/stream", r"\1", line)  # a mode with a stream asks for that, too
    line = re.sub(r"retrying in [\d.]+ s \(", "retrying (", line)  # a poke has its interval
    return re.sub(rf"timed out after {limit:g} s", "timed out after LIMIT s", line)
