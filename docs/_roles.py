"""For the API reference: turn what docstrings have for Sphinx, roles such as ``:class:`X```, into Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: Objects that have a place in the reference, by their last name.
MODULES = {
    "WRHook": "hooks.wr",
    "WRAsyncHook": "hooks.wr",
    "WRRunTrigger": "triggers.wr",
    "WRRunSensor": "sensors.wr",
    "Run": "models",
    "RunEvent": "models",
    "RunStage": "models",
    "RunStatus": "models",
    "StageStatus": "models",
    "TriggeredRun": "models",
}

_TREE = re.compile(r"^(?:\w+\n)?(?:[├└│].*(?:\n|$))+", re.MULTILINE)
_ROLE = re.compile(r":(?:class|meth|mod|func):`~?([\w.]+)`")


def _markdown(match: re.Match[str]) -> str:
    name = match[1].removeprefix("airflow_provider_wr.")
    short = name if name.startswith("WRHook.") else name.rpartition(".")[2]
    owner = short.partition(".")[0]
    module = MODULES.get(owner) or (
        "exceptions" if re.fullmatch(r"WR\w*Error", owner) else None
    )
    return (
        f"[`{short}`][airflow_provider_wr.{module}.{short}]"
        if module
        else f"`{short}`"
    )


class Roles(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = _TREE.sub(
                lambda tree: f"```text\n{tree[0].rstrip()}\n```\n",
                obj.docstring.value,
            )
            obj.docstring.value = _ROLE.sub(_markdown, text)
