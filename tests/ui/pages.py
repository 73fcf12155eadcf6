"""The pages of Airflow 3.3 that the tests visit, and what a user can do there."""

from __future__ import annotations

import re
from urllib.parse import unquote

from playwright.sync_api import Locator, Page, expect


class Form:
    """A dialog with labelled fields."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.dialog = page.get_by_role("dialog")

    def field(self, label: str) -> Locator:
        """Return a field with its label and description."""
        # Airflow ties only some of its labels to their inputs, and marks the required ones by an asterisk.
        text = self.page.get_by_text(re.compile(rf"^{re.escape(label)}\s*\*?$"))
        return self.dialog.get_by_role("group").filter(has=text)

    @property
    def title(self) -> Locator:
        """Return the dialog's title."""
        return self.dialog.get_by_role("heading").first

    def section(self, name: str) -> Locator:
        """Return the head of a section."""
        return self.dialog.get_by_role("button", name=name, exact=True)

    def input(self, label: str) -> Locator:
        """Return an input."""
        return self.field(label).locator("input")

    def submit(self, name: str) -> None:
        """Press the button at the bottom of the dialog and wait until it closes."""
        self.dialog.get_by_role("contentinfo").get_by_role("button", name=name, exact=True).click()
        expect(self.dialog).to_be_hidden()


class ConnectionForm(Form):
    """Admin, Connections, Add Connection, White Rabbit."""

    def __init__(self, page: Page, conn_id: str) -> None:
        super().__init__(page)
        page.get_by_role("button", name="Add Connection").click()
        self.input("Connection ID").fill(conn_id)
        self.dialog.get_by_label("Connection Type").fill("White")
        page.get_by_role("option", name="White Rabbit", exact=True).click()

    def open_section(self, name: str) -> None:
        """Open one of the form's sections, which closes the others."""
        self.section(name).click()


class Connections:
    """Admin, Connections."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        page.get_by_role("button", name="Admin").click()
        page.get_by_role("menuitem", name="Connections").click()

    def add(self, conn_id: str) -> ConnectionForm:
        """Open the form for a new connection."""
        return ConnectionForm(self.page, conn_id)

    def test(self, conn_id: str) -> Locator:
        """Press the connection's Test button and return the notification."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))
        row.get_by_role("button", name="Test Connection").click()
        return self.page.get_by_role("status")


class DagPage:
    """The page of a DAG."""

    def __init__(self, page: Page, url: str, dag_id: str) -> None:
        self.page = page
        page.goto(f"{url}/dags/{dag_id}")

    def trigger(self, **params: object) -> DagRunPage:
        """Trigger the DAG with these params in the trigger form; the others keep their defaults."""
        self.page.get_by_role("button", name="Trigger").click()
        form = Form(self.page)
        for name, value in params.items():
            form.input(name).fill(str(value))
            form.input(name).press("Tab")
        form.submit("Trigger")
        self.page.wait_for_url("**/runs/*")
        return DagRunPage(self.page)


class DagRunPage:
    """The page of a DAG run, beside the DAG's grid."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.url = page.url
        self.run_id = unquote(self.url).rpartition("/")[2]

    def row(self, task_id: str) -> Locator:
        """Return a task's row in the table."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("link", name=task_id, exact=True))

    @property
    def heading(self) -> Locator:
        """The heading of the table of tasks."""
        return self.page.get_by_text(re.compile(r"^\d+ Task Instances$")).first

    @property
    def tasks(self) -> Locator:
        """The table of tasks."""
        return self.page.get_by_role("table").first

    def expect_in_grid(self, task_id: str, state: str) -> None:
        """Hover over a task's square and expect this state in the tooltip."""
        self.page.get_by_test_id(f"grid-{self.run_id}-{task_id}").hover()
        expect(self.page.get_by_role("tooltip").filter(has_text=f"State: {state}")).to_be_visible()

    def open_task(self, task_id: str) -> TaskPage:
        """Open the page of a task of this run."""
        self.page.goto(self.url)
        self.row(task_id).get_by_role("link", name=task_id, exact=True).click()
        return TaskPage(self.page)


class TaskPage:
    """The page of a task in a DAG run."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def log(self) -> Locator:
        """The task's log, which is the first tab of the page."""
        return self.page.get_by_role("code").first

    def wrap_log(self) -> None:
        """Wrap the lines of the log and hide their times, with Airflow's hotkeys."""
        self.page.keyboard.press("w")
        self.page.keyboard.press("t")

    @property
    def first_tab(self) -> Locator:
        """The tab of the log, the first of the task's tabs."""
        return self.page.get_by_role("link", name="Logs", exact=True)

    def link(self, name: str) -> Locator:
        """Open the task's details and return an extra link."""
        self.page.get_by_role("link", name="Details", exact=True).click()
        expect(self.page.get_by_text("Extra Links", exact=True)).to_be_visible()
        return self.page.get_by_role("link", name=name, exact=True)

    def follow_link(self, name: str) -> Page:
        """Press an extra link of the task and return the tab that it opens."""
        link = self.link(name)
        with self.page.expect_popup() as opened:
            link.click()
        return opened.value
