"""The rules of waiting, played by hand: a script of answers, a clock that only the script moves."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState

from airflow_provider_wr.api import watched
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRValidationError,
)
from airflow_provider_wr.models import Run, RunEvent
from airflow_provider_wr.waiting import backoff, rules
from airflow_provider_wr.waiting.progress import Progress, progress_line
from airflow_provider_wr.waiting.progress import log as progress_log
from airflow_provider_wr.waiting.rules import (
    Follower,
    FollowStream,
    OpenStream,
    Pause,
    ReadRun,
    Reconnect,
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
SILENT, FLOWED, TOLD = (
    StreamEnd(had_events=False),
    StreamEnd(had_events=True),
    StreamEnd(had_events=True, saw_terminal=True),
)


# --- the rules, as scripts --------------------------------------------------------------------------------


class Turn(NamedTuple):
    """A step that is expected, how it is answered, and the seconds that it takes."""

    step: type[Step]
    answer: object = None
    took: float = 0.0


def opens(answer: object = None, *, took: float = 0.0) -> Turn:
    return Turn(OpenStream, answer, took)


def reads(answer: object, *, took: float = 0.0) -> Turn:
    return Turn(ReadRun, answer, took)


def follows(answer: StreamEnd, *, took: float = 0.0) -> Turn:
    return Turn(FollowStream, answer, took)


def pauses(seconds: float) -> Turn:
    return Turn(Pause, None, seconds)


reconnects = Turn(Reconnect)


def play(script: Iterable[Turn], *, timeout: float | None = None) -> Run:
    """Answer the steps of a wait as the script says; it must end with the script's last answer."""
    now = 1000.0
    steps = rules.wait(watched.run(RUN), timeout=timeout, clock=lambda: now, jitter=lambda: 1.0)
    answer: object = None
    for turn in script:
        step = advance(steps, answer)
        assert isinstance(step, turn.step)
        if isinstance(step, Pause):
            assert step.within == pytest.approx(turn.took)
        elif timeout is None:
            assert step.within is None
        else:
            assert step.within == pytest.approx(1000.0 + timeout - now)
        now += turn.took
        answer = turn.answer
    run = advance(steps, answer)
    assert isinstance(run, Run), f"the wait goes on with {run}"
    return run


@pytest.mark.parametrize(
    ("script", "result"),
    [
        pytest.param([opens(), reads(COMPLETED)], COMPLETED, id="ended before the subscription"),
        pytest.param([opens(), reads(FAILED)], FAILED, id="failed before the subscription"),
        pytest.param(
            [opens(), reads(EXECUTING), follows(FLOWED), reads(CANCELED)], CANCELED, id="ends while it is followed"
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(TOLD), reads(COMPLETED)], COMPLETED, id="told of its end"
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(TOLD), reads(EXECUTING), pauses(1)),
                *(reads(EXECUTING), pauses(2), reads(BROKEN), pauses(4), reads(COMPLETED)),
            ],
            COMPLETED,
            id="told of its end, and not to be read so yet: no stream is opened again",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(FLOWED), reads(EXECUTING), pauses(1)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="stream ends after some events",
        ),
        pytest.param(
            [
                *(opens(), reads(EXECUTING), follows(SILENT), reads(EXECUTING), pauses(1)),
                *(opens(), reads(EXECUTING), follows(SILENT), reads(COMPLETED)),
            ],
            COMPLETED,
            id="stream ends without a word",
        ),
        pytest.param(
            [
                *(
                    opens(),
                    reads(EXECUTING),
                    follows(StreamEnd(had_events=True, error=BROKEN)),
                    reads(EXECUTING),
                    pauses(1),
                ),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="stream breaks",
        ),
        pytest.param(
            [opens(), reads(EXECUTING), follows(StreamEnd(had_events=False, error=BROKEN)), reads(COMPLETED)],
            COMPLETED,
            id="ends with the stream broken",
        ),
        pytest.param(
            [opens(BROKEN), pauses(1), reads(COMPLETED)], COMPLETED, id="no stream, but the run has ended"
        ),
        pytest.param(
            [
                *(opens(WRProtocolError("HTML")), pauses(1), reads(EXECUTING)),
                *(opens(WRProtocolError("HTML")), pauses(2), reads(COMPLETED)),
            ],
            COMPLETED,
            id="never a stream: the run is read instead",
        ),
        pytest.param(
            [
                *(opens(BROKEN), pauses(1), reads(BROKEN), pauses(2)),
                *(opens(), reads(BROKEN), pauses(4), opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="neither answers for a while",
        ),
        pytest.param(
            [
                *(opens(WRRateLimitError("limit", retry_after=30.0)), pauses(31)),
                *(reads(WRServerError("down", retry_after=7.0)), pauses(9), opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="Retry-After comes before the pause",
        ),
        pytest.param(
            [
                *(opens(WRProtocolError("HTML")), pauses(1), reads(WRProtocolError("cut off")), pauses(2)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="answers that are not as promised",
        ),
        pytest.param(
            [opens(NOT_FOUND), pauses(1), reads(NOT_FOUND, took=20), pauses(2), opens(), reads(COMPLETED)],
            COMPLETED,
            id="not visible yet",
        ),
        pytest.param([opens(REFUSED), reconnects, reads(COMPLETED)], COMPLETED, id="key renewed, stream"),
        pytest.param(
            [opens(), reads(REFUSED), reconnects, opens(), reads(COMPLETED)], COMPLETED, id="key renewed, read"
        ),
        pytest.param(
            [
                *(opens(), reads(REFUSED), reconnects, opens(), reads(EXECUTING), follows(FLOWED, took=3600)),
                *(reads(REFUSED), reconnects, opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="key renewed twice, and good for an hour in between",
        ),
        pytest.param(
            [opens(), reads(a_run("PAUSED")), follows(FLOWED), reads(COMPLETED)], COMPLETED, id="unknown status"
        ),
        pytest.param(
            [
                *(opens(BROKEN), pauses(1), reads(EXECUTING), opens(BROKEN), pauses(2), reads(EXECUTING)),
                *(opens(), reads(EXECUTING), follows(SILENT), reads(EXECUTING), pauses(4)),
                *(opens(), reads(EXECUTING), follows(FLOWED), reads(EXECUTING), pauses(1)),
                *(opens(), reads(EXECUTING), follows(SILENT), reads(EXECUTING), pauses(2)),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="pauses grow, and fall back once events flow",
        ),
        pytest.param(
            [
                *(turn for s in (1, 2, 4, 8, 16, 32, 60, 60) for turn in (opens(), reads(BROKEN), pauses(s))),
                *(opens(), reads(COMPLETED)),
            ],
            COMPLETED,
            id="pauses grow to a minute",
        ),
    ],
)
@pytest.mark.parametrize("timeout", [pytest.param(None, id="for ever"), pytest.param(86400.0, id="a day")])
def test_a_wait_that_ends_with_the_run(script: list[Turn], result: Run, timeout: float | None) -> None:
    assert play(script, timeout=timeout) == result


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param([opens(WRValidationError("bad"))], WRValidationError("bad"), id="400"),
        pytest.param([opens(), reads(WRError("teapot", status_code=418))], WRError("teapot"), id="418"),
        pytest.param([opens(NOT_FOUND, took=30)], NOT_FOUND, id="not found after 30 s"),
        pytest.param(
            [opens(), reads(EXECUTING), follows(FLOWED, took=29), reads(NOT_FOUND, took=2)],
            NOT_FOUND,
            id="not found any more",
        ),
        pytest.param([opens(REFUSED), reconnects, reads(REFUSED)], REFUSED, id="key refused twice"),
        pytest.param(
            [opens(), reads(REFUSED), reconnects, opens(REFUSED)], REFUSED, id="key refused twice, stream"
        ),
        pytest.param(
            [opens(REFUSED), reconnects._replace(answer=WRValidationError("no key"))],
            WRValidationError("no key"),
            id="the connection cannot be read",
        ),
        pytest.param(
            # A key that may read the run but not its stream: reading the connection again does not help.
            [opens(REFUSED), reconnects, reads(EXECUTING), opens(REFUSED)],
            REFUSED,
            id="stream refused twice, the run not",
        ),
    ],
)
def test_a_wait_that_time_cannot_mend(script: list[Turn], error: WRError) -> None:
    with pytest.raises(WRError) as raised:
        play(script)
    assert (type(raised.value), raised.value.message) == (type(error), error.message)


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        pytest.param([opens(took=10)], "not seen", id="opening"),
        pytest.param([opens(WRTimeoutError("timed out"), took=10)], "not seen", id="opening, cut off"),
        pytest.param([opens(), reads(EXECUTING, took=10)], "EXECUTING", id="reading"),
        pytest.param([opens(), reads(WRTimeoutError("timed out"), took=10)], "not seen", id="reading, cut off"),
        pytest.param([opens(), reads(EXECUTING), follows(FLOWED, took=10)], "EXECUTING", id="following"),
        pytest.param(
            [
                opens(),
                reads(EXECUTING),
                follows(StreamEnd(had_events=True, error=WRTimeoutError("timed out")), took=10),
            ],
            "EXECUTING",
            id="following, cut off",
        ),
        pytest.param([opens(REFUSED, took=10)], "not seen", id="refused"),
        pytest.param([opens(REFUSED), reconnects._replace(took=10)], "not seen", id="reading the connection"),
        pytest.param([opens(NOT_FOUND, took=10)], "not seen", id="not found"),
        pytest.param(
            [opens(WRValidationError("bad"), took=10)], "not seen", id="a bad request, too late to matter"
        ),
        pytest.param([opens(BROKEN, took=9.5), pauses(0.5)], "not seen", id="pausing, no longer than is left"),
        pytest.param(
            [opens(WRRateLimitError("limit", retry_after=3600.0)), pauses(10)],
            "not seen",
            id="a Retry-After too far",
        ),
    ],
)
def test_a_wait_that_runs_out_of_time(script: list[Turn], seen: str) -> None:
    with pytest.raises(WRTimeoutError) as raised:
        play(script, timeout=10.0)
    assert raised.value.message == (
        f"the wait for run {RUN} timed out after 10 s; the run, last seen {seen}, goes on: White Rabbit has no "
        "call to cancel it"
    )


@pytest.mark.parametrize("timeout", [0.0, -5.0])
def test_a_wait_without_time_asks_nothing(timeout: float) -> None:
    with pytest.raises(WRTimeoutError):
        play([], timeout=timeout)


def test_a_status_seen_in_time_cannot_forge_a_log() -> None:
    with pytest.raises(WRTimeoutError) as raised:
        play([opens(), reads(a_run("NEW\nINFO all is well"), took=10)], timeout=10.0)
    assert raised.value.message.isprintable()


def test_what_a_wait_says_while_it_looks_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "airflow_provider_wr.waiting"):
        play(
            [
                *(opens(BROKEN), pauses(1), reads(EXECUTING)),
                *(opens(), reads(EXECUTING), follows(SILENT), reads(EXECUTING), pauses(2)),
                *(opens(), reads(COMPLETED)),
            ]
        )
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"Run {RUN}: {BROKEN}; retrying in 1.0 s"),
        ("INFO", f"Run {RUN}: its stream ended; retrying in 2.0 s"),
    ]


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
    """What a server answers again and again: one thing, or a few in turn."""
    return st.lists(answers, min_size=1, max_size=3).map(itertools.cycle)


SERVERS: st.SearchStrategy[dict[type[Step], Iterator[Any]]] = st.fixed_dictionaries(
    {
        OpenStream: in_turn(st.none() | ERRORS),
        ReadRun: in_turn(st.sampled_from([EXECUTING, a_run("PAUSED"), COMPLETED]) | ERRORS),
        FollowStream: in_turn(st.builds(StreamEnd, st.booleans(), st.booleans(), st.none() | ERRORS)),
        Reconnect: st.just(itertools.repeat(None)),
        Pause: st.just(itertools.repeat(None)),
    }
)


#: Open, read, follow, read; and as many again, once, with the Airflow connection read anew in between.
MOST_STEPS_IN_A_TURN = 9


@given(SERVERS, st.none() | st.floats(-1, 100))
def test_each_turn_of_the_loop_pauses_or_ends(
    server: dict[type[Step], Iterator[Any]], timeout: float | None
) -> None:
    """Even a server that answers at once, whatever it answers, is asked only a few times between two pauses."""
    now, asked = 0.0, 0
    answer: object = None
    steps = rules.wait(watched.run(RUN), timeout=timeout, clock=lambda: now, jitter=lambda: 0.5)
    try:
        for _ in range(60):
            step = advance(steps, answer)
            if isinstance(step, Run):
                assert step.is_terminal
                return
            answer = next(server[type(step)])
            if timeout is not None:
                assert step.within is not None
                assert now + step.within <= timeout + 1e-9
            if isinstance(step, Pause):
                assert step.within > 0
                now += step.within
                asked = 0
            else:
                asked += 1
                assert asked <= MOST_STEPS_IN_A_TURN
    except WRError as error:
        assert isinstance(error, WRTimeoutError) or not rules.is_transient(error, elapsed=now)  # noqa: PT017


@pytest.mark.parametrize(
    ("error", "waited", "mends"),
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
def test_what_is_transient(error: WRError, waited: float, mends: bool) -> None:
    assert rules.is_transient(error, elapsed=waited) is mends


# --- following a stream -----------------------------------------------------------------------------------


def told(event: RunEvent) -> bytes:
    return f"data: {json.dumps(event.raw)}\n\n".encode()


HEARTBEAT = b": ping\n\n"
STARTED, ENDED = an_event("EXECUTING"), an_event("COMPLETED")


@pytest.mark.parametrize(
    ("chunks", "seen", "end"),
    [
        pytest.param([b""], [], SILENT, id="nothing"),
        pytest.param([HEARTBEAT, b"data: :ping\n\n", b""], [None, None], SILENT, id="heartbeats"),
        pytest.param([told(STARTED), HEARTBEAT, b""], [STARTED, None], FLOWED, id="event"),
        pytest.param([told(STARTED)[:30], told(STARTED)[30:], b""], [STARTED], FLOWED, id="event in two chunks"),
        pytest.param([told(STARTED)[:30], b""], [], SILENT, id="half an event"),
        pytest.param(
            [told(STARTED) + told(ENDED) + told(STARTED)], [STARTED, ENDED], TOLD, id="nothing after the end"
        ),
        pytest.param([told(an_event("PAUSED")), b""], [an_event("PAUSED")], FLOWED, id="unknown status"),
    ],
)
def test_following(chunks: list[bytes], seen: list[RunEvent | None], end: StreamEnd) -> None:
    shown: list[RunEvent | None] = []
    events: list[RunEvent] = []
    follower = Follower(watched.run(RUN), cast("Progress", SimpleNamespace(see=shown.append)), events.append)
    *others, last = chunks
    assert [follower.feed(chunk) for chunk in others] == [None] * len(others)
    assert follower.feed(last) == end
    assert shown == seen
    assert events == list(filter(None, seen))


@pytest.mark.parametrize(("chunks", "flowed"), [([HEARTBEAT], False), ([told(STARTED)], True)])
def test_following_a_stream_that_breaks(chunks: list[bytes], flowed: bool) -> None:
    follower = Follower(watched.run(RUN), Progress(), None)
    assert [follower.feed(chunk) for chunk in chunks] == [None]
    end = follower.feed(b"data: 1\n" * 200 + b"\n")
    assert end is not None
    assert isinstance(end.error, WRProtocolError)
    assert end == StreamEnd(flowed, error=end.error)


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
            "EXECUTING | running: A (attempt 1), B (attempt 1), C (attempt 1), D (attempt 1), E (attempt 1)",
            id="five stages",
        ),
        pytest.param(
            an_event("EXECUTING", *((module, "RUNNING", 1) for module in "ABCDEFG")),
            "EXECUTING | running: A (attempt 1), B (attempt 1), C (attempt 1), D (attempt 1), E (attempt 1), "
            "and 2 more",
            id="many stages",
        ),
        pytest.param(
            a_run("EXECUTING", runStages=[{"id": "1", "module": "A", "status": "RUNNING"}]),
            "EXECUTING | running: A (attempt 1)",
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
        pytest.param([(0.0, RUNNING)], ["EXECUTING | 3 stages pending | running: A (attempt 1)"], id="first"),
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
            [RUNNING, "EXECUTING | 3 stages pending | running: B (attempt 1)"],
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
            ["CREATED", "COMPLETED"],
            id="the end is always said",
        ),
        pytest.param(
            [(0.0, an_event("COMPLETED")), (0.1, COMPLETED), (9.0, COMPLETED)],
            ["COMPLETED"],
            id="the end is said once",
        ),
    ],
)
def test_what_is_said_of_progress(
    seen: list[tuple[float, Run | RunEvent | None]],
    said: list[str | RunEvent],
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    progress = Progress(clock=lambda: now)
    with caplog.at_level(logging.INFO, "airflow_provider_wr.waiting"):
        for now, what in seen:  # noqa: B007  # the clock reads it
            progress.see(what)
    lines = [line if isinstance(line, str) else progress_line(line) for line in said]
    assert [record.getMessage() for record in caplog.records] == lines


@given(st.lists(st.tuples(st.floats(0, 0.7), st.none() | st.sampled_from(["CREATED", "EXECUTING", "PAUSED"]))))
def test_at_most_one_line_is_said_in_a_second(seen: list[tuple[float, str | None]]) -> None:
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
            progress.see(a_run(status) if status else None)
    finally:
        progress_log.setLevel(level)
        progress_log.removeHandler(handler)
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(said))
