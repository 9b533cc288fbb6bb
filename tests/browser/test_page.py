"""The page as a person sees it, in a real browser, on a real worker."""

from __future__ import annotations

from playwright.async_api import expect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, VALIDATION_FAILED
from tests.support import factories
from tests.support.browser_page import BrowserPage
from tests.support.worker_process import send

SLOW = 15_000
PHONE = 390
HOSTILE = '<img src="https://evil.example/x" onerror="document.title=1"><script>document.title=1</script>'


async def test_a_batch_fills_while_one_looks(watched: BrowserPage, addresses: Addresses, topic_prefix: str) -> None:
    await expect(watched.page.locator("#batches-empty")).to_contain_text("No batch yet")

    await send(addresses, topic_prefix, (BATCH_REGISTERED, factories.registration(essays=3)))
    row = watched.batch(factories.BATCH)
    await expect(row).to_contain_text("0 of 3", timeout=SLOW)
    await row.evaluate("row => row.dataset.same = 'yes'")
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, factories.content(number=0)))
    await expect(row.get_by_role("img")).to_have_attribute("aria-label", "1 filled, 0 failed, 2 free", timeout=SLOW)
    await send(
        addresses,
        topic_prefix,
        (VALIDATION_FAILED, factories.failure(number=1)),
        (CONTENT_PROVISIONED, factories.content(number=2)),
    )

    await expect(row).to_contain_text("done", timeout=SLOW)
    await expect(row).to_contain_text("2 of 3, 1 failed")
    await expect(row).to_have_attribute("data-same", "yes")
    widths = await row.locator(".bar span").evaluate_all("parts => parts.map(part => part.offsetWidth)")
    assert widths[0] > widths[1] > 0
    await expect(watched.page.locator("#tiles")).to_contain_text("GUEST 1", timeout=SLOW)


async def test_the_story_of_a_batch_opens_by_keyboard_and_a_hostile_name_stays_text(
    watched: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(HOSTILE, essays=2)),
        (CONTENT_PROVISIONED, factories.content(HOSTILE, number=0, original_file_name=HOSTILE)),
    )
    link = watched.page.get_by_role("link", name=HOSTILE, exact=True)
    await expect(link).to_be_visible(timeout=SLOW)

    await link.focus()
    await watched.page.keyboard.press("Enter")

    story = watched.page.locator("#story")
    await expect(story.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    await expect(story.locator("q")).to_have_text(HOSTILE, timeout=SLOW)
    await expect(story).to_contain_text("It waits for content.")
    await expect(story).to_contain_text("✓ told: slot assigned", timeout=SLOW)
    assert await watched.page.locator("#story img, #story script").count() == 0
    assert HOSTILE in await watched.page.title()
    await watched.page.reload()
    await expect(story.locator("q")).to_have_text(HOSTILE)
    await fits_a_phone(watched)
    await watched.page.get_by_role("link", name="← All batches").click()
    await expect(link).to_be_visible()
    await fits_a_phone(watched)


async def fits_a_phone(watched: BrowserPage) -> None:
    """Nothing sticks out, and the page is as light or dark as its reader wants it."""
    page = watched.page
    background = "getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="light")
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": PHONE, "height": 844})

    assert await page.evaluate(background) != light
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE


async def test_a_dead_letter_shows_its_bytes_and_is_replayed(
    watched: BrowserPage, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    page = watched.page
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, HOSTILE.encode() + b"\xff\x00"))
    letter = page.locator(".letter")
    await expect(letter).to_contain_text("not json", timeout=SLOW)

    await letter.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(letter.locator("pre")).to_have_text(f"{HOSTILE}\\xff\\x00")
    await letter.get_by_role("button", name="Replay").click()
    await expect(page.locator("#letters-told")).to_contain_text("failed again", timeout=SLOW)

    async with engine.begin() as conn:
        value = {"value": factories.content(number=1)}
        await conn.execute(text("UPDATE dead_letters SET value = :value WHERE state = 'open'"), value)
    await expect(letter).not_to_have_attribute("data-id", "1", timeout=SLOW)
    second = await letter.get_attribute("data-id")
    await letter.locator("summary").click()
    await letter.get_by_role("button", name="Replay").click()

    await expect(page.locator("#letters-told")).to_have_text(f"Dead letter {second} replayed: parked.", timeout=SLOW)
    await expect(page.locator("#letters-empty")).to_have_text("No dead letter is open.", timeout=SLOW)
    await expect(watched.batch(factories.BATCH)).to_contain_text("1 parked", timeout=SLOW)


async def test_the_purge_is_told_at_a_glance(watched: BrowserPage, engine: AsyncEngine) -> None:
    workings = watched.page.locator("#workings")
    await expect(workings).to_contain_text("GUEST batches for 14 days; due every 24 h", timeout=SLOW)

    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM purge_log"))
        await conn.execute(
            text(
                "INSERT INTO purge_log (action, class_type, older_than_days, batches, removed)"
                " VALUES ('purge', 'GUEST', 14, 3, '{}')"
            )
        )

    told = "purge, 3 batches over 14 days; began"
    await expect(workings).to_contain_text(told, timeout=SLOW)
    await expect(workings).to_contain_text("GUEST 3 · REGULAR 0 batches, ever", timeout=SLOW)


async def test_a_database_that_is_down_is_said_and_so_is_a_worker_that_is_gone(
    watched: BrowserPage, servers: EmbeddedServers
) -> None:
    notice = watched.page.locator("#notice")
    await expect(notice).to_be_hidden(timeout=SLOW)

    servers.postgres.pause()
    try:
        await expect(notice).to_contain_text("The database does not answer", timeout=SLOW)
        await expect(watched.page.locator("#verdict")).to_contain_text("database down")
    finally:
        servers.postgres.resume()
    await expect(notice).to_be_hidden(timeout=SLOW)

    await watched.page.route("**/api/**", lambda route: route.abort())
    await expect(notice).to_contain_text("what you see is out of date", timeout=SLOW)
    await watched.page.unroute("**/api/**")
    await expect(notice).to_be_hidden(timeout=SLOW)
    watched.complaints = [said for said in watched.complaints if "net::ERR_FAILED" not in said]
