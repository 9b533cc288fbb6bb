"""The page of a worker in a browser, with its requests to other hosts and its console errors."""

from __future__ import annotations

from playwright.async_api import ConsoleMessage, Error, Locator, Page, Request, expect

# Chromium logs each answer with an error status; the page must cope with those.
FAILED_ANSWER = "Failed to load resource: the server responded with a status of 503"


class BrowserPage:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.foreign_requests: list[str] = []
        self.console_errors: list[str] = []
        self._url = url
        page.on("request", self._on_request)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    async def open(self, route: str = "#/") -> None:
        await self.page.goto(f"{self._url}/{route}")
        await expect(self.page.locator("#worker")).to_contain_text("answered by")

    def batch(self, batch_id: str) -> Locator:
        return self.page.locator("#batches li").filter(has=self.page.get_by_role("link", name=batch_id, exact=True))

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(f"{self._url}/"):
            self.foreign_requests.append(request.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(FAILED_ANSWER):
            self.console_errors.append(message.text)

    def _on_error(self, error: Error) -> None:
        self.console_errors.append(str(error))
