"""
The second half of both hooks: one component, run without a workflow.

:class:`WRHook` and :class:`WRAsyncHook` are made of these, and users import those.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_wr.api import calls
from airflow_provider_wr.api.catalogue import check_call
from airflow_provider_wr.api.watched import execution as watch_execution
from airflow_provider_wr.exceptions import WRError
from airflow_provider_wr.masking import mask_callback
from airflow_provider_wr.observability import triggering

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.api.catalogue import Component
    from airflow_provider_wr.api.executions import ComponentExecution, ExecutionEvent
    from airflow_provider_wr.api.watched import State, Watched
    from airflow_provider_wr.waiting.rules import OnEvent

    T = TypeVar("T")
    S = TypeVar("S", bound=State)

    class Hook:
        """What is taken of a hook."""

        def send(self, call: Call[T]) -> T: ...
        def wait_for(
            self,
            watched: Watched[S],
            *,
            timeout: float | None,
            deadline: float | None,
            on_event: OnEvent | None,
            was_found: bool,
            max_credits: float | None,
        ) -> S: ...
        def stream(self, watched: Watched[Any]) -> Iterator[Any]: ...

    class AsyncHook:
        """What is taken of an asynchronous hook."""

        async def send(self, call: Call[T]) -> T: ...
        async def wait_for(
            self,
            watched: Watched[S],
            *,
            timeout: float | None,
            deadline: float | None,
            on_event: OnEvent | None,
            was_found: bool,
            max_credits: float | None,
        ) -> S: ...
        def stream(self, watched: Watched[Any]) -> AsyncGenerator[Any]: ...

else:
    Hook = AsyncHook = object


class ComponentCalls(Hook):
    """What :class:`WRHook` can do with components."""

    #: The catalogue, once it was read.
    _components: tuple[Component, ...] | None = None

    def execute_component(
        self,
        module: str,
        input: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        attempts: int = 1,
        wait_ms: int = 0,
        callback_url: str | None = None,
        callback_secret: str | None = None,
        callback_headers: Mapping[str, str] | None = None,
    ) -> ComponentExecution:
        """
        Run a component without a workflow. Returns as soon as the API has accepted it, or after ``wait_ms``.

        The request is retried only if it cannot have started anything: no connection was made, or 429.

        :param module: the component, such as ``RANDOM_UUID``.
        :param input: its inputs; None for none.
        :param config: its config; None for none.
        :param attempts: maximum attempts by the server, 1 to 3, with exponential backoff.
        :param wait_ms: milliseconds that the server waits for the end before it answers with the current state,
            0 to 15000.
        :param callback_url: a public HTTPS URL that gets one POST when the execution has ended; None for none.
        :param callback_secret: signs the callback; None for no signature. Masked in logs and errors.
        :param callback_headers: added to the callback; None for none. Values of 8 characters or more are masked.

        Raises :class:`~airflow_provider_wr.exceptions.WRTriggerUnknownError` if an execution may have started.
        """
        mask_callback(callback_secret, callback_headers)
        call = calls.execute_component(
            module,
            input,
            config,
            attempts=attempts,
            wait_ms=wait_ms,
            callback_url=callback_url,
            callback_secret=callback_secret,
            callback_headers=callback_headers,
        )
        return self.send_execution(call, module)

    def send_execution(self, call: Call[ComponentExecution], module: str) -> ComponentExecution:
        """Send the call that starts an execution, and count it for monitoring."""
        with triggering("execution", module):
            return self.send(call)

    def get_execution(self, execution_id: str) -> ComponentExecution:
        """Return an execution as it is now, finished or not."""
        return self.send(calls.get_execution(execution_id))

    def stream_execution(self, execution_id: str) -> Iterator[ExecutionEvent]:
        """
        Yield an execution's events, over one connection; like :meth:`WRHook.stream_run`.
        """
        yield from self.stream(watch_execution(execution_id))

    def wait_for_execution(
        self,
        execution_id: str,
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> ComponentExecution:
        """
        Wait until an execution has ended, and return it whatever its status; like :meth:`WRHook.wait_for_run`.

        Raises :class:`~airflow_provider_wr.exceptions.WRTimeoutError` after the deadline.
        """
        return self.wait_for(
            watch_execution(execution_id),
            timeout=timeout,
            deadline=deadline,
            on_event=on_event,
            was_found=was_found,
            max_credits=max_credits,
        )

    def replay_callback(self, execution_id: str) -> None:
        """
        Send the callback of an execution again.

        Raises :class:`~airflow_provider_wr.exceptions.WRValidationError` (409) if the execution has none.
        """
        self.send(calls.replay_callback(execution_id))

    def list_components(self) -> tuple[Component, ...]:
        """Return the catalogue of components. A hook reads it once."""
        if self._components is None:
            self._components = self.send(calls.list_components())
        return self._components

    def validate_component(
        self, module: str, input: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        """
        Check against the catalogue what :meth:`execute_component` would be given. Nothing is executed.

        A catalogue that cannot be read, or is of another shape, is logged, and nothing is checked.

        Raises :class:`~airflow_provider_wr.exceptions.WRValidationError`, with an entry in ``errors`` for each
        fault, such as ``input.address is missing``.
        """
        self.validate_call(calls.execute_component(module, input, config))

    def validate_call(self, call: Call[ComponentExecution]) -> None:
        """Check a call against the catalogue; see :meth:`validate_component`."""
        try:
            components = self.list_components()
        except WRError as error:
            _log_unchecked(error)
        else:
            check_call(components, call)


class AsyncComponentCalls(AsyncHook):
    """What :class:`WRAsyncHook` can do with components: as :class:`ComponentCalls`, awaited."""

    _components: tuple[Component, ...] | None = None

    async def execute_component(
        self,
        module: str,
        input: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        attempts: int = 1,
        wait_ms: int = 0,
        callback_url: str | None = None,
        callback_secret: str | None = None,
        callback_headers: Mapping[str, str] | None = None,
    ) -> ComponentExecution:
        """Run a component without a workflow; see :meth:`WRHook.execute_component`."""
        mask_callback(callback_secret, callback_headers)
        call = calls.execute_component(
            module,
            input,
            config,
            attempts=attempts,
            wait_ms=wait_ms,
            callback_url=callback_url,
            callback_secret=callback_secret,
            callback_headers=callback_headers,
        )
        with triggering("execution", module):
            return await self.send(call)

    async def get_execution(self, execution_id: str) -> ComponentExecution:
        """Return an execution as it is now, finished or not."""
        return await self.send(calls.get_execution(execution_id))

    async def stream_execution(self, execution_id: str) -> AsyncIterator[ExecutionEvent]:
        """Yield an execution's events as they come; see :meth:`WRHook.stream_execution`."""
        async with aclosing(self.stream(watch_execution(execution_id))) as events:
            async for event in events:
                yield event

    async def wait_for_execution(
        self,
        execution_id: str,
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> ComponentExecution:
        """Wait until an execution has ended; see :meth:`WRHook.wait_for_execution`."""
        return await self.wait_for(
            watch_execution(execution_id),
            timeout=timeout,
            deadline=deadline,
            on_event=on_event,
            was_found=was_found,
            max_credits=max_credits,
        )

    async def replay_callback(self, execution_id: str) -> None:
        """Have the callback of an execution sent again; see :meth:`WRHook.replay_callback`."""
        await self.send(calls.replay_callback(execution_id))

    async def list_components(self) -> tuple[Component, ...]:
        """Return the catalogue of components. A hook reads it once."""
        if self._components is None:
            self._components = await self.send(calls.list_components())
        return self._components

    async def validate_component(
        self, module: str, input: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        """Check against the catalogue what would be executed; see :meth:`WRHook.validate_component`."""
        call = calls.execute_component(module, input, config)
        try:
            components = await self.list_components()
        except WRError as error:
            _log_unchecked(error)
        else:
            await asyncio.to_thread(check_call, components, call)  # the library takes a while to import


def _log_unchecked(error: WRError) -> None:
    log.warning("The catalogue could not be read, and the component's input and config are not checked: %s", error)
