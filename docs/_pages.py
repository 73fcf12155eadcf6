"""For MkDocs: pages made of files beside the docs, links that lead to them, and the version at the foot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

from airflow_provider_wr import __version__

ROOT = Path(__file__).parents[1]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version."""
    config.copyright = f"airflow-provider-wr {__version__}"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each example DAG, and one for the changes."""
    for path in (ROOT / "example_dags").glob("*.py"):
        text = f"# {path.name}\n\n```python\n{path.read_text()}```\n"
        page = File.generated(
            config, f"example_dags/{path.stem}.md", content=text
        )
        page.inclusion = InclusionLevel.NOT_IN_NAV  # may be missing there
        files.append(page)
    changes = re.sub(r"\]\(docs/", "](", (ROOT / "CHANGELOG.md").read_text())
    files.append(File.generated(config, "changes.md", content=changes))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let the links, which lead to the files where the docs are read beside them, lead to the pages."""
    markdown = re.sub(
        r"\]\(\.\./(example_dags/\w+)\.py\)", r"](\1.md)", markdown
    )
    return markdown.replace("](../CHANGELOG.md)", "](changes.md)")
