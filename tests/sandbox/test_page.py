"""The page of a run shows it, escaped, and needs no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from .api import Api

SCRIPT = "<script>alert('&')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"


def page(api: Api, run_id: str) -> requests.Response:
    return requests.get(f"{api.sandbox.url}/runs/{run_id}", timeout=10)


def test_a_run_that_keeps_running(api: Api) -> None:
    text = page(api, api.trigger()).text
    assert '<strong class="EXECUTING">' in text
    assert 'data-live="yes"' in text
    assert api.sandbox.api_key not in text


def test_a_run_that_ended_with_hostile_values(api: Api) -> None:
    api.configure({"Quote": {"name": SCRIPT}, "Balance": {"cancelRun": SCRIPT}})
    run_id = api.trigger()
    api.finish(run_id)
    text = page(api, run_id).text
    assert '<strong class="CANCELED">' in text
    assert 'data-live=""' in text
    assert text.count(ESCAPED) == 2
    assert SCRIPT not in text


def test_an_error_is_shown(api: Api) -> None:
    api.configure({"Quote": {"failWith": SCRIPT}})
    run_id = api.trigger()
    api.finish(run_id)
    assert ESCAPED in page(api, run_id).text


def test_an_unknown_run(api: Api) -> None:
    response = page(api, "<b>")
    assert response.status_code == 404
    assert "No run &lt;b&gt;" in response.text
