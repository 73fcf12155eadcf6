"""The buttons that link a task to its run, or to its execution of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.links.page import page_url, page_xcoms

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_wr.connection import WRSettings


class _PushedLink(BaseOperatorLink):
    """
    Links to a URL that the task pushes.

    Operators push the URL as soon as the id is known, so the button works while the task waits. Airflow's own push
    comes only when the task defers or ends.

    :cvar id_name: what the page inside Airflow calls the id.
    """

    xcom_key: ClassVar[str]
    id_name: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL that the task pushed; empty without one."""
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""

    @classmethod
    def xcoms(cls, ti: Any, url: str | None, identifier: str, *, outputs: bool) -> dict[str, Any]:
        """
        Return the XComs for the button and the page inside Airflow.

        :param url: where the connection leads to; None leads to the page inside Airflow.
        """
        link = url or page_url(ti)
        return {
            **({cls.xcom_key: link} if link else {}),
            **page_xcoms(ti, outputs=outputs, **{cls.id_name: fit_text(identifier)}),
        }

    @classmethod
    def _push(cls, context: Context, url: str | None, identifier: str, *, outputs: bool) -> str | None:
        for key, value in cls.xcoms(context["ti"], url, identifier, outputs=outputs).items():
            context["ti"].xcom_push(key=key, value=value)
        return url


class WRRunLink(_PushedLink):
    """Links to the run: to the connection's ``run_url``, or else to its page inside Airflow (3.1 and later)."""

    name = "White Rabbit run"
    xcom_key = "wr_run_url"
    id_name = "run_id"

    @classmethod
    def push(
        cls, context: Context, settings: WRSettings, run_id: str, workflow_id: str | None, *, outputs: bool
    ) -> str | None:
        """
        Push what the button and the run's page need, and return the run's ``run_url``; None without one.

        :param outputs: whether the page may show the outputs of stages.
        """
        return cls._push(context, settings.run_link(run_id, workflow_id), run_id, outputs=outputs)


class WRExecutionLink(_PushedLink):
    """
    Links to the execution of a component: to the connection's ``execution_url``, or else as :class:`WRRunLink`.
    """

    name = "White Rabbit execution"
    xcom_key = "wr_execution_url"
    id_name = "execution_id"

    @classmethod
    def push(cls, context: Context, settings: WRSettings, execution_id: str, *, outputs: bool) -> str | None:
        """
        Push what the button and the page need, and return the ``execution_url``; None without one.

        :param outputs: whether the page may show the output.
        """
        return cls._push(context, settings.execution_link(execution_id), execution_id, outputs=outputs)
