"""Proxies from the environment, with both transports."""

from __future__ import annotations

import pytest
from servers import RUN_ID, Peer, RawServer, Request, run

from airflow_provider_wr.exceptions import WRConnectionError
from hooks.both import AnyHook
from hooks.conftest import Connect

READ = f"/v1/sdk/workflows/executions/{RUN_ID}"


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def completed(request: Request, peer: Peer) -> None:
    peer.answer(200, run("COMPLETED"))


def test_plain_http_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, connect: Connect, hook: AnyHook
) -> None:
    with RawServer(completed) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        connect("http://wr.invalid", allow_http=True)
        assert hook.get_run(RUN_ID).status == "COMPLETED"
        assert [request.target for request in proxy.requests] == [f"http://wr.invalid{READ}"]


def test_a_host_of_no_proxy_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, connect: Connect, hook: AnyHook
) -> None:
    with RawServer(completed) as api, RawServer(completed) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        connect(api.url)
        assert hook.get_run(RUN_ID).status == "COMPLETED"
        assert [request.target for request in api.requests] == [READ]
        assert proxy.requests == []


def test_https_asks_the_proxy_for_a_tunnel_and_without_one_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, connect: Connect, hook: AnyHook
) -> None:
    """A trigger without a tunnel certainly started nothing: no WRTriggerUnknownError."""
    with RawServer(lambda request, peer: peer.answer(403, {"message": "no"})) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        connect("https://wr.invalid")
        with pytest.raises(WRConnectionError, match="cannot connect"):
            hook.trigger_run()
        assert {(request.method, request.target) for request in proxy.requests} == {("CONNECT", "wr.invalid:443")}
        assert all("x-api-key" not in request.headers for request in proxy.requests)
