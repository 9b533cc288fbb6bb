"""The page of a worker in a browser, with what it asked for and complained of."""

from __future__ import annotations

from playwright.async_api import ConsoleMessage, Error, Locator, Page, Request, expect

# Chromium writes a line for each answer with an error status; the page is to bear those.
FAILED_ANSWER = "Failed to load resource: the server responded with a status of 503"


class BrowserPage:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.outside: list[str] = []
        self.complaints: list[str] = []
        self._url = url
        page.on("request", self._asked)
        page.on("console", self._said)
        page.on("pageerror", self._failed)

    async def open(self, route: str = "#/") -> None:
        await self.page.goto(f"{self._url}/{route}")
        await expect(self.page.locator("#worker")).to_contain_text("answered by")

    def batch(self, batch_id: str) -> Locator:
        return self.page.locator("#batches li").filter(has=self.page.get_by_role("link", name=batch_id, exact=True))

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(f"{self._url}/"):
            self.outside.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(FAILED_ANSWER):
            self.complaints.append(message.text)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))
