"""
The hooks: White Rabbit's calls over ``requests`` (:class:`WRHook`) and ``aiohttp`` (:class:`WRAsyncHook`).

What a call sends and what its answer means is in :mod:`airflow_provider_wr.protocol`, how a run is waited for
in :mod:`airflow_provider_wr.waiting`. A hook carries bytes, and does what these two say.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, TypeVar, cast

import aiohttp
import requests
import urllib3.exceptions
from airflow.providers.common.compat.sdk import BaseHook
from tenacity import AsyncRetrying, Retrying
from yarl import URL

from airflow_provider_wr import component_update, form, protocol, waiting
from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRAuthError, WRError, WRNotFoundError
from airflow_provider_wr.hooks import aiohttp_session, requests_session
from airflow_provider_wr.hooks.aiohttp_session import Patience, SharedSession, timeout
from airflow_provider_wr.hooks.requests_session import cut_off
from airflow_provider_wr.models import Run, RunEvent, TriggeredRun
from airflow_provider_wr.protocol import Answer, Call
from airflow_provider_wr.sse import EventStream
from airflow_provider_wr.waiting import (
    Follower,
    FollowStream,
    OnEvent,
    OpenStream,
    Pause,
    Progress,
    ReadRun,
    Reconnect,
    StreamEnd,
)

T = TypeVar("T")

#: Bytes that are read at a time.
CHUNK_BYTES = 64 * 1024

#: A run that cannot exist: reading it tells whether the API accepts the key, and changes nothing.
NO_RUN = "00000000-0000-0000-0000-000000000000"


class WRHook(BaseHook):
    """
    White Rabbit's API, synchronously. Also a context manager, which closes its connections.

    Every call raises a :class:`~airflow_provider_wr.exceptions.WRError`; bad input is refused before anything
    is sent. A call that failed on the way is sent again, a few times, where that can do no harm.

    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param workflow_id: UUID of the workflow used where a call names none; None for the connection's.
    """

    conn_name_attr = "wr_conn_id"
    default_conn_name = "wr_default"
    conn_type = "wr"
    hook_name = "White Rabbit"

    def __init__(self, wr_conn_id: str = default_conn_name, *, workflow_id: str | None = None) -> None:
        super().__init__()
        self.wr_conn_id = wr_conn_id
        self.workflow_id = workflow_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra's fields for Airflow's form, where it does not take them from the provider info."""
        return form.widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how Airflow's own fields look there, where it does not take that from the provider info."""
        return form.behaviour()

    @cached_property
    def settings(self) -> WRSettings:
        """What the Airflow connection says, looked up once."""
        return WRSettings.load(self.wr_conn_id)

    @cached_property
    def _session(self) -> requests.Session:
        return requests_session.new_session()

    def get_conn(self) -> requests.Session:
        """Return the session that the calls share. It holds no key: that goes with each request."""
        return self._session

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._session.close()

    def __enter__(self) -> WRHook:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def trigger_run(self, workflow_id: str | None = None) -> TriggeredRun:
        """
        Start a run. Returns as soon as the API has taken it on.

        The request is sent again only where it cannot have been obeyed: no connection was made, or 429.

        :param workflow_id: UUID; None for the hook's, or else the connection's.

        Raises :class:`~airflow_provider_wr.exceptions.WRTriggerUnknownError` when it cannot be known whether
        a run was started.
        """
        return self.send(protocol.trigger_run(self.choose_workflow(workflow_id)))

    def get_run(self, run_id: str) -> Run:
        """Return a run as it is now, finished or not."""
        return self.send(protocol.get_run(run_id))

    def get_run_once(self, run_id: str, *, within: float | None) -> Run:
        """
        Return a run as it is now, or the error of one request.

        :param within: seconds that it may take; None for the connection's read timeout.
        """
        return self._send_once(protocol.get_run(run_id), within=within)

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
        Change a component; what is None is left as it is.

        :param component_id: UUID.
        :param workflow_id: UUID; None for the hook's, or else the connection's.
        :param config: merged into the existing values, on the server.
        :param name: the name shown on the canvas.
        :param position: ``[x, y]`` on the canvas.
        """
        workflow_id = self.choose_workflow(workflow_id)
        call = protocol.update_component(workflow_id, component_id, config=config, name=name, position=position)
        self.send(call)
        component_update.log_sent(call)

    def stream_run(self, run_id: str) -> Iterator[RunEvent]:
        """
        Yield a run's events as they come, over one connection, until a terminal one or the server closes it.

        The stream has no replay: what happened before it was open is not told.
        """
        events = EventStream()
        response = self._open_stream(run_id, within=None)
        for chunk in _chunks(protocol.stream_run(run_id), response, within=None):
            for data in events.feed(chunk):
                event = protocol.read_event(run_id, data)
                if event is not None:
                    yield event
                    if event.is_terminal:
                        return

    def wait_for_run(self, run_id: str, *, timeout: float | None = 300.0, on_event: OnEvent | None = None) -> Run:
        """
        Wait until a run has ended, and return it whatever its status. Survives dropped streams.

        :param timeout: seconds; None waits for as long as it takes.
        :param on_event: called with each event of the stream.

        Raises :class:`~airflow_provider_wr.exceptions.WRTimeoutError` when time has run out; the run goes on.
        """
        link = self.settings.run_link(run_id, self.workflow_id)
        steps = waiting.wait(run_id, timeout=timeout, link=link)
        progress = Progress()
        stream: requests.Response | None = None
        answer: Any = None
        try:
            while not isinstance(step := waiting.tell(steps, answer), Run):
                answer = None  # not kept meanwhile: it may be a large run
                try:
                    match step:
                        case OpenStream():
                            if stream is not None:
                                stream.close()
                            stream = self._open_stream(run_id, within=step.within)
                        case ReadRun():
                            answer = self.get_run_once(run_id, within=step.within)
                            progress.see(answer)
                        case FollowStream() if stream is not None:
                            follower = Follower(run_id, progress, on_event)
                            answer = _follow(stream, follower, within=step.within)
                        case Reconnect():
                            del self.settings
                        case Pause():
                            time.sleep(step.within)
                except WRError as error:
                    answer = error
            return step
        finally:
            if stream is not None:
                stream.close()

    def test_connection(self) -> tuple[bool, str]:
        """
        Ask, once, for a run that cannot exist: "not found" means that the API accepts the key.

        Returns whether it does, and what to tell the user.
        """
        try:
            self.get_run_once(NO_RUN, within=None)
        except WRNotFoundError as error:
            if isinstance(error.details, str):
                return False, f"{self.settings.base_url} answered 404, but not in JSON: is it White Rabbit's API?"
            return True, f"The API at {self.settings.base_url} accepts the key"
        except WRAuthError as error:
            return False, f"The API at {self.settings.base_url} refuses the key: {error}"
        except Exception as error:
            # Airflow's Test button looks the connection up under a name that it made up.
            return False, str(error).removeprefix(f"connection {self.wr_conn_id!r}: ")
        return False, f"{self.settings.base_url} found a run that cannot exist: is it White Rabbit's API?"

    def choose_workflow(self, workflow_id: str | None = None) -> str:
        """Return the workflow that a call is for: the one given, or else the hook's, or the connection's."""
        return protocol.choose_workflow(workflow_id, self.workflow_id, self.settings.workflow_id)

    def send(self, call: Call[T]) -> T:
        """Make a call, and again where that can do no harm; the other methods are made of this one."""
        return cast("T", Retrying(**waiting.RETRYING)(self._send_once, call))

    def _send_once(self, call: Call[T], *, within: float | None = None) -> T:
        """Send a call once; the whole answer must be there within ``within`` seconds, or the read timeout."""
        # A pooled connection may have been closed on the other side, which shows only once something was
        # sent. That leaves a doubt about a trigger which a new connection does not leave.
        session = self._session if call.triggers is None else requests_session.new_session()
        seconds = _least(self.settings.read_timeout, within)
        until = time.monotonic() + seconds
        try:
            response = self._request(session, call, read_timeout=seconds)
            return protocol.read_answer(call, _answer(call, response, within=until - time.monotonic()))
        finally:
            if session is not self._session:
                session.close()

    def _open_stream(self, run_id: str, *, within: float | None) -> requests.Response:
        call = protocol.stream_run(run_id)
        until = None if within is None else time.monotonic() + within
        response = self._request(self._session, call, read_timeout=_least(waiting.SILENCE, within))
        if not 200 <= response.status_code < 300:
            seconds = _least(self.settings.read_timeout, until and until - time.monotonic())
            protocol.read_answer(call, _answer(call, response, within=seconds))
        try:
            protocol.check_stream(call, response.headers)
        except WRError:
            response.close()
            raise
        return response

    def _request(self, session: requests.Session, call: Call[Any], *, read_timeout: float) -> requests.Response:
        """Send a call, and return when the head of its answer is there."""
        settings = self.settings
        try:
            return session.request(
                call.method,
                settings.base_url + call.path,
                data=call.body,
                headers=call.headers(settings, now=time.time()),
                timeout=(min(settings.connect_timeout, read_timeout), read_timeout),
                allow_redirects=False,
                stream=True,
                verify=settings.verify,
            )
        except requests.RequestException as error:
            raise _requests_error(call, error) from error


def _answer(call: Call[Any], response: requests.Response, *, within: float) -> Answer:
    body = bytearray()
    for chunk in _chunks(call, response, within=within):
        body += chunk
        if len(body) > protocol.body_limit(response.status_code):
            break
    return Answer(response.status_code, response.headers, bytes(body))


def _follow(response: requests.Response, follower: Follower, *, within: float | None) -> StreamEnd:
    try:
        for chunk in _chunks(protocol.stream_run(follower.run_id), response, within=within):
            if (end := follower.feed(chunk)) is not None:
                return end
    except WRError as error:
        return follower.end(error)
    return follower.end()


def _chunks(call: Call[Any], response: requests.Response, *, within: float | None) -> Iterator[bytes]:
    """
    Yield the body as it arrives, and close the response at the end.

    :param within: seconds for all of it; None for no end.
    """
    try:
        with cut_off(response.raw.shutdown, within):
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        timed_out = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
        raise protocol.no_answer(call, error, sent=True, timed_out=timed_out) from error
    finally:
        response.close()


def _requests_error(call: Call[Any], error: requests.RequestException) -> WRError:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    never_sent = isinstance(
        error, (requests.ConnectTimeout, requests.exceptions.ProxyError, ValueError)
    ) or isinstance(reason, urllib3.exceptions.NewConnectionError)
    return protocol.no_answer(
        call,
        error,
        sent=not (never_sent or _is_certificate_error(error)),
        timed_out=isinstance(error, requests.Timeout),
    )


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


class WRAsyncHook:
    """
    White Rabbit's API for an event loop: as :class:`WRHook`, awaited. Use it with ``async with``.

    All hooks of a connection on one event loop share one session.

    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param workflow_id: UUID of the workflow used where a call names none; None for the connection's.
    """

    _shared: SharedSession

    def __init__(self, wr_conn_id: str = WRHook.default_conn_name, *, workflow_id: str | None = None) -> None:
        self.wr_conn_id = wr_conn_id
        self.workflow_id = workflow_id

    async def __aenter__(self) -> WRAsyncHook:
        self._shared = await SharedSession.join(self.wr_conn_id)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._shared.leave()

    async def trigger_run(self, workflow_id: str | None = None) -> TriggeredRun:
        """Start a run; see :meth:`WRHook.trigger_run`."""
        return await self.send(protocol.trigger_run(self.choose_workflow(workflow_id)))

    async def get_run(self, run_id: str) -> Run:
        """Return a run as it is now, finished or not."""
        return await self.send(protocol.get_run(run_id))

    async def update_component(
        self,
        component_id: str,
        *,
        workflow_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        position: Sequence[float] | None = None,
    ) -> None:
        """Change a component; see :meth:`WRHook.update_component`."""
        workflow_id = self.choose_workflow(workflow_id)
        call = protocol.update_component(workflow_id, component_id, config=config, name=name, position=position)
        await self.send(call)
        component_update.log_sent(call)

    async def stream_run(self, run_id: str) -> AsyncIterator[RunEvent]:
        """Yield a run's events as they come; see :meth:`WRHook.stream_run`."""
        events = EventStream()
        response = await self._open_stream(run_id, within=None)
        with closing(response):
            while chunk := await _achunk(run_id, response):
                for data in events.feed(chunk):
                    event = protocol.read_event(run_id, data)
                    if event is not None:
                        yield event
                        if event.is_terminal:
                            return

    async def wait_for_run(
        self, run_id: str, *, timeout: float | None = 300.0, on_event: OnEvent | None = None
    ) -> Run:
        """Wait until a run has ended; see :meth:`WRHook.wait_for_run`."""
        steps = waiting.wait(run_id, timeout=timeout, link=self.run_link(run_id))
        progress = Progress()
        stream: aiohttp.ClientResponse | None = None
        answer: Any = None
        try:
            while not isinstance(step := waiting.tell(steps, answer), Run):
                answer = None  # not kept meanwhile: it may be a large run
                try:
                    match step:
                        case OpenStream():
                            if stream is not None:
                                stream.close()
                            stream = await self._open_stream(run_id, within=step.within)
                        case ReadRun():
                            answer = await self._send_once(protocol.get_run(run_id), within=step.within)
                            progress.see(answer)
                        case FollowStream() if stream is not None:
                            follower = Follower(run_id, progress, on_event)
                            answer = await _afollow(stream, follower, within=step.within)
                        case Reconnect():
                            await self._shared.renew()
                        case Pause():
                            await asyncio.sleep(step.within)
                except WRError as error:
                    answer = error
            return step
        finally:
            if stream is not None:
                stream.close()

    def choose_workflow(self, workflow_id: str | None = None) -> str:
        """Return the workflow that a call is for; see :meth:`WRHook.choose_workflow`."""
        return protocol.choose_workflow(workflow_id, self.workflow_id, self._shared.endpoint.settings.workflow_id)

    def run_link(self, run_id: str) -> str | None:
        """Return the URL of a run's page; None when the connection has no ``run_url``."""
        return self._shared.endpoint.settings.run_link(run_id, self.workflow_id)

    async def send(self, call: Call[T]) -> T:
        """Make a call, and again where that can do no harm; see :meth:`WRHook.send`."""
        return await AsyncRetrying(**waiting.RETRYING)(self._send_once, call)

    async def _send_once(self, call: Call[T], *, within: float | None = None) -> T:
        """Send a call once; the whole answer must be there within ``within`` seconds, or the read timeout."""
        session = self._shared.http if call.triggers is None else aiohttp_session.new_session()
        until = None if within is None else time.monotonic() + within
        calls = self._shared.calls
        try:
            # So many calls at a time; whoever waits for its turn waits no longer than it may.
            await asyncio.wait_for(calls.acquire(), within if calls.locked() else None)
        except asyncio.TimeoutError as error:
            raise protocol.no_answer(call, error, sent=False, timed_out=True) from error
        try:
            seconds = _least(self._shared.endpoint.settings.read_timeout, until and until - time.monotonic())
            with _AiohttpErrors(call):
                async with timeout(seconds):
                    answer = await _aanswer(await self._request(session, call))
        finally:
            calls.release()
            if session is not self._shared.http:
                await session.close()
        return protocol.read_answer(call, answer)

    async def _open_stream(self, run_id: str, *, within: float | None) -> aiohttp.ClientResponse:
        call = protocol.stream_run(run_id)
        with _AiohttpErrors(call):
            async with timeout(_least(waiting.SILENCE, within)):
                response = await self._request(self._shared.http, call)
                if not 200 <= response.status < 300:
                    protocol.read_answer(call, await _aanswer(response))
        try:
            protocol.check_stream(call, response.headers)
        except WRError:
            response.close()
            raise
        return response

    async def _request(self, session: aiohttp.ClientSession, call: Call[Any]) -> aiohttp.ClientResponse:
        """Send a call, and return when the head of its answer is there. The caller bounds the time."""
        endpoint = self._shared.endpoint
        return await session.request(
            call.method,
            URL(endpoint.settings.base_url + call.path, encoded=True),
            data=call.body,
            headers=call.headers(endpoint.settings, now=time.time()),
            timeout=endpoint.timeout,
            allow_redirects=False,
            ssl=endpoint.tls,
            proxy=endpoint.proxy,
        )


async def _aanswer(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    with closing(response):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > protocol.body_limit(response.status):
                break
    return Answer(response.status, response.headers, bytes(body))


async def _achunk(run_id: str, response: aiohttp.ClientResponse) -> bytes:
    """Return the next bytes of a stream, none at its end. What the caller does in between is no silence of it."""
    with (
        _AiohttpErrors(protocol.stream_run(run_id)),
        Patience(response.content, silence=waiting.SILENCE, within=None),
    ):
        return await response.content.readany()


async def _afollow(response: aiohttp.ClientResponse, follower: Follower, *, within: float | None) -> StreamEnd:
    try:
        with (
            _AiohttpErrors(protocol.stream_run(follower.run_id)),
            Patience(response.content, silence=waiting.SILENCE, within=within) as patience,
        ):
            while (end := follower.feed(await response.content.readany())) is None:
                patience.renew()
            return end
    except WRError as error:
        return follower.end(error)
    finally:
        response.close()


class _AiohttpErrors:
    """A context that raises what ``aiohttp`` raises as the error that it means for a call."""

    __slots__ = ("_call",)

    def __init__(self, call: Call[Any]) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError)):
            raise _aiohttp_error(self._call, error) from error


def _aiohttp_error(call: Call[Any], error: BaseException) -> WRError:
    never_sent = isinstance(
        error,
        (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
            ValueError,
        ),
    )
    return protocol.no_answer(call, error, sent=not never_sent, timed_out=isinstance(error, asyncio.TimeoutError))


def _least(seconds: float, within: float | None) -> float:
    # To aiohttp, no time at all means no end.
    return seconds if within is None else max(0.001, min(seconds, within))
