"""What was seen, kept in ``results.json``, and its tables in ``docs/scale.md``."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def write(name: str, rows: list[dict[str, str]], *, add: bool = False) -> None:
    """
    Keep the rows of a table, and put it into the page.

    :param add: leave the rows as they are that are not among these, by their first cell
    """
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    table = {next(iter(row.values())): row for row in (kept.get(name, []) if add else [])}
    table.update({next(iter(row.values())): row for row in rows})
    kept[name] = list(table.values())
    FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    lines = [list(kept[name][0]), ["---"] * len(kept[name][0]), *(list(row.values()) for row in kept[name])]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = PAGE.read_text().partition(begin)
    if not found:
        raise ValueError(f"{PAGE} has no place for the table {name}")
    PAGE.write_text(f"{before}{begin}\n{text}\n\n{end}{rest.partition(end)[2]}")
