"""The web page of a run, which updates itself."""

from __future__ import annotations

import json
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_wr.sandbox.engine import World

# The server renders and escapes all values; the script only replaces the page content.
_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>White Rabbit sandbox</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top }
  td:last-child { font-family: monospace; overflow-wrap: anywhere }
  .COMPLETED { color: #18794e } .FAILED { color: #c62a2f } .CANCELED { color: #8a6d00 }
</style>
<main data-live="$live">$main</main>
<script>
  const timer = setInterval(async () => {
    const main = document.querySelector("main");
    if (!main.dataset.live) return clearInterval(timer);
    const text = await (await fetch(location.href)).text();
    main.replaceWith(new DOMParser().parseFromString(text, "text/html").querySelector("main"));
  }, 1000);
</script>
</html>
""")


async def run_page(request: Request) -> Response:
    world: World = request.app.state.world
    run_id = request.path_params["run_id"]
    moving = world.engine.runs.get(run_id)
    if moving is None:
        return HTMLResponse(_PAGE.substitute(live="", main=f"<h1>No run {escape(run_id)}</h1>"), 404)
    run = moving.subject
    return HTMLResponse(_PAGE.substitute(live="" if run.is_terminal else "yes", main=_main(run.detail())))


def _main(run: dict[str, Any]) -> str:
    reason = f" ({escape(run['cancelReason'])})" if run["cancelReason"] else ""
    return f"""
<h1>Run {escape(run["id"])}</h1>
<p><strong class="{run["status"]}">{run["status"]}</strong>{reason} &middot;
{run["totalUsage"]} credits &middot;
{run["pendingStageCount"]} stages pending, {run["failedStageCount"]} failed</p>
<table>
<tr><th>Module<th>Status<th>Attempt<th>Credits<th>Output or error</tr>
{"".join(map(_row, run["runStages"]))}
</table>
"""


def _row(stage: dict[str, Any]) -> str:
    result = stage["error"] or stage["output"]
    text = "" if result is None else json.dumps(result, ensure_ascii=False)
    return (
        f'<tr><td>{stage["module"]}<td class="{stage["status"]}">{stage["status"]}'
        f"<td>{stage['executionAttempt']}<td>{stage['creditUsage']}<td>{escape(text)}</tr>\n"
    )


ROUTES = [Route("/runs/{run_id}", run_page, methods=["GET"])]
