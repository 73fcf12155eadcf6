"""What is imported late is imported in one thread, whoever asks and whoever gives up."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from airflow_provider_wr import late_import
from airflow_provider_wr.late_import import import_late


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads of the imports, in their order. An import takes a moment."""
    threads: list[threading.Thread] = []

    def import_module(name: str) -> Any:
        threads.append(threading.current_thread())
        time.sleep(0.05)
        if len(threads) == 1 and name == "broken":
            raise ImportError(name)
        return f"the module {name}"

    monkeypatch.setattr(late_import, "import_module", import_module)
    monkeypatch.setattr(late_import, "_loaded", {})
    return threads


async def test_those_that_ask_at_the_same_time_share_one_thread(imported: list[threading.Thread]) -> None:
    assert await asyncio.gather(*map(import_late, ["a"] * 100)) == ["the module a"] * 100
    assert await import_late("a") == "the module a"
    assert len(imported) == 1
    assert imported[0] is not threading.current_thread()
    assert late_import._loading == {}


async def test_one_that_gives_up_takes_the_import_from_nobody(imported: list[threading.Thread]) -> None:
    first, second = (asyncio.create_task(import_late("a")) for _ in range(2))
    await asyncio.sleep(0)  # both begin
    first.cancel()
    assert await second == "the module a"
    assert first.cancelled()
    assert len(imported) == 1


async def test_an_import_that_failed_is_tried_again(imported: list[threading.Thread]) -> None:
    with pytest.raises(ImportError):
        await import_late("broken")
    assert await import_late("broken") == "the module broken"


def test_each_event_loop_can_ask(imported: list[threading.Thread]) -> None:
    assert [asyncio.run(import_late(name)) for name in "aab"] == ["the module a", "the module a", "the module b"]
    assert len(imported) == 2
