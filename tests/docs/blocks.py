"""The fenced code blocks of the pages, and the console commands in them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_2_PLUS
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language and its text."""

    path: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def tokens(page: Path) -> list[Token]:
    """Return the parsed Markdown tokens of a page."""
    return MarkdownIt().enable("table").parse(page.read_text())


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, including indented ones, which have no language."""
    found = []
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            line = token.map[0] + 1 if token.map else 0
            language = token.info.split(maxsplit=1)[0] if token.info.strip() else "none"
            found.append(Block(page, line, language, token.content))
    return found


def portable(code: str) -> str:
    """Return the code of a page with the imports that the pages ask for on the Airflow that is here."""
    if not AIRFLOW_V_3_0_PLUS:
        code = code.replace("from airflow.sdk import", "from airflow.providers.common.compat.sdk import")
    if not AIRFLOW_V_3_2_PLUS:
        code = code.replace("from airflow.dag_processing.dagbag import", "from airflow.models.dagbag import")
    return code


@dataclass(frozen=True)
class Command:
    """A command, and its output on the page; empty without one."""

    text: str
    output: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text.replace("\\\n", " "), comments=True)


def commands(block: Block) -> list[Command]:
    """
    Return the commands of a console block, without comments.

    Where the block has ``$`` prompts, what follows a command without one is its output.
    """
    lines = block.code.splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    found: list[list[str]] = []
    rest = iter(lines)
    for line in rest:
        if prompted and not line.startswith("$ "):
            found[-1][1] += f"{line}\n"
        else:
            found.append([_whole(line.removeprefix("$ ") if prompted else line, rest), ""])
    return [Command(*each) for each in found if shlex.split(each[0], comments=True)]


def _whole(line: str, rest: Iterator[str]) -> str:
    """Return a command with its continuation lines, after an open quote or a trailing backslash."""
    while True:
        try:
            shlex.split(line, comments=True)
        except ValueError:
            line += "\n" + next(rest)
        else:
            return line
