"""Both hooks behind one synchronous interface, so that each test runs against both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from airflow_provider_wr.hooks.wr import WRAsyncHook, WRHook

if TYPE_CHECKING:
    from airflow_provider_wr.models import (
        Component,
        ComponentExecution,
        ExecutionEvent,
        Run,
        RunEvent,
        TriggeredRun,
    )


class Sync:
    """``WRHook``, unchanged."""

    def __init__(self, conn_id: str = "wr_default", **options: Any) -> None:
        self._hook = WRHook(conn_id, **options)

    def trigger_run(self, *args: Any) -> TriggeredRun:
        return self._hook.trigger_run(*args)

    def get_run(self, run_id: str) -> Run:
        return self._hook.get_run(run_id)

    def update_component(self, *args: Any, **fields: Any) -> None:
        self._hook.update_component(*args, **fields)

    def stream_run(self, run_id: str, *, see: Callable[[RunEvent], None] = lambda event: None) -> list[RunEvent]:
        events = []
        for event in self._hook.stream_run(run_id):
            see(event)
            events.append(event)
        return events

    def wait_for_run(self, run_id: str, **options: Any) -> Run:
        return self._hook.wait_for_run(run_id, **options)

    def execute_component(self, *args: Any, **options: Any) -> ComponentExecution:
        return self._hook.execute_component(*args, **options)

    def get_execution(self, execution_id: str) -> ComponentExecution:
        return self._hook.get_execution(execution_id)

    def stream_execution(self, execution_id: str) -> list[ExecutionEvent]:
        return list(self._hook.stream_execution(execution_id))

    def wait_for_execution(self, execution_id: str, **options: Any) -> ComponentExecution:
        return self._hook.wait_for_execution(execution_id, **options)

    def replay_callback(self, execution_id: str) -> None:
        self._hook.replay_callback(execution_id)

    def list_components(self) -> tuple[Component, ...]:
        return self._hook.list_components()

    def validate_component(self, *args: Any) -> None:
        self._hook.validate_component(*args)

    def close(self) -> None:
        self._hook.close()


class Async:
    """``WRAsyncHook`` on an event loop of its own, which runs during each call."""

    def __init__(self, conn_id: str = "wr_default", **options: Any) -> None:
        self._conn_id = conn_id
        self._options = options
        self._hook: WRAsyncHook | None = None
        self._loop = asyncio.new_event_loop()

    def trigger_run(self, *args: Any) -> TriggeredRun:
        return self._run(lambda hook: hook.trigger_run(*args))

    def get_run(self, run_id: str) -> Run:
        return self._run(lambda hook: hook.get_run(run_id))

    def update_component(self, *args: Any, **fields: Any) -> None:
        self._run(lambda hook: hook.update_component(*args, **fields))

    def stream_run(self, run_id: str, *, see: Callable[[RunEvent], None] = lambda event: None) -> list[RunEvent]:
        async def collect(hook: WRAsyncHook) -> list[RunEvent]:
            events = []
            async for event in hook.stream_run(run_id):
                see(event)
                events.append(event)
            return events

        return self._run(collect)

    def wait_for_run(self, run_id: str, **options: Any) -> Run:
        return self._run(lambda hook: hook.wait_for_run(run_id, **options))

    def execute_component(self, *args: Any, **options: Any) -> ComponentExecution:
        return self._run(lambda hook: hook.execute_component(*args, **options))

    def get_execution(self, execution_id: str) -> ComponentExecution:
        return self._run(lambda hook: hook.get_execution(execution_id))

    def stream_execution(self, execution_id: str) -> list[ExecutionEvent]:
        async def collect(hook: WRAsyncHook) -> list[ExecutionEvent]:
            return [event async for event in hook.stream_execution(execution_id)]

        return self._run(collect)

    def wait_for_execution(self, execution_id: str, **options: Any) -> ComponentExecution:
        return self._run(lambda hook: hook.wait_for_execution(execution_id, **options))

    def replay_callback(self, execution_id: str) -> None:
        self._run(lambda hook: hook.replay_callback(execution_id))

    def list_components(self) -> tuple[Component, ...]:
        return self._run(lambda hook: hook.list_components())

    def validate_component(self, *args: Any) -> None:
        self._run(lambda hook: hook.validate_component(*args))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        if self._hook is not None:
            self._loop.run_until_complete(self._hook.__aexit__())
        left = asyncio.all_tasks(self._loop)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        assert not left

    def _run(self, call: Callable[[WRAsyncHook], Coroutine[Any, Any, Any]]) -> Any:
        async def enter_and_call() -> Any:
            # Enter the hook at the first call, so that this raises its errors.
            if self._hook is None:
                self._hook = await WRAsyncHook(self._conn_id, **self._options).__aenter__()
            return await call(self._hook)

        return self._loop.run_until_complete(enter_and_call())


AnyHook = Sync | Async
HOOKS: dict[str, type[AnyHook]] = {"sync": Sync, "async": Async}


def connection(url: str, *, api_key: str = "ws_k", **extra: Any) -> str:
    """Return an Airflow connection to ``url``, in Airflow's JSON form."""
    return json.dumps({"conn_type": "wr", "host": url, "password": api_key, "extra": extra})
