"""The pages of Airflow 2.11 that the tests visit."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


class ConnectionForm:
    """Add Connection, or Edit Connection."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def labels(self) -> list[str]:
        """Return the visible labels, from top to bottom."""
        return self.page.get_by_role("row").locator("label:visible").all_inner_texts()

    def input(self, label: str) -> Locator:
        """Return an input or checkbox."""
        return self.page.get_by_label(label, exact=True)

    def value(self, label: str) -> str | bool:
        """Return the value of a field, or whether it is checked."""
        field = self.input(label)
        return field.is_checked() if field.get_attribute("type") == "checkbox" else field.input_value()

    def row(self, label: str) -> Locator:
        """Return a field with its label and description."""
        return self.page.get_by_role("row").filter(has=self.input(label))

    def test(self) -> Locator:
        """Press the Test button and return the box with the result."""
        self.page.get_by_role("button", name="Test").click()
        return self.page.locator(".alert")

    def save(self) -> Locator:
        """Press the button at the bottom of the form and return the box with the result, on the next page."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Save").click()
        return self.page.locator(".alert")


class Connections:
    """Admin, Connections."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        page.get_by_role("link", name="Admin").click()
        page.get_by_role("link", name="Connections").click()

    def add(self, conn_id: str) -> ConnectionForm:
        """Open the form for a new connection."""
        self.page.locator("[data-original-title='Add a new record']").click()
        self.page.get_by_label("Connection Id").fill(conn_id)
        self.page.locator(".select2").get_by_role("combobox").click()
        self.page.get_by_role("option", name="White Rabbit", exact=True).click()
        return ConnectionForm(self.page)

    def edit(self, conn_id: str) -> ConnectionForm:
        """Open the form of an existing connection."""
        row = self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))
        row.locator("[data-original-title='Edit record']").click()
        expect(self.page.get_by_label("Connection Id")).to_have_value(conn_id)
        return ConnectionForm(self.page)
