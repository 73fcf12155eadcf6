"""What the page's callback says of each error that it is called with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRRunFailedError,
    WRTriggerUnknownError,
)
from airflow_provider_wr.models import Run

from .blocks import ROOT, blocks, portable

STAGE = {"id": "s", "module": "HTTP_REQUEST", "status": "FAILED", "error": {"message": "no route"}}
RUN = Run.from_json({"id": "9e4c", "status": "FAILED", "totalUsage": 8, "runStages": [STAGE]})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WRRunFailedError(RUN), "pay: FAILED, 8 credits\nHTTP_REQUEST: no route\n"),
        (
            WRTriggerUnknownError("reset", reason=WRConnectionError("reset")),
            "LOOK NOW: a run may be under way. pay: whether a run started is not known: reset: look in the White "
            "Rabbit dashboard for a run, and clear the task if there is none\n",
        ),
        (WRAuthError("Invalid API key"), "pay: Invalid API key: check the password of the connection\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_callback(error: WRError, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(portable(blocks(ROOT / "docs" / "alerts.md")[0].code), names)  # noqa: S102 - our own page
    alert = names["alert"]
    assert callable(alert)
    alert({"exception": error, "ti": SimpleNamespace(dag_id="pay")})
    assert capsys.readouterr().out == said
