"""Whether a retry may start another run. By default, only if that cannot pay for anything twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from airflow_provider_wr.api.executions import ComponentExecution
from airflow_provider_wr.api.models import Run, RunStage, RunStatus, StageStatus
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import (
    WRComponentFailedError,
    WRCreditLimitError,
    WRRunEndedError,
    run_ended_error,
)
from airflow_provider_wr.waiting import credit_limit

#: Modules without side effects: those that only read, and those that White Rabbit's engine runs itself (see its
#: documentation of workflow components). All others are assumed to have some.
HARMLESS_MODULES = ("GET_*", "FOR_EACH", "ARRAY_BUILDER", "STRING_CONSTANT", "ON_API_CALLED")

#: Maximum number of stage groups in an error, and of outputs in a group.
MAX_GROUPS = 10
MAX_OUTPUTS = 5

NOT_DISPATCHED = (StageStatus.CREATED, StageStatus.CANCELED)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    Decides whether a task is retried after a run that ended FAILED or CANCELED, or a component that failed.

    :param retry_run: "if_harmless", "always" or "never".
    :param harmless_modules: modules without side effects, in addition to ``HARMLESS_MODULES``; ``*`` is a
        wildcard.
    :param show_outputs: whether errors may show the outputs of stages.
    :param max_credits: credits above which a run is an error, whatever its status; None for none.
    :param link_to: returns the URL of a run's page, or None.
    """

    retry_run: str
    harmless_modules: Sequence[str] = ()
    show_outputs: bool = True
    max_credits: float | None = None
    link_to: Callable[[Any], str | None] = lambda ended: None

    def error(
        self, ended: Run | ComponentExecution
    ) -> WRRunEndedError | WRComponentFailedError | WRCreditLimitError | None:
        """
        Return the error to raise; it is ``retryable`` if a retry may start another run.

        None if it ended well.
        """
        link = self.link_to(ended)
        if credit_limit.exceeds(ended, self.max_credits):
            return credit_limit.ended_error(ended, self.max_credits, link)
        if ended.status == RunStatus.COMPLETED:
            return None
        advice = self._advice(ended)
        if isinstance(ended, ComponentExecution):
            return WRComponentFailedError(ended, retryable=not advice, advice=advice, link=link)
        return run_ended_error(ended, retryable=not advice, advice=advice, link=link)

    def _advice(self, ended: Run | ComponentExecution) -> str:
        """Return why there is no retry, and how to go on; empty if a retry may start another."""
        noun = "execution" if isinstance(ended, ComponentExecution) else "run"
        go_on = f"Fix the cause, then clear the task to start a new {noun}."
        if self.retry_run == "always":
            return ""
        if self.retry_run == "never":
            return f"No retry: retry_run='never'. {go_on}"
        if isinstance(ended, ComponentExecution):
            if self._is_harmless(ended.module):
                return ""
            why = f"{ended.label} may have had an effect, which a new execution would repeat."
            return f"No retry: {why}\n{go_on}{_HOW_TO_RETRY}"
        effects = self._effects(ended)
        if effects is None:
            return f"No retry: the run does not show which of its stages were started. {go_on}"
        if not effects:
            return ""
        lines = ["No retry: these stages may have had an effect, which a new run would repeat:"]
        groups = [list(group) for _, group in groupby(sorted(effects, key=_by_module), key=_by_module)]
        lines += [f"  {self._line(group)}" for group in groups[:MAX_GROUPS]]
        if len(groups) > MAX_GROUPS:
            lines.append(f"  and {len(groups) - MAX_GROUPS} more modules")
        return "\n".join([*lines, go_on + _HOW_TO_RETRY])

    def _effects(self, run: Run) -> list[RunStage] | None:
        """Return the stages that may have had side effects; None if unknown."""
        if not run.stages_known or (run.total_usage and not run.stages):
            return None
        return [stage for stage in run.stages if _was_dispatched(stage) and not self._is_harmless(stage.module)]

    def _is_harmless(self, module: str) -> bool:
        name = str(module).upper()
        return any(fnmatchcase(name, known.upper()) for known in (*HARMLESS_MODULES, *self.harmless_modules))

    def _line(self, group: list[RunStage]) -> str:
        first = group[0]
        count = f" ×{len(group)}" if len(group) > 1 else ""
        line = f"{_text(first.module)}{count} {_text(first.status)}"
        outputs = [_text(stage.output) for stage in group if stage.output is not None]
        if outputs and self.show_outputs:
            more = f", and {len(outputs) - MAX_OUTPUTS} more" if len(outputs) > MAX_OUTPUTS else ""
            line += f": {', '.join(outputs[:MAX_OUTPUTS])}{more}"
        return line


_HOW_TO_RETRY = " retry_run='always' retries all the same; harmless_modules names modules without an effect."


def _was_dispatched(stage: RunStage) -> bool:
    """Return whether a stage may have started, by its status, attempts, credits or output."""
    if stage.status not in NOT_DISPATCHED or (stage.execution_attempt or 1) > 1:
        return True
    return bool(stage.credit_usage) or stage.output is not None


def _by_module(stage: RunStage) -> tuple[str, str]:
    return str(stage.module), str(stage.status)


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
