"""
Run the benchmarks, print their tables, and write the results.

``python -m benchmarks`` runs all but ``http2``, which needs nginx, and ``instructions`` only where Valgrind is
installed; ``python -m benchmarks calls`` runs one.
Results go to ``benchmarks/results.json``; tables go into ``docs/performance.md``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import import_module, metadata
from pathlib import Path
from shutil import which
from typing import Any

from benchmarks import report

NAMES = (
    *("waiting", "reading", "large", "idle", "storm", "sequence", "triggerer", "notice", "parse"),
    *("worker", "calls"),
    *(["instructions"] if which("valgrind") else []),
)

RESULTS = Path(__file__).with_name("results.json")


def machine() -> dict[str, Any]:
    """Describe the machine and the versions."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "airflow": metadata.version("apache-airflow"),
        "aiohttp": metadata.version("aiohttp"),
    }


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or NAMES:
        print(f"\n{name}")
        results[name] = import_module(f"benchmarks.{name}").main()
    results["machine"] = machine()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    report.write(results)


if __name__ == "__main__":
    main()
