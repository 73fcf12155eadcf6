"""The button that links a task to its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.links.page import page_url, page_xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_wr.connection import WRSettings


class WRRunLink(BaseOperatorLink):
    """
    Links to the run: to the connection's ``run_url``, or else to the run's page inside Airflow (3.1 and later).

    Operators push the URL as soon as the run's id is known, so the button works while the task waits. Airflow's
    own push comes only when the task defers or ends.
    """

    name = "White Rabbit run"
    xcom_key = "wr_run_url"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL that the task pushed; empty without one."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""

    @classmethod
    def push(
        cls, context: Context, settings: WRSettings, run_id: str, workflow_id: str | None, *, outputs: bool
    ) -> str | None:
        """
        Push what the button and the run's page need, and return the run's ``run_url``; None without one.

        :param outputs: whether the page may show the outputs of stages.
        """
        url = settings.run_link(run_id, workflow_id)
        for key, value in cls.xcoms(context["ti"], url, run_id, outputs=outputs).items():
            context["ti"].xcom_push(key=key, value=value)
        return url

    @classmethod
    def xcoms(cls, ti: Any, url: str | None, run_id: str, *, outputs: bool) -> dict[str, Any]:
        """
        Return the XComs for the button and the run's page.

        :param url: the ``run_url`` of the run; None leads to the page inside Airflow.
        """
        link = url or page_url(ti)
        return {
            **({cls.xcom_key: link} if link else {}),
            **page_xcoms(ti, outputs=outputs, run_id=fit_text(run_id)),
        }
