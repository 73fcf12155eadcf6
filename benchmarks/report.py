"""Write the tables of ``docs/performance.md`` from the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.turns import show

DOCS = Path(__file__).parents[1] / "docs"

NAMES = {
    "bare": "bare asyncio sockets",
    "aiohttp_alone": "`aiohttp` alone",
    "ours": "`WRRunTrigger`",
    "polling": "a trigger that polls every 5 s",
    "http2": "`httpx` over HTTP/2",
    "start": "a triggerer starts",
    "cut": "all streams are cut",
    True: "TLS",
    False: "plain",
}

#: The columns of each table: the key in the results, and what the page calls it.
TABLES = {
    "waiting": {
        "client": "",
        "tls": "",
        "runs": "runs",
        "cpu_us": "CPU µs/event",
        "end_us": "CPU µs/end",
        "memory_kb": "kB/run",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "requests": "requests/run",
    },
    "reading": {"what": "", "ratio": "CPU, ratio", "ms": "CPU, ms"},
    "large": {
        "block_ms": "longest block, ms",
        "block_large_ms": "with the large run, ms",
        "more_ms": "more, ms",
        "more_without_gc_ms": "more, without Python's garbage collector, ms",
    },
    "instructions": {
        "client": "",
        "wait_m": "a wait, millions",
        "wait_ratio": "against bare",
        "end_m": "its end, millions",
        "end_ratio": "against bare",
    },
    "idle": {"client": "", "cpu_us": "CPU µs/heartbeat", "growth_kb": "growth of memory in an hour, kB"},
    "storm": {
        "what": "",
        "back_s": "s until all are open",
        "handshakes": "handshakes",
        "handshakes_s": "most in a second",
        "requests": "requests",
        "requests_s": "most in a second",
        "block_ms": "longest block, ms",
        "block_without_gc_ms": "without Python's garbage collector, ms",
    },
    "sequence": {"waits": "waits so far", "memory_kb": "resident memory, kB"},
    "http2": {"client": "", "cpu_us": "CPU µs/event", "memory_kb": "kB/run"},
    "triggerer": {"seen": "seen", "value": "ms"},
    "notice": {"mode": "mode", "p50_s": "p50 s", "most_s": "most s"},
    "parse": {"import": "import", "added_ms": "ms added", "added_modules": "modules added"},
    "worker": {"what": "", "ms": "ms", "modules": "modules imported"},
    "calls": {"client": "client", "requests": "requests in an hour"},
}


def write(results: dict[str, Any]) -> None:
    """Put each table between its markers in the page."""
    page = DOCS / "performance.md"
    text = page.read_text()
    for name, table in _tables(results).items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        if found:
            text = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text)


def _tables(results: dict[str, Any]) -> dict[str, str]:
    tables = {}
    if "machine" in results:
        seen = results["machine"]
        tables["machine"] = (
            f"Measured on {seen['cores']} cores and {seen['memory_gib']} GiB, Python {seen['python']}, "
            f"Airflow {seen['airflow']}, aiohttp {seen['aiohttp']}."
        )
    for name, columns in TABLES.items():
        if name in results:
            rows = [[_cell(row[key]) for key in columns] for row in results[name]]
            tables[name] = _table(list(columns.values()), rows)
    return tables


def _cell(value: Any) -> str:
    if isinstance(value, str | bool):
        return NAMES.get(value, str(value))
    return show(value)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
