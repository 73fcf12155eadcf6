"""The web pages, which update themselves: the list of runs and executions, a run, an execution."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timezone
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.requests import Request

    from airflow_provider_wr.sandbox.components import ComponentExecution
    from airflow_provider_wr.sandbox.engine import World
    from airflow_provider_wr.sandbox.runs import Run, Stage
    from airflow_provider_wr.sandbox.workflow import Component

MOST_ROWS = 200
"""Maximum number of runs, executions or items of a fan-out on a page."""

MOST_TEXT = 1000
"""Maximum characters of a value in a table."""

_STYLE = """
  :root { color-scheme: light dark; --line: #ddd; --quiet: #666;
    --good: #18794e; --bad: #c62a2f; --odd: #8a6d00; --busy: #0b62c4 }
  @media (prefers-color-scheme: dark) {
    :root { --line: #3a3a3a; --quiet: #a0a0a0; --good: #4cc38a; --bad: #ff8589; --odd: #e3b341; --busy: #79b8ff }
    a { color: var(--busy) }
  }
  body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 68rem; padding: 0 1rem }
  h1 { font-size: 1.4rem; margin: .5rem 0; overflow-wrap: anywhere }
  h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
  nav, .quiet { color: var(--quiet) }
  table { border-collapse: collapse; width: 100% }
  th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0 }
  th, td { text-align: left; vertical-align: top }
  th { color: var(--quiet); font-weight: 500 }
  td { overflow-wrap: anywhere }
  td:not(:first-child):not(:last-child) { white-space: nowrap; width: 1% }
  td:first-child { max-width: 20rem }
  code, pre { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }
  pre { margin: 0 }
  .module { color: var(--quiet); font-size: 12px; white-space: nowrap }
  .item { padding-left: 1.2rem }
  .COMPLETED { color: var(--good) } .FAILED { color: var(--bad) } .CANCELED { color: var(--odd) }
  .EXECUTING, .RUNNING { color: var(--busy) }
  @media (max-width: 44rem) {
    thead { display: none }
    tr { border-bottom: 1px solid var(--line); display: block; padding: .5rem 0 }
    td, td:not(:first-child):not(:last-child) {
      border: 0; display: grid; grid-template-columns: 6rem minmax(0, 1fr); max-width: none; padding: 0;
      white-space: normal; width: auto }
    td:empty { display: none }
    td::before { color: var(--quiet); content: attr(data-label) }
    .item { padding-left: 0 }
  }
"""

# The server renders and escapes all values; the script only replaces the page content.
_SCRIPT = """
  const timer = setInterval(async () => {
    const main = document.querySelector("main");
    if (!main.dataset.live) return clearInterval(timer);
    const text = await fetch(location.href).then(answer => answer.text(), () => "");
    const newer = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    if (newer) main.replaceWith(newer);
  }, 1000);
"""

_PAGE = Template(f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title - White Rabbit sandbox</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
<main data-live="$live">
$main
</main>
<script>{_SCRIPT}</script>
</html>
""")


def _hash(text: str) -> str:
    """Return the source expression that allows an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)


class Html(str):
    """Rendered HTML; `tag` escapes every other text."""

    __slots__ = ()


def tag(name: str, *content: object, **attributes: str) -> Html:
    """Render an element. In names of attributes, a trailing `_` is removed and `_` means `-`."""
    shown = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{shown}>{_inner(content)}</{name}>")


def _inner(content: Iterable[object]) -> Html:
    return Html("".join(each if isinstance(each, Html) else escape(str(each)) for each in content))


def table(columns: list[str], rows: Iterable[list[object]]) -> Html:
    """Render a table; on a phone, each cell is labeled with its column."""
    head = tag("thead", tag("tr", *(tag("th", column) for column in columns)))
    body = (
        tag("tr", *(tag("td", cell, data_label=name) for name, cell in zip(columns, row, strict=True)))
        for row in rows
    )
    return tag("table", head, tag("tbody", *body))


async def index(request: Request) -> Response:
    world = _world(request)
    runs = [moving.subject for moving in world.engine.runs.values()]
    executions = list(world.executions)
    components = world.workflow.components.values()
    return _page(
        "Runs",
        True,
        tag("h1", "White Rabbit sandbox"),
        tag("p", "Newest first, times in UTC.", class_="quiet"),
        tag("h2", f"Runs of “{world.workflow.name}”"),
        *_listed(["Run", "Status", "Stages", "Credits", "Started", "Took"], runs, _run_row),
        tag("h2", "Components that run alone"),
        *_listed(
            ["Execution", "Status", "Attempts", "Credits", "Started", "Took"],
            executions,
            _execution_row,
        ),
        tag("h2", f"Components of “{world.workflow.name}” as they are now"),
        table(
            ["Component", "Config"],
            ([_name(component), _json(component.config)] for component in components),
        ),
    )


async def run_page(request: Request) -> Response:
    run_id = request.path_params["run_id"]
    moving = _world(request).engine.runs.get(run_id)
    if moving is None:
        return _missing(f"No run {run_id}")
    run = moving.subject
    detail = run.detail()
    reason = f" ({run.cancel_reason})" if run.cancel_reason else ""
    return _page(
        "Run",
        not run.is_terminal,
        tag("h1", f"Run {run.id}"),
        tag(
            "p",
            tag("strong", run.status, class_=run.status),
            f"{reason} · {_credits(detail['totalUsage'])} · {detail['pendingStageCount']} stages pending, "
            f"{detail['failedStageCount']} failed",
        ),
        _times(run),
        table(
            ["Component", "Status", "Attempt", "Credits", "Started", "Took", "Output"],
            _stage_rows(run.stages),
        ),
    )


async def execution_page(request: Request) -> Response:
    execution_id = request.path_params["execution_id"]
    moving = _world(request).executions.get(execution_id)
    if moving is None:
        return _missing(f"No execution {execution_id}")
    execution = moving.subject
    record = execution.record()
    values = {key: getattr(execution, key) for key in ("input", "config", "output", "error")}
    if record["callback"]["url"]:
        values["callback"] = record["callback"]
    attempts = f"attempt {execution.attempt} of at most {execution.attempts}"
    return _page(
        "Execution",
        not execution.is_terminal,
        tag("h1", f"Execution {execution.id}"),
        tag(
            "p",
            tag("strong", execution.status, class_=execution.status),
            f" · {execution.module.module} · {attempts} · {_credits(execution.total_usage)}",
        ),
        _times(execution),
        table(["Field", "Value"], ([name.capitalize(), _pretty(value)] for name, value in values.items())),
    )


def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


def _page(title: str, live: bool, *content: Html, status: int = 200) -> Response:
    """Render a page; a live one updates itself every second."""
    nav = Html("") if title == "Runs" else tag("nav", tag("a", "All runs and executions", href="/"))
    page = _PAGE.substitute(title=title, live="yes" if live else "", main=_inner((nav, *content)))
    return HTMLResponse(page, status, {"Content-Security-Policy": _POLICY})


def _missing(words: str) -> Response:
    return _page("Not found", False, tag("h1", words), status=404)


def _listed(columns: list[str], all_: list[Any], row: Any) -> Iterator[Html]:
    """Yield a table of the newest, newest first."""
    if not all_:
        yield tag("p", "None yet.", class_="quiet")
        return
    yield table(columns, map(row, reversed(all_[-MOST_ROWS:])))
    if len(all_) > MOST_ROWS:
        yield tag("p", f"and {len(all_) - MOST_ROWS} older ones", class_="quiet")


def _run_row(run: Run) -> list[object]:
    detail = run.detail()
    ended = len(run.stages) - detail["pendingStageCount"]
    link = tag("a", tag("code", run.id), href=f"/runs/{run.id}")
    return [link, _status(run.status), f"{ended} of {len(run.stages)}", detail["totalUsage"], *_when(run)]


def _execution_row(execution: ComponentExecution) -> list[object]:
    link = tag("a", tag("code", execution.id), href=f"/executions/{execution.id}")
    name = tag("div", link, _module(execution.module.module))
    return [name, _status(execution.status), execution.attempt, execution.total_usage, *_when(execution)]


def _stage_rows(stages: list[Stage]) -> Iterator[list[object]]:
    """Yield the stages in the order of the steps, the items of a fan-out right after it."""
    children: dict[str, list[Stage]] = {}
    bodies = {stage.component.body.id for stage in stages if stage.component.body}
    for stage in stages:
        if stage.component.id in bodies:
            children.setdefault(stage.component.id, []).append(stage)
    for stage in stages:
        if stage.component.id in bodies:
            continue
        yield _stage_row(stage)
        if body := stage.component.body:
            mine = children.get(body.id, [])
            yield from (_stage_row(item, "item") for item in mine[:MOST_ROWS])
            if len(mine) > MOST_ROWS:
                yield [_name(body, "item"), f"and {len(mine) - MOST_ROWS} more", *[""] * 5]


def _stage_row(stage: Stage, class_: str = "") -> list[object]:
    begun = stage.dispatched_at
    result = stage.output if stage.error is None else stage.error
    return [
        _name(stage.component, class_),
        _status(stage.status),
        stage.attempt if begun else "",
        stage.credit_usage,
        _time(begun, "%H:%M:%S") if begun else "",
        _seconds(begun, stage.updated_at if stage.is_terminal else None) if begun else "",
        "" if result is None else _json(result),
    ]


def _name(component: Component, class_: str = "") -> Html:
    return tag("div", component.name, _module(component.module), class_=class_)


def _module(module: str) -> Html:
    return tag("div", module, class_="module")


def _credits(number: int) -> str:
    return f"{number} credit{'' if number == 1 else 's'}"


def _status(status: str) -> Html:
    return tag("span", status, class_=status)


def _times(subject: Run | ComponentExecution) -> Html:
    started, took = _when(subject)
    words = "took" if subject.is_terminal else "running for"
    return tag("p", "Started ", started, f" UTC, {words} {took}", class_="quiet")


def _when(subject: Run | ComponentExecution) -> tuple[Html, str]:
    """Return the start and the duration so far."""
    end = subject.updated_at if subject.is_terminal else None
    return _time(subject.created_at, "%Y-%m-%d %H:%M:%S"), _seconds(subject.created_at, end)


def _time(written: str, form: str) -> Html:
    return tag("time", f"{_parsed(written):{form}}", datetime=written)


def _seconds(start: str, end: str | None) -> str:
    until = _parsed(end) if end else datetime.now(timezone.utc)
    return f"{(until - _parsed(start)).total_seconds():.1f} s"


def _parsed(written: str) -> datetime:
    return datetime.fromisoformat(written.replace("Z", "+00:00"))


def _json(value: Any) -> Html:
    text = json.dumps(value, ensure_ascii=False)
    return tag("code", text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…")


def _pretty(value: Any) -> Html:
    return tag("pre", json.dumps(value, ensure_ascii=False, indent=2))


ROUTES = [
    Route("/", index, methods=["GET"]),
    Route("/runs", index, methods=["GET"]),
    Route("/runs/{run_id}", run_page, methods=["GET"]),
    Route("/executions/{execution_id}", execution_page, methods=["GET"]),
]
