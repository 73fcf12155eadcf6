"""
Any JSON becomes a run or a WRProtocolError; a run can be stored as an XCom, and logged. So does an execution.

Run: python tests/fuzz/fuzz_runs.py -max_total_time=15 tests/fuzz/corpus_runs
"""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path

import atheris

sys.path.append(str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["airflow_provider_wr", "json"]):
    from airflow_provider_wr.api import redaction
    from airflow_provider_wr.api.decoding import decode
    from airflow_provider_wr.exceptions import WRProtocolError
    from airflow_provider_wr.models import ComponentExecution, Run
    from airflow_provider_wr.waiting.progress import progress_line

from storage import stored

KEY = "ws_k3y/+="


def test_one_input(wire: bytes) -> None:
    check_run(wire)
    check_execution(wire)


def check_execution(wire: bytes) -> None:
    try:
        execution = ComponentExecution.started(decode(wire))
    except WRProtocolError as error:
        check(str(error).isprintable(), f"not fit for a log: {error!r}")
        return
    said = [*execution.ending.split("\n"), progress_line(execution)]
    check(all(line.isprintable() for line in said), f"not fit for a log: {said}")
    xcom = execution.as_xcom()
    check(stored(xcom) == xcom, f"cannot be kept: {xcom}")
    check(KEY not in repr(xcom), f"holds the key: {xcom}")


def check_run(wire: bytes) -> None:
    try:
        run = Run.from_json(decode(wire))
    except WRProtocolError as error:
        check(str(error).isprintable(), f"not fit for a log: {error!r}")
        return
    said = [*run.ending.split("\n"), progress_line(run)]
    check(all(line.isprintable() for line in said), f"not fit for a log: {said}")
    for stage_outputs in (True, False):
        xcom = run.as_xcom(stage_outputs=stage_outputs)
        check(stored(xcom) == xcom, f"cannot be kept: {xcom}")
        check(KEY not in repr(xcom), f"holds the key: {xcom}")
    known = {stage.status for stage in run.stages}
    check(not run.failed_stages or "FAILED" in known, f"failed stages among {known}")
    check(repr(pickle.loads(pickle.dumps(run))) == repr(run), f"not the same: {run}")  # noqa: S301  # our own


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


if __name__ == "__main__":
    logging.disable()
    redaction.hide(KEY)
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
