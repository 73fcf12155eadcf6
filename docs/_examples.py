"""For MkDocs: a page for each example DAG, which lie beside the docs, and the way of the links to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

EXAMPLES = Path(__file__).parents[1] / "example_dags"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path in EXAMPLES.glob("*.py"):
        text = f"# {path.name}\n\n```python\n{path.read_text()}```\n"
        page = File.generated(config, f"example_dags/{path.stem}.md", content=text)
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let the links, which lead to the files where the docs are read beside them, lead to the pages."""
    return re.sub(r"\]\(\.\./(example_dags/\w+)\.py\)", r"](\1.md)", markdown)
