"""The pages show runs and executions, escaped, and need no key."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_wr.sandbox import page as pages

if TYPE_CHECKING:
    from .api import Api

SCRIPT = "<script>alert('&')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"
WAIT = 10_000


def page(api: Api, path: str) -> requests.Response:
    return requests.get(f"{api.sandbox.url}{path}", timeout=10)


def rows(text: str) -> list[list[str]]:
    """Return the texts of the cells of all tables, without their heads."""
    found = (
        re.findall("<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall("<tr>(.*?)</tr>", text, re.DOTALL)
    )
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in cells] for cells in found if cells]


def test_a_run_that_keeps_running(api: Api) -> None:
    text = page(api, f"/runs/{api.trigger()}").text
    assert '<strong class="EXECUTING">' in text
    assert 'data-live="yes"' in text
    assert api.sandbox.api_key not in text


def test_a_run_that_ended_with_hostile_values(api: Api) -> None:
    api.configure({"Quote": {"name": SCRIPT}, "Balance": {"cancelRun": SCRIPT}})
    api.update("Quote", name=SCRIPT)
    run_id = api.trigger()
    api.finish(run_id)
    text = page(api, f"/runs/{run_id}").text
    assert '<strong class="CANCELED">' in text
    assert 'data-live=""' in text
    assert text.count(ESCAPED) == 3, "the name, the output and the reason"
    assert SCRIPT not in text
    assert SCRIPT not in page(api, "/").text


def test_an_error_is_shown(api: Api) -> None:
    api.configure({"Quote": {"failWith": SCRIPT}})
    run_id = api.trigger()
    api.finish(run_id)
    assert ESCAPED in page(api, f"/runs/{run_id}").text


def test_stages_have_names_and_times_and_stand_in_their_order(api: Api) -> None:
    api.configure({"Suppliers": {"count": 2}, "Payment": {"seconds": 0.2}})
    run_id = api.trigger()
    api.finish(run_id)
    stages = rows(page(api, f"/runs/{run_id}").text)
    assert [row[0] for row in stages] == [
        "QuoteHTTP_REQUEST",
        "BalanceGET_EVM_ACCOUNT_BALANCE",
        "SuppliersFOR_EACH",
        *["PaymentSEND_EVM_TRANSACTION"] * 2,
        "NotifyHTTP_REQUEST",
    ]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", row[4]) for row in stages)
    assert re.fullmatch(r"0\.[2-9] s", stages[3][5])


def test_a_stage_that_has_not_begun_has_no_time(api: Api) -> None:
    api.configure({"Quote": {"failWith": "no"}})
    run_id = api.trigger()
    api.finish(run_id)
    assert rows(page(api, f"/runs/{run_id}").text)[1] == [
        *("BalanceGET_EVM_ACCOUNT_BALANCE", "CANCELED", "", "0", "", "", "")
    ]


def test_a_large_run_makes_no_large_page(api: Api) -> None:
    api.configure({"Quote": {"memo": "x" * 10_000}, "Suppliers": {"count": pages.MOST_ROWS + 50}})
    run_id = api.trigger()
    api.finish(run_id)
    text = page(api, f"/runs/{run_id}").text
    assert "and 50 more" in text
    assert len(rows(text)) == 4 + pages.MOST_ROWS + 1
    assert len(text) < 200_000
    assert "x" * pages.MOST_TEXT not in text


@pytest.mark.parametrize("path", ["/", "/runs"])
def test_runs_are_listed_newest_first(api: Api, path: str) -> None:
    assert page(api, path).text.count("None yet.") == 2
    api.configure({})
    first, second = api.trigger(), api.trigger()
    for run_id in (first, second):
        api.finish(run_id)
    text = page(api, path).text
    (newer, older), components = rows(text)[:2], rows(text)[2:]
    assert (newer[0], older[0]) == (second, first)
    assert newer[1:4] == ["COMPLETED", "9 of 9", "14"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", newer[4])
    assert re.fullmatch(r"\d+\.\d s", newer[5])
    assert f'href="/runs/{second}"' in text
    assert 'data-live="yes"' in text
    assert api.sandbox.api_key not in text
    assert components[0] == ["QuoteHTTP_REQUEST", '{"seconds": 0}'], "the configs as they are now"


def test_executions_are_listed_too(api: Api) -> None:
    execution_id = api.execute(config={"failWith": "no"}, attempts=2, waitForMs=WAIT).json()["id"]
    text = page(api, "/").text
    assert rows(text)[0][:4] == [f"{execution_id}RANDOM_UUID", "FAILED", "2", "1"]
    assert f'href="/executions/{execution_id}"' in text


def test_a_long_list_is_cut(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_ROWS", 2)
    ids = [api.execute().json()["id"] for _ in range(5)]
    text = page(api, "/").text
    assert [row[0] for row in rows(text)[:2]] == [f"{id_}RANDOM_UUID" for id_ in (ids[4], ids[3])]
    assert "and 3 older ones" in text


def test_an_execution_has_a_page(api: Api) -> None:
    api.sandbox.control.steer("API_CALL", {"hold": True})
    config = {"apiUrl": SCRIPT, "method": "GET"}
    execution_id = api.execute("API_CALL", {}, config, attempts=2).json()["id"]
    text = page(api, f"/executions/{execution_id}").text
    assert '<strong class="EXECUTING">' in text
    assert 'data-live="yes"' in text
    assert "attempt 1 of at most 2" in text
    assert ESCAPED in text
    assert SCRIPT not in text
    assert api.sandbox.api_key not in text
    assert [row[0] for row in rows(text)] == ["Input", "Config", "Output", "Error"]


def test_the_page_of_an_execution_shows_its_error_and_its_callback(api: Api) -> None:
    options = {"callbackUrl": "http://127.0.0.1:1/", "callbackSecret": "s3cret", "waitForMs": WAIT}
    execution_id = api.execute(config={"failWith": {"why": SCRIPT}}, **options).json()["id"]
    text = page(api, f"/executions/{execution_id}").text
    values = {row[0]: row[1] for row in rows(text)}
    assert SCRIPT in values["Error"]
    assert SCRIPT not in text
    assert '"url": "http://127.0.0.1:1/"' in values["Callback"]
    assert "s3cret" not in text


@pytest.mark.parametrize(("path", "words"), [("/runs/<b>", "No run"), ("/executions/<b>", "No execution")])
def test_what_is_not_there(api: Api, path: str, words: str) -> None:
    response = page(api, path)
    assert response.status_code == 404
    assert f"{words} &lt;b&gt;" in response.text


def test_a_page_runs_no_script_but_its_own(api: Api) -> None:
    response = page(api, "/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for name in ("style", "script"):
        (text,) = re.findall(f"<{name}>(.*?)</{name}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
