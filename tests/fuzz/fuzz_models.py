"""
Any answer to any call becomes a result or a WRError, and both can be logged.

Run: python tests/fuzz/fuzz_models.py -max_total_time=30 tests/fuzz/corpus_models
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["airflow_provider_wr", "json"]):
    from airflow_provider_wr.api import answers, calls
    from airflow_provider_wr.api.answers import Answer
    from airflow_provider_wr.exceptions import WRError
    from airflow_provider_wr.models import Run
    from airflow_provider_wr.waiting import progress

RUN = "9e4c7b1a-1111-4222-8333-944455556666"
CALLS = (
    calls.get_run(RUN),
    calls.trigger_run(RUN),
    calls.update_component(RUN, RUN, name="n"),
    calls.stream_run(RUN),
)
STATUSES = (200, 201, 204, 303, 307, 400, 401, 403, 404, 408, 409, 418, 422, 429, 500, 503)


def test_one_input(wire: bytes) -> None:
    # The first byte says which call and status; the first line is a header's, the rest the body.
    choice, (head, _, body) = wire[0] if wire else 0, wire[1:].partition(b"\n")
    text = head.decode("latin-1")
    headers = {"Retry-After": text, "Date": text, "Location": text}
    try:
        result = answers.read_answer(CALLS[choice % 4], Answer(STATUSES[choice // 4 % 16], headers, body))
    except WRError as error:
        said = str(error)
    else:
        said = (
            progress.progress_line(result) + result.ending.replace("\n  ", "") if isinstance(result, Run) else ""
        )
    if not said.isprintable():
        raise AssertionError(f"not fit for a log: {said!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
