"""
The hooks: White Rabbit's calls over ``requests`` (:class:`WRHook`) and ``aiohttp`` (:class:`WRAsyncHook`).

:mod:`airflow_provider_wr.api` builds requests and reads responses, :mod:`airflow_provider_wr.transport` sends
them, and :mod:`airflow_provider_wr.waiting` has the rules for waiting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow.providers.common.compat.sdk import BaseHook
from tenacity import AsyncRetrying, Retrying

from airflow_provider_wr import connection_form
from airflow_provider_wr.api import calls
from airflow_provider_wr.api.ids import choose_workflow
from airflow_provider_wr.api.models import Run, RunEvent, TriggeredRun
from airflow_provider_wr.api.sse import EventStream
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.watched import run as watch_run
from airflow_provider_wr.connection import DEFAULT_BASE_URL, WRSettings
from airflow_provider_wr.exceptions import WRAuthError, WRError, WRNotFoundError
from airflow_provider_wr.hooks.components import AsyncComponentCalls, ComponentCalls
from airflow_provider_wr.late_import import import_late
from airflow_provider_wr.observability import Wait, is_traced, triggering
from airflow_provider_wr.waiting import rules
from airflow_provider_wr.waiting.backoff import RETRYING
from airflow_provider_wr.waiting.progress import Progress
from airflow_provider_wr.waiting.rules import (
    Connect,
    Follower,
    FollowStream,
    OnEvent,
    OpenStream,
    Pause,
    Read,
    Step,
    StreamEnd,
)

if TYPE_CHECKING:
    import requests

    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.api.watched import State, Watched
    from airflow_provider_wr.transport.aiohttp import AiohttpStream, SharedSession
    from airflow_provider_wr.transport.requests import RequestsStream

T = TypeVar("T")

log = logging.getLogger(__name__)
S = TypeVar("S", bound="State")

#: A run that cannot exist: reading it checks the key and changes nothing.
NO_RUN = "00000000-0000-0000-0000-000000000000"

#: A key that cannot be valid.
NO_KEY = "ws_no_key"


_OF_A_RUN = re.compile(r"\b(run|execution)\b", re.IGNORECASE)


class WRHook(ComponentCalls, BaseHook):
    """
    White Rabbit's API, synchronously. Also a context manager, which closes its connections.

    Calls raise subclasses of :class:`~airflow_provider_wr.exceptions.WRError`. Invalid input is rejected before
    anything is sent. Transient failures are retried a few times if the call is safe to repeat.

    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param workflow_id: UUID of the default workflow; None for the connection's.
    """

    conn_name_attr = "wr_conn_id"
    default_conn_name = "wr_default"
    conn_type = "wr"
    hook_name = "White Rabbit"

    def __init__(self, wr_conn_id: str = default_conn_name, *, workflow_id: str | None = None) -> None:
        super().__init__()
        self.wr_conn_id = wr_conn_id
        self.workflow_id = workflow_id
        from airflow_provider_wr.transport.requests import RequestsTransport  # each hook loads only its own

        self._transport = RequestsTransport()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields of the extra, for Airflow versions that do not take them from provider info."""
        return connection_form.widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders, for Airflow versions that do not read them from the provider info."""
        return connection_form.behaviour()

    @cached_property
    def settings(self) -> WRSettings:
        """The settings of the Airflow connection, looked up once."""
        return WRSettings.load(self.wr_conn_id)

    def _connect(self, *, again: bool, was_found: bool) -> None:
        if again:
            self.__dict__.pop("settings", None)
        if "settings" not in self.__dict__:
            self.settings = WRSettings.load(self.wr_conn_id, was_found=was_found or again)

    def get_conn(self) -> requests.Session:
        """Return the shared session. It does not hold the API key: each request adds it."""
        return self._transport.session

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def __enter__(self) -> WRHook:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def trigger_run(self, workflow_id: str | None = None) -> TriggeredRun:
        """
        Start a run. Returns as soon as the API has accepted it.

        The request is retried only if it cannot have started a run: no connection was made, or 429.

        :param workflow_id: UUID; None for the hook's, or else the connection's.

        Raises :class:`~airflow_provider_wr.exceptions.WRTriggerUnknownError` if a run may have started.
        """
        workflow_id = self.choose_workflow(workflow_id)
        with triggering("run", workflow_id):
            return self.send(calls.trigger_run(workflow_id))

    def get_run(self, run_id: str) -> Run:
        """Return the current state of a run, finished or not."""
        return self.send(calls.get_run(run_id))

    def read_once(self, watched: Watched[S], *, within: float | None) -> S:
        """
        Return the current state of a run or an execution, without retries.

        :param within: time limit in seconds; None for the connection's read timeout.
        """
        return self._transport.send(watched.read, self.settings, within=within)

    def update_component(
        self,
        component_id: str,
        *,
        workflow_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        position: Sequence[float] | None = None,
    ) -> None:
        """
        Update a component. Arguments that are None leave the value unchanged.

        :param component_id: UUID.
        :param workflow_id: UUID; None for the hook's, or else the connection's.
        :param config: merged into the existing config by the server.
        :param name: the name shown on the canvas.
        :param position: ``[x, y]`` on the canvas.
        """
        workflow_id = self.choose_workflow(workflow_id)
        self.send_update(
            calls.update_component(workflow_id, component_id, config=config, name=name, position=position)
        )

    def stream_run(self, run_id: str) -> Iterator[RunEvent]:
        """
        Yield a run's events, over one connection, until a terminal event or the server closes it.

        The stream has no replay: earlier events are lost.
        """
        yield from self.stream(watch_run(run_id))

    def stream(self, watched: Watched[Any]) -> Iterator[Any]:
        """Yield the events of a run or an execution; see :meth:`stream_run`."""
        events = EventStream()
        stream = self._transport.open_stream(watched.stream, self.settings, silence=rules.SILENCE, within=None)
        for chunk in stream.chunks(within=None):
            for data in events.feed(chunk):
                event = watched.read_event(data)
                if event is not None:
                    yield event
                    if event.is_terminal:
                        return

    def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> Run:
        """
        Wait until a run has ended, and return it whatever its status. Survives dropped streams and outages.

        :param timeout: seconds; None for no limit.
        :param deadline: Unix seconds, for a wait that started earlier; None for ``timeout`` seconds from now. If
            it has passed, the run is read once.
        :param on_event: called with each event of the stream; its exceptions end the wait.
        :param was_found: whether the Airflow connection is known to exist. If so, "not found" is treated as a
            failed lookup and retried.
        :param max_credits: stop waiting once an active run has used more credits than this; None for no limit.

        Raises :class:`~airflow_provider_wr.exceptions.WRTimeoutError` after the deadline, and
        :class:`~airflow_provider_wr.exceptions.WRCreditLimitError` when the run has used too many credits. The run
        keeps running.
        """
        return self.wait_for(
            watch_run(run_id),
            timeout=timeout,
            deadline=deadline,
            on_event=on_event,
            was_found=was_found,
            max_credits=max_credits,
        )

    def wait_for(
        self,
        watched: Watched[S],
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> S:
        """Wait until a run or an execution has ended; see :meth:`wait_for_run`."""
        steps = rules.wait(
            watched, within=_seconds_left(timeout, deadline), limit=timeout, max_credits=max_credits
        )
        progress = Progress()
        stream: RequestsStream | None = None
        follower: Follower | None = None
        result: Any = None
        wait = Wait(watched.noun, watched.id, self.workflow_id)
        try:
            while isinstance(step := rules.advance(steps, result), Step):
                result = None  # free it: it may be a large run
                if isinstance(step, FollowStream) and stream is not None and follower is not None:
                    # Outside the try: exceptions of on_event are not step results.
                    result = _follow(stream, follower, within=step.within)
                    continue
                try:
                    match step:
                        case Connect():
                            self._connect(again=step.again, was_found=was_found)
                            wait.workflow_id = self.workflow_id or self.settings.workflow_id
                            result = self.settings.link_to(watched, self.workflow_id)
                        case OpenStream():
                            if stream is not None:
                                stream.close()
                                wait.reconnected()
                            stream = self._transport.open_stream(
                                watched.stream, self.settings, silence=rules.SILENCE, within=step.within
                            )
                            follower = Follower(watched, progress, on_event, max_credits=max_credits)
                        case Read():
                            result = self._transport.send(watched.read, self.settings, within=step.within)
                            progress.update(result)
                        case Pause():
                            time.sleep(step.within)
                except WRError as error:
                    result = error
            wait.ended(step)
            return step
        except WRError as error:
            wait.failed(type(error).__name__)
            raise
        finally:
            if stream is not None:
                stream.close()

    def test_connection(self) -> tuple[bool, str]:
        """
        Read a run that cannot exist: the API answers 404 if it accepts the key.

        Other servers, or a wrong path, answer 404 as well. If the message does not tell them apart, a second
        request with an invalid key does: only the API refuses it.

        Returns whether the API accepts the key, and a message for the user.
        """
        try:
            self.read_once(watch_run(NO_RUN), within=None)
        except WRNotFoundError as error:
            return self._test_path(error)
        except WRAuthError as error:
            return False, f"The API at {self.settings.base_url} refuses the key: {_in_short(error)}"
        except Exception as error:
            # Airflow's Test button uses a made-up connection id: leave it out.
            text = _in_short(error) if isinstance(error, WRError) else str(error)
            return False, text.removeprefix(f"connection {self.wr_conn_id!r}: ")
        return False, f"{self.settings.base_url} found a run that cannot exist: is it White Rabbit's API?"

    def _test_path(self, not_found: WRNotFoundError) -> tuple[bool, str]:
        url = self.settings.base_url
        if isinstance(not_found.details, str):
            return False, f"{url} answered 404, but not in JSON: is it White Rabbit's API?"
        # NestJS, the API's framework, answers "Cannot GET …" for unknown paths. A gateway may check the key
        # before, so a refused key alone would not prove that the path is right.
        if not not_found.message.startswith("Cannot GET "):
            if _OF_A_RUN.search(not_found.message):
                return True, f"The API at {url} accepts the key"
            try:
                settings = replace(self.settings, api_key=NO_KEY)
                self._transport.send(calls.get_run(NO_RUN), settings, within=None)
            except WRAuthError:
                return True, f"The API at {url} accepts the key"
            except WRNotFoundError:
                pass
            except WRError as error:
                return (
                    False,
                    f"{url} answered 404, which is ambiguous; without the key: {_in_short(error)}",
                )
        return False, (
            f"{url} has no {not_found.path}: {not_found.message or '404'}. Set the connection's host to where the "
            f"API's /v1 begins, such as {DEFAULT_BASE_URL}"
        )

    def choose_workflow(self, workflow_id: str | None = None) -> str:
        """Return ``workflow_id``, or else the hook's, or the connection's."""
        return choose_workflow(workflow_id, self.workflow_id, self.settings.workflow_id)

    def send_update(self, update: Call[None]) -> None:
        """Send an update, and log which component and keys it changed."""
        self.send(update)
        _log_update(update)

    def send(self, call: Call[T]) -> T:
        """Make a call, with retries if it is safe to repeat. All other methods use this one."""
        return cast("T", Retrying(**RETRYING)(self._transport.send, call, self.settings))


def _in_short(error: WRError) -> str:
    """Return an error's text without the connection and the request."""
    error.conn_id = error.method = None
    return str(error)


def _log_update(update: Call[None]) -> None:
    """Log which component and which config keys an update changed, without values: they may be secrets."""
    body = json.loads(update.body or b"{}")
    fields = [f"config {', '.join(body['config']) or '(no keys)'}"] if "config" in body else []
    fields += [field for field in ("name", "position") if field in body]
    log.info("Updated component %s: %s", update.path.rpartition("/")[2], printable("; ".join(fields)))


def _follow(stream: RequestsStream, follower: Follower, *, within: float | None) -> StreamEnd:
    chunks = stream.chunks(within=within)
    while True:
        try:
            chunk = next(chunks, b"")
        except WRError as error:
            return StreamEnd(error=error)
        if (end := follower.feed(chunk)) is not None:
            return end


def _seconds_left(timeout: float | None, deadline: float | None) -> float | None:
    return timeout if deadline is None else deadline - time.time()


class WRAsyncHook(AsyncComponentCalls):
    """
    White Rabbit's API, asynchronously: like :class:`WRHook`, but awaited. Use it with ``async with``.

    All hooks of a connection on one event loop share a session. The connection is looked up at the first call.

    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param workflow_id: UUID of the default workflow; None for the connection's.
    """

    _shared: SharedSession

    def __init__(self, wr_conn_id: str = WRHook.default_conn_name, *, workflow_id: str | None = None) -> None:
        self.wr_conn_id = wr_conn_id
        self.workflow_id = workflow_id
        self._is_connected = False

    async def __aenter__(self) -> WRAsyncHook:
        transport = await import_late("airflow_provider_wr.transport.aiohttp")  # it takes a tenth of a second
        self._shared = transport.SharedSession.join(self.wr_conn_id)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._shared.leave()

    async def trigger_run(self, workflow_id: str | None = None) -> TriggeredRun:
        """Start a run; see :meth:`WRHook.trigger_run`."""
        workflow_id = await self.choose_workflow(workflow_id)
        with triggering("run", workflow_id):
            return await self.send(calls.trigger_run(workflow_id))

    async def get_run(self, run_id: str) -> Run:
        """Return the current state of a run, finished or not."""
        return await self.send(calls.get_run(run_id))

    async def update_component(
        self,
        component_id: str,
        *,
        workflow_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        position: Sequence[float] | None = None,
    ) -> None:
        """Update a component; see :meth:`WRHook.update_component`."""
        workflow_id = await self.choose_workflow(workflow_id)
        call = calls.update_component(workflow_id, component_id, config=config, name=name, position=position)
        await self.send(call)
        _log_update(call)

    async def stream_run(self, run_id: str) -> AsyncIterator[RunEvent]:
        """Yield a run's events; see :meth:`WRHook.stream_run`."""
        async with aclosing(self.stream(watch_run(run_id))) as events:
            async for event in events:
                yield event

    async def stream(self, watched: Watched[Any]) -> AsyncGenerator[Any]:
        """Yield the events of a run or an execution; see :meth:`stream_run`."""
        events = EventStream()
        await self._connect()
        with closing(await self._shared.open_stream(watched.stream, silence=rules.SILENCE, within=None)) as stream:
            while chunk := await _read(stream):
                for data in events.feed(chunk):
                    event = watched.read_event(data)
                    if event is not None:
                        yield event
                        if event.is_terminal:
                            return

    async def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> Run:
        """Wait until a run has ended; see :meth:`WRHook.wait_for_run`."""
        return await self.wait_for(
            watch_run(run_id),
            timeout=timeout,
            deadline=deadline,
            on_event=on_event,
            was_found=was_found,
            max_credits=max_credits,
        )

    async def wait_for(
        self,
        watched: Watched[S],
        *,
        timeout: float | None = 300.0,
        deadline: float | None = None,
        on_event: OnEvent | None = None,
        was_found: bool = False,
        max_credits: float | None = None,
    ) -> S:
        """Wait until a run or an execution has ended; see :meth:`wait_for_run`."""
        steps = rules.wait(
            watched, within=_seconds_left(timeout, deadline), limit=timeout, max_credits=max_credits
        )
        progress = Progress()
        stream: AiohttpStream | None = None
        follower: Follower | None = None
        result: Any = None
        wait = Wait(watched.noun, watched.id, self.workflow_id)
        try:
            while isinstance(step := rules.advance(steps, result), Step):
                result = None  # free it: it may be a large run
                if isinstance(step, FollowStream) and stream is not None and follower is not None:
                    # Outside the try: exceptions of on_event are not step results.
                    result = await _follow_async(stream, follower, within=step.within)
                    continue
                try:
                    match step:
                        case Connect():
                            await self._connect(again=step.again, was_found=was_found, within=step.within)
                            wait.workflow_id = self.workflow_id or self._shared.endpoint.settings.workflow_id
                            result = self.link_to(watched)
                        case OpenStream():
                            if stream is not None:
                                stream.close()
                                wait.reconnected()
                            stream = await self._shared.open_stream(
                                watched.stream, silence=rules.SILENCE, within=step.within
                            )
                            follower = Follower(watched, progress, on_event, max_credits=max_credits)
                        case Read():
                            result = await self._shared.send(watched.read, within=step.within, see=progress.update)
                        case Pause():
                            await asyncio.sleep(step.within)
                except WRError as error:
                    result = error
            if is_traced():
                await asyncio.to_thread(wait.ended, step)
            else:
                wait.ended(step)
            return step
        except WRError as error:
            wait.failed(type(error).__name__)
            raise
        finally:
            if stream is not None:
                stream.close()

    async def choose_workflow(self, workflow_id: str | None = None) -> str:
        """Return the workflow to use; see :meth:`WRHook.choose_workflow`."""
        await self._connect()
        return choose_workflow(workflow_id, self.workflow_id, self._shared.endpoint.settings.workflow_id)

    def run_link(self, run_id: str) -> str | None:
        """Return the URL of a run's page; None before the first call, and without a ``run_url``."""
        return self.link_to(watch_run(run_id))

    def link_to(self, watched: Watched[Any]) -> str | None:
        """Return the URL of the page of a run or an execution; see :meth:`run_link`."""
        if not self._is_connected:
            return None
        return self._shared.endpoint.settings.link_to(watched, self.workflow_id)

    async def send(self, call: Call[T]) -> T:
        """Make a call, with retries if it is safe to repeat; see :meth:`WRHook.send`."""
        await self._connect()
        return await AsyncRetrying(**RETRYING)(self._shared.send, call)

    async def _connect(self, *, again: bool = False, was_found: bool = False, within: float | None = None) -> None:
        """
        Look up the Airflow connection, at the first call or again.

        :param within: time limit in seconds; None for none.
        """
        if again:
            await self._shared.renew(within=within)
        elif not self._is_connected:
            await self._shared.load(was_found=was_found, within=within)
            self._is_connected = True


async def _read(stream: AiohttpStream) -> bytes:
    """Return the next bytes of a stream. Time that the caller spends between two reads is not idle time."""
    with stream.idle_timeout(within=None):
        return await stream.read()


async def _follow_async(stream: AiohttpStream, follower: Follower, *, within: float | None) -> StreamEnd:
    with stream.idle_timeout(within=within) as idle:
        while True:
            try:
                chunk = await stream.read()
            except WRError as error:
                return StreamEnd(error=error)
            if (end := follower.feed(chunk)) is not None:
                return end
            idle.reset()
