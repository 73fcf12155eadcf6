"""The button that links a task to its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_wr.connection import WRSettings


class WRRunLink(BaseOperatorLink):
    """
    Links to the run if the connection has a ``run_url``.

    Operators push the URL as soon as the run's id is known, so the button works while the task waits. Airflow's
    own push comes only when the task defers or ends.
    """

    name = "White Rabbit run"
    xcom_key = "wr_run_url"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL that the task pushed; empty without one."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""

    @classmethod
    def push(cls, context: Context, settings: WRSettings, run_id: str, workflow_id: str | None) -> str | None:
        """Push the URL of a task's run for the button, and return it; None without a ``run_url``."""
        url = settings.run_link(run_id, workflow_id)
        if url is not None:
            context["ti"].xcom_push(key=cls.xcom_key, value=url)
        return url
