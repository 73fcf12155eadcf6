"""Ask a client in another process what it has seen, between the lines that Airflow logs."""

from __future__ import annotations

import json
import subprocess
from typing import Any

_SIGN = "seen: "


def ask(process: subprocess.Popen[str], question: str) -> Any:
    """Send a line, and return the answer; see :func:`answer`."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    while not (line := process.stdout.readline()).startswith(_SIGN):
        if not line:
            raise RuntimeError("the client has died")
    return json.loads(line.removeprefix(_SIGN))


def answer(seen: Any) -> None:
    """Answer the line that was read."""
    print(f"{_SIGN}{json.dumps(seen)}", flush=True)
