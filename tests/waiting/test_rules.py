"""The rules of waiting, with a scripted sequence of results and a fake clock."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import RetryCallState

from airflow_provider_wr.api import watched
from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.watched import Watched
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRCreditLimitError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRValidationError,
)
from airflow_provider_wr.models import Run, RunEvent, RunStage
from airflow_provider_wr.waiting import backoff, rules
from airflow_provider_wr.waiting.progress import Progress, progress_line
from airflow_provider_wr.waiting.progress import log as progress_log
from airflow_provider_wr.waiting.rules import (
    Connect,
    Follower,
    FollowStream,
    OpenStream,
    Pause,
    Read,
    Step,
    StreamEnd,
    advance,
)

RUN = "9e4c7b1a-1111-4222-8333-944455556666"


def a_run(status: str, **fields: Any) -> Run:
    return Run.from_json({"id": RUN, "status": status, **fields})


def an_event(status: str, *stages: tuple[str, str, int], pending: int | None = None) -> RunEvent:
    active = [{"id": m, "module": m, "status": s, "executionAttempt": a} for m, s, a in stages]
    output = {"pendingStageCount": pending, "nonTerminalStages": active}
    return RunEvent.from_json({"id": RUN, "status": status, "output": output})


EXECUTING, COMPLETED, FAILED, CANCELED = map(a_run, ("EXECUTING", "COMPLETED", "FAILED", "CANCELED"))
BROKEN = WRConnectionError("reset")
NOT_FOUND = WRNotFoundError("no such run")
REFUSED = WRAuthError("Invalid API key", status_code=401)
ENDS, QUIET, TOLD = StreamEnd(), StreamEnd(is_quiet=True), StreamEnd(saw_terminal=True)
BREAKS = StreamEnd(error=BROKEN)


# --- the rules, as scripts --------------------------------------------------------------------------------


class Turn(NamedTuple):
    """An expected step, its result, and the seconds it takes."""

    step: type[Step]
    answer: object = None
    took: float = 0.0


def connects(answer: object = None, *, took: float = 0.0) -> Turn:
    return Turn(Connect, answer, took)


def opens(answer: object = None, *, took: float = 0.0) -> Turn:
    return Turn(OpenStream, answer, took)


def reads(answer: object, *, took: float = 0.0) -> Turn:
    return Turn(Read, answer, took)


def follows(answer: StreamEnd, *, took: float = 0.0) -> Turn:
    return Turn(FollowStream, answer, took)


def pauses(seconds: float) -> Turn:
    return Turn(Pause, None, seconds)


def play(
    script: Iterable[Turn],
    *,
    timeout: float | None = None,
    connected: bool = True,
    max_credits: float | None = None,
) -> Run:
    """
    Run a wait with the scripted results; it must end with the last one.

    :param connected: whether the first lookup of the Airflow connection succeeds without being in the script.
    """
    now = 1000.0
    steps = rules.wait(
        watched.run(RUN),
        within=timeout,
        limit=timeout,
        max_credits=max_credits,
        clock=lambda: now,
        jitter=lambda: 1.0,
    )
    answer: object = None
    time_is_up = False
    for turn in itertools.chain([connects()] if connected else [], script):
        step = advance(steps, answer)
        assert isinstance(step, turn.step), f"{step} comes before {turn}"
        left = None if timeout is None else 1000.0 + timeout - now
        if isinstance(step, Pause):
            assert step.within == pytest.approx(turn.took)
            assert left is None or step.within <= left
        elif left is not None and left <= 0:
            assert step.within == pytest.approx(rules.FINAL_READ_TIMEOUT) or time_is_up
            time_is_up = True
        else:
            assert step.within == (left if left is None else pytest.approx(left))
        now += turn.took
        answer = turn.answer
    run = advance(steps, answer)
    assert isinstance(run, Run), f"the wait continues with {run}"
    return run


@pytest.fixture
def _no_limit_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BURST", 1000)


STREAM_REFUSALS = [
    pytest.param(WRValidationError("already finished", status_code=409), id="409"),
    pytest.param(WRValidationError("bad", status_code=400), id="400"),
    pytest.param(WRNotFoundError("no stream", status_code=404), id="404"),
    pytest.param(WRError("method not allowed", status_code=405), id="405"),
    pytest.param(WRError("gone", status_code=410), id="410"),
    pytest.param(WRProtocolError("the stream is not text/event-stream", status_code=200), id="200 with JSON"),
]


@pytest.mark.parametrize(
    ("script", "result"),
    [
        pytest.param([opens(), reads(COMPLETED)], COMPLETED, id="ended before the subscription"),
        pytest.param([opens(), reads(FAILED)], FAILED, id="failed before the subscription"),
        pytest.param(
            [opens(), reads(EXECUTING), follows(ENDS), reads(CANCELED)], CANCELED, id="ends while it is followed"
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(TOLD), reads(COMPLETED)], COMPLETED, id="the end was announced"
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(TOLD), reads(EXECUTING), pauses(1)),
                *(reads(EXECUTING), pauses(2), reads(BROKEN), pauses(4), reads(COMPLETED)),
            ],
            COMPLETED,
            id="the end was announced, which cannot be read yet: no stream is opened again",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(QUIET, took=285), reads(EXECUTING)),
                *(follows(QUIET, took=285), reads(COMPLETED)),
            ],
            COMPLETED,
            id="heartbeats are no news: the run is read, and the same stream followed on",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(ENDS), reads(EXECUTING), pauses(1)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="stream ends",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(BREAKS), reads(EXECUTING), pauses(1)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="stream breaks",
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(BREAKS), reads(COMPLETED)],
            COMPLETED,
            id="ends with the stream broken",
        ),
        pytest.param(
            [opens(BROKEN), pauses(1), reads(COMPLETED)], COMPLETED, id="no stream, but the run has ended"
        ),
        pytest.param(
            [
                *(opens(BROKEN), pauses(1), reads(EXECUTING), opens(WRServerError("down")), pauses(2)),
                *(reads(EXECUTING), opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="a stream that is down is opened again after each good read",
        ),
        pytest.param(
            [
                *(opens(BROKEN), pauses(1), reads(BROKEN), pauses(2), reads(BROKEN), pauses(4)),
                *(reads(EXECUTING), opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="neither answers for a while: one request for each pause",
        ),
        pytest.param(
            [
                *(opens(WRRateLimitError("limit", retry_after=30.0)), pauses(31)),
                *(reads(WRServerError("down", retry_after=7.0)), pauses(9), reads(COMPLETED)),
            ],
            COMPLETED,
            id="Retry-After comes before the pause",
        ),
        pytest.param(
            [
                *(opens(WRProtocolError("HTML")), reads(WRProtocolError("cut off")), pauses(1)),
                *(reads(EXECUTING), opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="answers that are not as promised",
        ),
        pytest.param(
            [opens(NOT_FOUND), reads(NOT_FOUND), pauses(1), reads(EXECUTING), opens(), reads(COMPLETED)],
            COMPLETED,
            id="not visible yet",
        ),
        pytest.param(
            [opens(), reads(NOT_FOUND, took=29.5), pauses(0.5), reads(COMPLETED)],
            COMPLETED,
            id="not visible yet: no pause passes over the end of the 30 s",
        ),
        pytest.param([opens(REFUSED), connects(), reads(COMPLETED)], COMPLETED, id="key renewed, stream"),
        pytest.param([opens(), reads(REFUSED), connects(), reads(COMPLETED)], COMPLETED, id="key renewed, read"),
        pytest.param(
            [
                *(opens(), reads(REFUSED), connects(), reads(EXECUTING), opens(), reads(EXECUTING)),
                *(follows(ENDS, took=3600), reads(REFUSED), connects(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="key renewed twice, and good for an hour in between",
        ),
        pytest.param(
            [
                *(opens(), reads(REFUSED), connects(BROKEN), pauses(1), connects(BROKEN), pauses(2)),
                *(connects(took=100), reads(COMPLETED)),
            ],
            COMPLETED,
            id="the Airflow connection cannot be looked up again for a while",
        ),
        pytest.param(
            [opens(), reads(a_run("PAUSED")), follows(ENDS), reads(COMPLETED)], COMPLETED, id="unknown status"
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(ENDS, took=19), reads(EXECUTING), pauses(1)),
                *(opens(), reads(EXECUTING), follows(ENDS, took=19), reads(EXECUTING), pauses(2)),
                *(opens(), reads(EXECUTING), follows(ENDS, took=20), reads(EXECUTING), pauses(1)),
                *(opens(), reads(EXECUTING), follows(ENDS, took=19), reads(EXECUTING), pauses(2)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="pauses grow, and fall back after a stream that lived for a while",
        ),
        pytest.param(
            [
                *(opens(), reads(BROKEN)),
                *(turn for s in (1, 2, 4, 8, 16, 32, 60, 60) for turn in (pauses(s), reads(BROKEN))),
                *(pauses(60), reads(COMPLETED)),
            ],
            COMPLETED,
            id="pauses grow to a minute",
        ),
    ],
)
@pytest.mark.parametrize("timeout", [pytest.param(None, id="for ever"), pytest.param(86400.0, id="a day")])
@pytest.mark.usefixtures("_no_limit_of_requests")
def test_a_wait_that_ends_with_the_run(script: list[Turn], result: Run, timeout: float | None) -> None:
    assert play(script, timeout=timeout) == result


@pytest.mark.parametrize("refusal", STREAM_REFUSALS)
@pytest.mark.usefixtures("_no_limit_of_requests")
def test_a_refused_stream_does_not_end_the_wait(refusal: WRError) -> None:
    """The run is read at once, and then at growing intervals."""
    assert play([opens(refusal), reads(COMPLETED)]) == COMPLETED
    turns = [turn for s in (1, 2, 4, 8, 16, 32, 60) for turn in (opens(refusal), reads(EXECUTING), pauses(s))]
    assert play([*turns, opens(refusal), reads(COMPLETED)]) == COMPLETED


def test_the_first_lookup_of_the_connection_may_fail_for_a_while() -> None:
    script = [connects(BROKEN), pauses(1), connects(WRTimeoutError("timed out")), pauses(2), connects()]
    assert play([*script, reads(COMPLETED)], connected=False) == COMPLETED


def test_a_wait_makes_no_more_than_a_request_a_second_on_average() -> None:
    """A stream that always sends one event and closes at once, with the lowest jitter."""
    now, requests = 0.0, 0
    steps = rules.wait(watched.run(RUN), within=120.0, clock=lambda: now, jitter=lambda: 0.0)
    answer: object = None
    with suppress(WRTimeoutError):
        while isinstance(step := advance(steps, answer), Step):
            answer = {Read: EXECUTING, FollowStream: ENDS}.get(type(step))
            requests += isinstance(step, (Read, OpenStream))
            assert requests <= now + rules.BURST + 3  # three in each turn
            if isinstance(step, Pause):
                now += step.within
    assert now == 120
    assert requests > 60  # and not much less with the shortest pauses


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param([opens(), reads(WRValidationError("bad"))], WRValidationError("bad"), id="400"),
        pytest.param([opens(), reads(WRError("teapot", status_code=418))], WRError("teapot"), id="418"),
        pytest.param([opens(), reads(NOT_FOUND, took=30)], NOT_FOUND, id="not found after 30 s"),
        pytest.param(
            [opens(), reads(NOT_FOUND, took=28), pauses(1), reads(NOT_FOUND), pauses(1), reads(NOT_FOUND)],
            NOT_FOUND,
            id="looked for until the end of the 30 s, and not longer",
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(ENDS, took=29), reads(NOT_FOUND, took=2)],
            NOT_FOUND,
            id="not found any more",
        ),
        pytest.param([opens(REFUSED), connects(), reads(REFUSED)], REFUSED, id="key refused twice"),
        pytest.param(
            [opens(), reads(REFUSED), connects(), reads(EXECUTING), opens(REFUSED)],
            REFUSED,
            id="key refused twice, stream",
        ),
        pytest.param(
            [opens(REFUSED), connects(WRValidationError("no key"))],
            WRValidationError("no key"),
            id="the connection is wrong",
        ),
        pytest.param(
            # A key that may read the run but not its stream: reloading the connection does not help.
            [opens(REFUSED), connects(), reads(EXECUTING), opens(REFUSED)],
            REFUSED,
            id="stream refused twice, the run not",
        ),
    ],
)
@pytest.mark.parametrize("timeout", [pytest.param(None, id="for ever"), pytest.param(86400.0, id="a day")])
def test_a_wait_that_ends_with_an_error(script: list[Turn], error: WRError, timeout: float | None) -> None:
    with pytest.raises(WRError) as raised:
        play(script, timeout=timeout)
    assert (type(raised.value), raised.value.message) == (type(error), error.message)


TIMED_OUT = WRTimeoutError("timed out waiting for the answer")
GOES_ON = f"run {RUN}, last seen EXECUTING, keeps running: White Rabbit has no call to cancel it"


@pytest.mark.parametrize(
    ("script", "known"),
    [
        pytest.param([opens(took=10), reads(EXECUTING)], GOES_ON, id="opening"),
        pytest.param([opens(TIMED_OUT, took=10), reads(EXECUTING)], GOES_ON, id="opening, cut off"),
        pytest.param([opens(), reads(EXECUTING, took=10)], GOES_ON, id="reading: that was the last look"),
        pytest.param([opens(), reads(TIMED_OUT, took=10), reads(EXECUTING)], GOES_ON, id="reading, cut off"),
        pytest.param(
            [opens(), reads(EXECUTING), follows(ENDS, took=10), reads(EXECUTING)], GOES_ON, id="following"
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(StreamEnd(error=TIMED_OUT), took=10), reads(EXECUTING)],
            GOES_ON,
            id="following, cut off",
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(ENDS, took=10), reads(BROKEN)],
            f"run {RUN}, last seen EXECUTING, could not be reached since: reset",
            id="seen, and then not any more",
        ),
        pytest.param(
            [opens(BROKEN, took=10), reads(WRServerError("down", status_code=503))],
            f"run {RUN} was never reached: 503 down",
            id="never reached",
        ),
        pytest.param(
            [opens(NOT_FOUND, took=10), reads(WRNotFoundError("no such run", status_code=404))],
            f"run {RUN} was never reached: 404 no such run",
            id="not found within the 30 s",
        ),
        pytest.param(
            [opens(), reads(NOT_FOUND, took=9), pauses(1), reads(NOT_FOUND)],
            f"run {RUN} was never reached: no such run",
            id="a pause ends with the time, and the end of a wait with a look",
        ),
        pytest.param(
            [opens(REFUSED, took=10), connects(), reads(EXECUTING)], GOES_ON, id="key refused, and renewed"
        ),
        pytest.param(
            [opens(), reads(REFUSED, took=10), connects(), reads(REFUSED)],
            f"run {RUN} was never reached: 401 Invalid API key",
            id="key refused",
        ),
        pytest.param(
            [opens(REFUSED), connects(BROKEN, took=10), connects(BROKEN)],
            f"run {RUN} was never reached: reset",
            id="the connection cannot be looked up",
        ),
        pytest.param(
            [opens(), reads(WRValidationError("bad"), took=10), reads(WRValidationError("bad"))],
            f"run {RUN} was never reached: bad",
            id="a bad request, too late to matter",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(TOLD), reads(EXECUTING), pauses(1), reads(EXECUTING)),
                *(pauses(2), reads(EXECUTING), pauses(4), reads(EXECUTING), pauses(3), reads(EXECUTING)),
            ],
            GOES_ON,
            id="a pause that is longer than what is left",
        ),
        pytest.param(
            [opens(WRRateLimitError("limit", retry_after=3600.0)), pauses(10), reads(EXECUTING)],
            GOES_ON,
            id="a Retry-After that is longer than what is left",
        ),
    ],
)
@pytest.mark.usefixtures("_no_limit_of_requests")
def test_a_wait_that_runs_out_of_time(script: list[Turn], known: str) -> None:
    with pytest.raises(WRTimeoutError) as raised:
        play(script, timeout=10.0)
    assert str(raised.value) == f"the wait timed out after 10 s; {known}"
    assert raised.value.last_known == known
    assert raised.value.last_status == ("EXECUTING" if "EXECUTING" in known else None)
    # The same script, but the run has ended at the final read.
    *before, last = script
    if last.step is Read and last.took == 0:
        assert play([*before, reads(COMPLETED)], timeout=10.0) == COMPLETED


@pytest.mark.parametrize("timeout", [0.0, -5.0, -1e9])
def test_a_wait_that_wakes_up_too_late_looks_once(timeout: float) -> None:
    assert play([reads(COMPLETED)], timeout=timeout) == COMPLETED
    assert play([reads(REFUSED), connects(), reads(COMPLETED)], timeout=timeout) == COMPLETED
    with pytest.raises(WRTimeoutError, match=GOES_ON):
        play([reads(EXECUTING)], timeout=timeout)
    with pytest.raises(WRTimeoutError, match=f"; run {RUN} could not be reached: reset"):
        play([reads(BROKEN)], timeout=timeout)
    with pytest.raises(WRTimeoutError, match=f"; run {RUN} could not be reached: reset"):
        play([connects(BROKEN)], timeout=timeout, connected=False)


def test_the_final_read_has_its_own_short_timeout() -> None:
    with pytest.raises(WRTimeoutError):
        play([reads(REFUSED, took=5)], timeout=0.0)
    with pytest.raises(WRTimeoutError):
        play([connects(took=5)], timeout=0.0, connected=False)


def test_a_run_that_was_never_seen_has_no_page() -> None:
    link = "https://dashboard.example/run"
    with pytest.raises(WRTimeoutError, match=rf"cancel it; see {link}$"):
        play([connects(link), reads(EXECUTING)], timeout=0.0, connected=False)
    with pytest.raises(WRTimeoutError, match=r"reached: reset$"):
        play([connects(link), reads(BROKEN)], timeout=0.0, connected=False)


def test_a_status_seen_in_time_cannot_forge_a_log() -> None:
    with pytest.raises(WRTimeoutError) as raised:
        play([opens(), reads(a_run("NEW\nINFO all is well"), took=10)], timeout=10.0)
    assert raised.value.message.isprintable()


def test_the_log_of_retries(caplog: pytest.LogCaptureFixture) -> None:
    """The error comes first, since Airflow's log view does not wrap lines."""
    missing = WRNotFoundError("Run not found", status_code=404, method="GET", path="/v1/x")
    with caplog.at_level(logging.INFO, "airflow_provider_wr.waiting"):
        play(
            [
                *(opens(), reads(missing), pauses(1), reads(EXECUTING)),
                *(opens(), reads(EXECUTING), follows(ENDS), reads(EXECUTING), pauses(2)),
                *(opens(), reads(COMPLETED)),
            ]
        )
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"404 Run not found; retrying in 1.0 s (run {RUN})"),
        ("INFO", f"the stream ended; retrying in 2.0 s (run {RUN})"),
    ]


@dataclass(frozen=True)
class Execution:
    """Something else to wait for, with other terminal statuses than a run."""

    status: str
    pending_stage_count: int | None = None
    total_usage: float | None = None
    active_stages: tuple[RunStage, ...] = ()

    @property
    def is_terminal(self) -> bool:
        return self.status == "TIMED_OUT"


def test_another_thing_is_waited_for_by_the_same_rules() -> None:
    execution = Watched(
        "component execution",
        "e1",
        Call("GET", "/v1/e/e1", None, lambda body: Execution(body["status"])),
        Call("GET", "/v1/e/e1/stream", None, None),
        lambda data: Execution(data),
    )
    progress = Progress()
    follower = Follower(execution, progress, None)
    assert follower.feed(b"data: COMPLETED\n\n") is None
    assert follower.feed(b"data: TIMED_OUT\n\n") == TOLD
    steps = rules.wait(execution, within=0.0, limit=5.0, clock=lambda: 0.0)
    assert isinstance(advance(steps, None), Connect)
    assert isinstance(advance(steps, None), Read)
    with pytest.raises(WRTimeoutError, match="; component execution e1, last seen COMPLETED, keeps") as raised:
        advance(steps, Execution("COMPLETED"))
    assert "run " not in raised.value.message
    steps = rules.wait(execution, within=0.0, clock=lambda: 0.0)
    advance(steps, None)
    advance(steps, None)
    assert advance(steps, Execution("TIMED_OUT")) == Execution("TIMED_OUT")


# --- whatever happens -------------------------------------------------------------------------------------

ERRORS = st.sampled_from(
    [
        BROKEN,
        NOT_FOUND,
        REFUSED,
        WRAuthError("Forbidden", status_code=403),
        WRServerError("down"),
        WRRateLimitError("limit", retry_after=7.0),
        WRProtocolError("HTML"),
        WRTimeoutError("timed out"),
        WRValidationError("bad"),
        WRError("teapot"),
    ]
)


def in_turn(answers: st.SearchStrategy[Any]) -> st.SearchStrategy[Iterator[Any]]:
    """Answers that a server repeats forever: one, or several in turn."""
    return st.lists(answers, min_size=1, max_size=3).map(itertools.cycle)


SERVERS: st.SearchStrategy[dict[type[Step], Iterator[Any]]] = st.fixed_dictionaries(
    {
        OpenStream: in_turn(st.none() | ERRORS),
        Read: in_turn(st.sampled_from([EXECUTING, a_run("PAUSED"), COMPLETED]) | ERRORS),
        FollowStream: in_turn(st.builds(StreamEnd, st.booleans(), st.booleans(), st.none() | ERRORS)),
        Connect: in_turn(st.none() | ERRORS),
        Pause: st.just(itertools.repeat(None)),
    }
)


#: A read, and open, read, follow, read; and the same once more after a reload of the connection.
MOST_STEPS_IN_A_TURN = 12


@settings(suppress_health_check=[HealthCheck.too_slow])  # of the machine, not of the test
@given(SERVERS, st.none() | st.floats(-1, 100))
def test_each_turn_of_the_loop_pauses_or_ends(
    server: dict[type[Step], Iterator[Any]], timeout: float | None
) -> None:
    """Whatever a server answers, and however fast, there are only a few requests between two pauses."""
    now, asked = 0.0, 0
    answer: object = None
    steps = rules.wait(watched.run(RUN), within=timeout, clock=lambda: now, jitter=lambda: 0.5)
    try:
        for _ in range(60):
            step = advance(steps, answer)
            if isinstance(step, Run):
                assert step.is_terminal
                return
            answer = next(server[type(step)])
            if timeout is not None:
                assert step.within is not None
                assert now + step.within <= max(0, timeout) + rules.FINAL_READ_TIMEOUT + 1e-9
            if isinstance(step, Pause):
                assert step.within > 0
                assert timeout is None or now + step.within <= timeout + 1e-9
                now += step.within
                asked = 0
            elif isinstance(answer, StreamEnd) and answer.is_quiet:
                now += rules.MAX_QUIET if step.within is None else min(rules.MAX_QUIET, step.within)
                asked = 0
            else:
                asked += 1
                assert asked <= MOST_STEPS_IN_A_TURN
    except WRError as error:
        assert isinstance(error, WRTimeoutError) or not rules.is_transient(error, elapsed=now)  # noqa: PT017


@pytest.mark.parametrize(
    ("error", "waited", "transient"),
    [
        pytest.param(BROKEN, 1e9, True, id="no connection"),
        pytest.param(WRTimeoutError("x"), 1e9, True, id="timed out"),
        pytest.param(WRRateLimitError("x"), 1e9, True, id="429"),
        pytest.param(WRServerError("x"), 1e9, True, id="5xx"),
        pytest.param(WRProtocolError("x"), 1e9, True, id="protocol"),
        pytest.param(NOT_FOUND, 0.0, True, id="404 at first"),
        pytest.param(NOT_FOUND, 29.9, True, id="404 in time"),
        pytest.param(NOT_FOUND, 30.0, False, id="404 too late"),
        pytest.param(REFUSED, 0.0, False, id="401"),
        pytest.param(WRValidationError("x"), 0.0, False, id="400"),
        pytest.param(WRError("x"), 0.0, False, id="418"),
    ],
)
def test_what_is_transient(error: WRError, waited: float, transient: bool) -> None:
    assert rules.is_transient(error, elapsed=waited) is transient


# --- max_credits ------------------------------------------------------------------------------------------


def used(credits: float, status: str = "EXECUTING") -> Run:
    return a_run(status, totalUsage=credits)


SPENT = RunEvent.from_json({"id": RUN, "status": "EXECUTING", "output": {"totalUsage": 10.5}})
GOES_ON = "keeps running: White Rabbit has no call to cancel it"
OVER = f"run {RUN} has used 10.5 credits, more than max_credits=10, and {GOES_ON}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([connects(), opens(), reads(used(10.5))], id="a read"),
        pytest.param([connects(), opens(), reads(used(1)), follows(StreamEnd(over_limit=SPENT))], id="an event"),
        pytest.param(
            [connects(), opens(), reads(used(1)), follows(ENDS, took=100), reads(used(10.5))],
            id="the last look",
        ),
    ],
)
def test_a_wait_ends_once_more_credits_are_seen_than_allowed(script: list[Turn]) -> None:
    page = "https://dashboard.example/run"
    script[0] = connects(page)
    with pytest.raises(WRCreditLimitError) as raised:
        play(script, timeout=100.0, connected=False, max_credits=10)
    assert str(raised.value) == f"{OVER}; see {page}"
    assert (raised.value.credits, raised.value.max_credits, raised.value.retryable) == (10.5, 10, False)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED"])
def test_a_run_that_has_ended_is_returned_whatever_it_used(status: str) -> None:
    ended = used(10.5, status)
    assert play([opens(), reads(used(10)), follows(TOLD), reads(ended)], max_credits=10) == ended


def test_unknown_credits_end_no_wait() -> None:
    assert play([opens(), reads(EXECUTING), follows(TOLD), reads(COMPLETED)], max_credits=0) == COMPLETED


def test_an_event_that_shows_too_many_credits_ends_a_stream() -> None:
    heard: list[RunEvent] = []
    follower = Follower(watched.run(RUN), Progress(), heard.append, max_credits=10)
    assert follower.feed(told(STARTED)) is None
    assert follower.feed(told(SPENT)) == StreamEnd(over_limit=SPENT)
    assert heard == [STARTED, SPENT]
    assert Follower(watched.run(RUN), Progress(), None, max_credits=10.5).feed(told(SPENT)) is None


# --- following a stream -----------------------------------------------------------------------------------


def told(event: RunEvent) -> bytes:
    return f"data: {json.dumps(event.raw)}\n\n".encode()


HEARTBEAT = b": ping\n\n"
STARTED, ENDED = an_event("EXECUTING"), an_event("COMPLETED")


@pytest.mark.parametrize(
    ("chunks", "seen", "end"),
    [
        pytest.param([b""], [], ENDS, id="nothing"),
        pytest.param([HEARTBEAT, b"data: :ping\n\n", b""], [None, None], ENDS, id="heartbeats"),
        pytest.param([told(STARTED), HEARTBEAT, b""], [STARTED, None], ENDS, id="event"),
        pytest.param([told(STARTED)[:30], told(STARTED)[30:], b""], [STARTED], ENDS, id="event in two chunks"),
        pytest.param([told(STARTED)[:30], b""], [], ENDS, id="half an event"),
        pytest.param(
            [told(STARTED) + told(ENDED) + told(STARTED)], [STARTED, ENDED], TOLD, id="nothing after the end"
        ),
        pytest.param([told(an_event("PAUSED")), b""], [an_event("PAUSED")], ENDS, id="unknown status"),
    ],
)
def test_following(chunks: list[bytes], seen: list[RunEvent | None], end: StreamEnd) -> None:
    shown: list[RunEvent | None] = []
    events: list[RunEvent] = []
    follower = Follower(watched.run(RUN), cast("Progress", SimpleNamespace(update=shown.append)), events.append)
    *others, last = chunks
    assert [follower.feed(chunk) for chunk in others] == [None] * len(others)
    assert follower.feed(last) == end
    assert shown == seen
    assert events == list(filter(None, seen))


def test_following_a_stream_that_breaks() -> None:
    end = Follower(watched.run(RUN), Progress(), None).feed(b"data: 1\n" * 200 + b"\n")
    assert end is not None
    assert isinstance(end.error, WRProtocolError)
    assert end == StreamEnd(error=end.error)


def test_a_stream_with_no_news_is_quiet() -> None:
    """Heartbeats are not events; the quiet time restarts after each read."""
    now = 0.0
    follower = Follower(watched.run(RUN), Progress(), None, clock=lambda: now)
    ends = {}
    for now in range(0, 2000, 15):  # the clock reads it
        chunk = told(STARTED) if now in (150, 300) else HEARTBEAT
        if (end := follower.feed(chunk)) is not None:
            ends[now] = end
    assert ends == {
        300 + 285: QUIET,
        300 + 2 * 285: QUIET,
        300 + 3 * 285: QUIET,
        300 + 4 * 285: QUIET,
        300 + 5 * 285: QUIET,
    }
    assert follower.feed(told(ENDED)) == TOLD


@pytest.mark.parametrize("error", [WRProtocolError("mine"), WRConnectionError("mine"), TimeoutError("mine")])
def test_an_error_of_on_event_is_no_end_of_the_stream(error: Exception) -> None:
    def on_event(event: RunEvent) -> None:
        raise error

    follower = Follower(watched.run(RUN), Progress(), on_event)
    with pytest.raises(type(error), match="mine"):
        follower.feed(told(STARTED))


# --- pauses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "jitter", "because", "seconds"),
    [
        pytest.param(0, 1.0, None, 1.0, id="first"),
        pytest.param(1, 1.0, BROKEN, 2.0, id="second"),
        pytest.param(5, 1.0, None, 32.0, id="sixth"),
        pytest.param(6, 1.0, None, 60.0, id="seventh"),
        pytest.param(10**6, 1.0, None, 60.0, id="millionth"),
        pytest.param(5, 0.25, None, 8.0, id="jitter"),
        pytest.param(5, 0.0, None, 0.0, id="full jitter"),
        pytest.param(0, 0.5, WRRateLimitError("x", retry_after=7.0), 7.5, id="Retry-After"),
        pytest.param(0, 0.5, WRRateLimitError("x"), 0.5, id="429 without one"),
        pytest.param(0, 0.5, OSError("x"), 0.5, id="any error"),
        pytest.param(0, 0.5, WRServerError("x", retry_after=1e12), 86400.5, id="Retry-After of centuries"),
    ],
)
def test_a_pause(failures: int, jitter: float, because: object, seconds: float) -> None:
    assert backoff.pause(failures, because, jitter=lambda: jitter) == seconds


@pytest.mark.parametrize(
    ("attempt", "error", "least", "most"),
    [
        pytest.param(1, BROKEN, 0.0, 1.0, id="first"),
        pytest.param(3, BROKEN, 0.0, 4.0, id="third"),
        pytest.param(1, WRRateLimitError("x", retry_after=7.0), 7.0, 8.0, id="Retry-After"),
    ],
)
def test_the_pause_between_attempts_at_a_plain_call(
    attempt: int, error: WRError, least: float, most: float
) -> None:
    outcome = SimpleNamespace(exception=lambda: error)
    state = cast("RetryCallState", SimpleNamespace(attempt_number=attempt, outcome=outcome))
    pauses = [backoff.RETRYING["wait"](state) for _ in range(50)]
    assert all(least <= pause <= most for pause in pauses)
    assert len(set(pauses)) > 1


# --- progress ---------------------------------------------------------------------------------------------

RUNNING = an_event("EXECUTING", ("A", "RUNNING", 1), pending=3)


@pytest.mark.parametrize(
    ("now", "line"),
    [
        pytest.param(a_run("CREATED"), "CREATED", id="status alone"),
        pytest.param(an_event("EXECUTING", pending=0), "EXECUTING | 0 stages pending", id="none pending"),
        pytest.param(an_event("EXECUTING", pending=1), "EXECUTING | 1 stage pending", id="one pending"),
        pytest.param(
            a_run("EXECUTING", pendingStageCount=3, totalUsage=5),
            "EXECUTING | 3 stages pending | 5 credits",
            id="credits",
        ),
        pytest.param(a_run("EXECUTING", totalUsage=1), "EXECUTING | 1 credit", id="one credit"),
        pytest.param(a_run("EXECUTING", totalUsage=0.1 + 0.2), "EXECUTING | 0.3 credits", id="credits rounded"),
        pytest.param(
            an_event("EXECUTING", ("A", "CREATED", 1), ("B", "RUNNING", 2)),
            "EXECUTING | running: B (attempt 2)",
            id="running, not queued",
        ),
        pytest.param(
            an_event("EXECUTING", *((module, "RUNNING", 1) for module in "ABCDE")),
            "EXECUTING | running: A, B, C, D, E",
            id="five stages",
        ),
        pytest.param(
            an_event("EXECUTING", *((module, "RUNNING", 1) for module in "ABCDEFG")),
            "EXECUTING | running: A, B, C, D, E, and 2 more",
            id="many stages",
        ),
        pytest.param(
            a_run("EXECUTING", runStages=[{"id": "1", "module": "A", "status": "RUNNING"}]),
            "EXECUTING | running: A",
            id="attempt not told",
        ),
    ],
)
def test_a_line(now: Run | RunEvent, line: str) -> None:
    assert progress_line(now) == line


@pytest.mark.parametrize("forged", ["\nINFO all is well", "\x1b[2K", "\u2028", "\ud800"])
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda text: an_event(f"NEW{text}"), id="status"),
        pytest.param(lambda text: an_event("EXECUTING", (f"A{text}", "RUNNING", 1)), id="module"),
    ],
)
def test_a_line_cannot_forge_a_log(place: Callable[[str], RunEvent], forged: str) -> None:
    assert progress_line(place(forged)).isprintable()


@pytest.mark.parametrize("usage", [pytest.param(10**400, id="beyond doubles"), pytest.param(1e300, id="large")])
def test_a_line_of_any_number(usage: float) -> None:
    try:
        run = a_run("EXECUTING", totalUsage=usage)
    except WRProtocolError:
        return
    assert progress_line(run).startswith("EXECUTING | 1")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        pytest.param([(0.0, None)], [], id="heartbeat before anything"),
        pytest.param([(0.0, RUNNING)], ["EXECUTING | 3 stages pending | running: A"], id="first"),
        pytest.param([(0.0, RUNNING), (9.0, RUNNING)], [RUNNING], id="no change"),
        pytest.param(
            [(0.0, a_run("EXECUTING", totalUsage=1)), (9.0, a_run("EXECUTING", totalUsage=2))],
            ["EXECUTING | 1 credit"],
            id="credits alone are no change",
        ),
        pytest.param([(0.0, a_run("CREATED")), (9.0, EXECUTING)], ["CREATED", "EXECUTING"], id="status"),
        pytest.param(
            [(0.0, an_event("EXECUTING", pending=2)), (9.0, an_event("EXECUTING", pending=1))],
            ["EXECUTING | 2 stages pending", "EXECUTING | 1 stage pending"],
            id="pending count",
        ),
        pytest.param(
            [(0.0, RUNNING), (9.0, an_event("EXECUTING", ("B", "RUNNING", 1), pending=3))],
            [RUNNING, "EXECUTING | 3 stages pending | running: B"],
            id="running stages",
        ),
        pytest.param(
            [(0.0, RUNNING), (9.0, an_event("EXECUTING", ("A", "RUNNING", 2), pending=3))],
            [RUNNING, "EXECUTING | 3 stages pending | running: A (attempt 2)"],
            id="attempt",
        ),
        pytest.param([(0.0, a_run("CREATED")), (0.5, EXECUTING)], ["CREATED"], id="held back within a second"),
        pytest.param(
            [(0.0, a_run("CREATED")), (0.5, EXECUTING), (0.9, None), (1.0, None)],
            ["CREATED", "EXECUTING"],
            id="held back, and said on a heartbeat",
        ),
        pytest.param(
            [(0.0, a_run("CREATED")), (0.5, EXECUTING), (1.0, None), (1.5, None), (9.0, None)],
            ["CREATED", "EXECUTING"],
            id="said once",
        ),
        pytest.param(
            [(0.0, a_run("CREATED")), (0.3, EXECUTING), (0.6, a_run("PAUSED")), (1.0, None)],
            ["CREATED", "PAUSED"],
            id="the latest of those held back",
        ),
        pytest.param(
            [(0.0, a_run("CREATED")), (0.3, EXECUTING), (0.6, a_run("CREATED")), (9.0, None)],
            ["CREATED"],
            id="held back, and gone again",
        ),
        pytest.param(
            [(0.0, a_run("CREATED")), (0.1, EXECUTING), (0.2, COMPLETED)],
            ["CREATED"],
            id="the end is left to those who wait for it",
        ),
        pytest.param(
            [(0.0, an_event("COMPLETED")), (0.1, None), (9.0, COMPLETED)],
            [],
            id="a run that has ended already",
        ),
    ],
)
def test_progress_lines(
    seen: list[tuple[float, Run | RunEvent | None]],
    said: list[str | RunEvent],
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    progress = Progress(clock=lambda: now)
    with caplog.at_level(logging.INFO, "airflow_provider_wr.waiting"):
        for now, what in seen:  # noqa: B007  # the clock reads it
            progress.update(what)
    lines = [line if isinstance(line, str) else progress_line(line) for line in said]
    assert [record.getMessage() for record in caplog.records] == lines


@given(st.lists(st.tuples(st.floats(0, 0.7), st.none() | st.sampled_from(["CREATED", "EXECUTING", "PAUSED"]))))
def test_at_most_one_line_is_logged_per_second(seen: list[tuple[float, str | None]]) -> None:
    now = 0.0
    said: list[float] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(now)  # type: ignore[method-assign]
    progress_log.addHandler(handler)
    level = progress_log.level
    progress_log.setLevel(logging.INFO)
    try:
        progress = Progress(clock=lambda: now)
        for after, status in seen:
            now += after
            progress.update(a_run(status) if status else None)
    finally:
        progress_log.setLevel(level)
        progress_log.removeHandler(handler)
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(said))
