"""Write the tables and the chart of ``docs/performance.md`` from the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"

CLIENTS = {
    "bare": "bare asyncio sockets",
    "aiohttp_alone": "`aiohttp` alone",
    "shared": "`WRRunTrigger`",
    "own": "`WRRunTrigger`, a session for each",
    "polling": "a trigger that polls every 5 s",
    "threads": "requests + sseclient-py, a thread for each",
}


def write(results: dict[str, Any]) -> None:
    """Put each table between its markers in the page, and draw the chart."""
    page = DOCS / "performance.md"
    text = page.read_text()
    for name, table in _tables(results).items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        if found:
            text = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text)
    if "waiting" in results:
        _chart(results["waiting"])


def _tables(results: dict[str, Any]) -> dict[str, str]:
    tables = {}
    if "machine" in results:
        seen = results["machine"]
        tables["machine"] = (
            f"Measured on {seen['cores']} cores and {seen['memory_gib']} GiB, Python {seen['python']}, "
            f"Airflow {seen['airflow']}, aiohttp {seen['aiohttp']}."
        )
    if "waiting" in results:
        heads = ["", "runs", "CPU µs/event", "kB/run", "p50 ms", "p99 ms", "connections/run", "requests/run"]
        tables["waiting"] = _table(
            heads, [[CLIENTS[row["client"]], *list(row.values())[1:]] for row in results["waiting"]]
        )
    for name, heads in (
        ("triggerer", ["seen", "ms"]),
        ("notice", ["mode", "p50 s", "most s"]),
        ("parse", ["import", "ms added", "modules added"]),
        ("calls", ["client", "requests in an hour"]),
    ):
        if name in results:
            tables[name] = _table(heads, [list(row.values()) for row in results[name]])
    return tables


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    cells = [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _chart(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6))
    titles = {
        "cpu_us": "CPU, µs per event",
        "memory_kb": "memory, kB per run",
        "p99_ms": "delay of the end, p99, ms",
    }
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for client, label in CLIENTS.items():
            points = [(row["runs"], row[key]) for row in rows if row["client"] == client]
            axis.plot(*zip(*points, strict=True), marker="o", label=label.replace("`", ""))
        axis.set(title=title, xlabel="runs waited for", xscale="log", yscale="log")
        axis.set_xticks(
            sorted({row["runs"] for row in rows}), labels=sorted({row["runs"] for row in rows}), minor=False
        )
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    (DOCS / "img").mkdir(exist_ok=True)
    figure.savefig(DOCS / "img" / "performance.svg", metadata={"Date": None})
