"""The page in a real browser, served by a real worker."""

from __future__ import annotations

import re

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
SMALLEST_TARGET = 24  # CSS pixels: WCAG 2.2, 2.5.8
HOSTILE = '<img src="https://evil.example/x" onerror="document.title=1"><script>document.title=1</script>'


async def test_the_row_of_a_batch_is_updated_in_place_while_it_fills(
    browser_page: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    await expect(browser_page.page.locator("#batches-empty")).to_contain_text("No batch yet")

    await send(addresses, topic_prefix, (BATCH_REGISTERED, factories.registration(essays=3)))
    row = browser_page.batch(factories.BATCH)
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
    widths = await row.locator(".bar span").evaluate_all("spans => spans.map(span => span.offsetWidth)")
    assert widths[0] > widths[1] > 0
    await expect(browser_page.page.locator("#tiles")).to_contain_text("GUEST 1", timeout=SLOW)


async def test_a_batch_opens_by_keyboard_and_a_hostile_name_is_shown_as_text(
    browser_page: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(HOSTILE, essays=2)),
        (CONTENT_PROVISIONED, factories.content(HOSTILE, number=0, original_file_name=HOSTILE)),
    )
    link = browser_page.page.get_by_role("link", name=HOSTILE, exact=True)
    await expect(link).to_be_visible(timeout=SLOW)

    await link.focus()
    await browser_page.page.keyboard.press("Enter")

    batch = browser_page.page.locator("#batch")
    await expect(batch.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    await expect(batch.locator("q")).to_have_text(HOSTILE, timeout=SLOW)
    await expect(batch).to_contain_text("The batch waits for content: 1 of 2 slots is free.")
    await expect(batch).to_contain_text("✓ published: slot assigned", timeout=SLOW)
    assert await browser_page.page.locator("#batch img, #batch script").count() == 0
    assert HOSTILE in await browser_page.page.title()
    await browser_page.page.reload()
    await expect(batch.locator("q")).to_have_text(HOSTILE)
    await check_phone_and_colours(browser_page)
    await browser_page.page.get_by_role("link", name="← All batches").click()
    await expect(link).to_be_visible()
    await check_phone_and_colours(browser_page)


async def check_phone_and_colours(browser_page: BrowserPage) -> None:
    """Assert that the page fits the width of a phone, and follows the reader's colour scheme."""
    page = browser_page.page
    background = "getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="light")
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": PHONE, "height": 844})

    assert await page.evaluate(background) != light
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE


async def test_a_dead_letter_shows_its_bytes_and_is_replayed(
    browser_page: BrowserPage, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, HOSTILE.encode() + b"\xff\x00"))
    dead_letter = page.locator(".dead-letter")
    await expect(dead_letter).to_contain_text("not json", timeout=SLOW)

    await dead_letter.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(dead_letter.locator("pre")).to_have_text(f"{HOSTILE}\\xff\\x00")
    await dead_letter.get_by_role("button", name="Replay").click()
    await expect(page.locator("#replay-result")).to_contain_text("failed again", timeout=SLOW)

    async with engine.begin() as conn:
        value = {"value": factories.content(number=1)}
        await conn.execute(text("UPDATE dead_letters SET value = :value WHERE state = 'open'"), value)
    await expect(dead_letter).not_to_have_attribute("data-id", "1", timeout=SLOW)
    second = await dead_letter.get_attribute("data-id")
    await dead_letter.locator("summary").click()
    await dead_letter.get_by_role("button", name="Replay").click()

    await expect(page.locator("#replay-result")).to_have_text(f"Dead letter {second} replayed: pending.", timeout=SLOW)
    await expect(page.locator("#dead-letters-empty")).to_have_text("No dead letter is open.", timeout=SLOW)
    await expect(browser_page.batch(factories.BATCH)).to_contain_text("1 pending", timeout=SLOW)


async def test_the_purge_is_shown_with_its_last_run(browser_page: BrowserPage, engine: AsyncEngine) -> None:
    components = browser_page.page.locator("#components")
    await expect(components).to_contain_text("GUEST batches for 14 days; runs every 24 h", timeout=SLOW)

    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM purge_log"))
        await conn.execute(
            text(
                "INSERT INTO purge_log (action, class_type, older_than_days, batches, removed)"
                " VALUES ('purge', 'GUEST', 14, 3, '{}')"
            )
        )

    await expect(components).to_contain_text("purge, 3 batches over 14 days old; started", timeout=SLOW)
    await expect(components).to_contain_text("GUEST 3 · REGULAR 0 batches in all", timeout=SLOW)


async def test_a_notice_is_shown_while_database_or_worker_does_not_answer(
    browser_page: BrowserPage, servers: EmbeddedServers
) -> None:
    notice = browser_page.page.locator("#notice")
    await expect(notice).to_be_hidden(timeout=SLOW)

    servers.postgres.pause()
    try:
        await expect(notice).to_contain_text("The database does not answer", timeout=SLOW)
        await expect(browser_page.page.locator("#health")).to_contain_text("database down")
    finally:
        servers.postgres.resume()
    await expect(notice).to_be_hidden(timeout=SLOW)

    await browser_page.page.route("**/api/**", lambda route: route.abort())
    await expect(notice).to_contain_text("the data below is out of date", timeout=SLOW)
    await browser_page.page.unroute("**/api/**")
    await expect(notice).to_be_hidden(timeout=SLOW)
    browser_page.console_errors = [line for line in browser_page.console_errors if "net::ERR_FAILED" not in line]


async def test_a_batch_is_found_by_the_beginning_of_its_id_and_its_link_is_copied(
    browser_page: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    ids = ["class-7a-essays", "class-7b-essays", "class_7a-other", HOSTILE]
    await send(addresses, topic_prefix, *((BATCH_REGISTERED, factories.registration(one, essays=2)) for one in ids))
    rows = page.locator("#batches li")
    await expect(rows).to_have_count(4, timeout=SLOW)

    search = page.get_by_role("searchbox", name="Find a batch")
    await search.fill("class-7")
    await expect(rows).to_have_count(2, timeout=SLOW)
    await search.press("Enter")
    await expect(page.locator("#overview")).to_be_visible()
    await search.fill("100%_no")
    await expect(page.locator("#batches-empty")).to_have_text("No batch has an id that begins so.", timeout=SLOW)
    await search.fill("class-7b")
    await expect(rows).to_have_count(1, timeout=SLOW)
    await check_phone_and_colours(browser_page)
    await search.press("Enter")

    batch = page.locator("#batch")
    await expect(batch.get_by_role("heading", level=1)).to_have_text("class-7b-essays")
    await expect(batch).to_contain_text("The batch waits for content: 2 of 2 slots are free.", timeout=SLOW)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await batch.get_by_role("button", name="Copy link").press("Enter")
    await expect(batch.get_by_role("status")).to_have_text("Copied.")
    assert await page.evaluate("navigator.clipboard.readText()") == page.url
    assert page.url.endswith("#/batch/class-7b-essays")
    await check_phone_and_colours(browser_page)


async def test_the_address_of_a_batch_is_shown_where_it_cannot_be_copied(
    browser_page: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    await page.add_init_script("delete Navigator.prototype.clipboard")
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, factories.content("early", number=0)))
    await expect(page.get_by_role("link", name="early")).to_be_visible(timeout=SLOW)
    await browser_page.open("#/batch/early")
    await page.reload()
    batch = page.locator("#batch")
    await expect(batch).to_contain_text("1 event came before it", timeout=SLOW)

    await batch.get_by_role("button", name="Copy link").click()

    await expect(batch.get_by_role("textbox", name="Address of this batch")).to_have_value(page.url)


async def test_dead_letters_alike_are_one_group_and_are_replayed_together(
    browser_page: BrowserPage, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    wrong = [factories.content(number=n, file_size_bytes=-1) for n in range(6)]
    await send(
        addresses,
        topic_prefix,
        *((CONTENT_PROVISIONED, value) for value in (*wrong, b"Dear Sir or Madam,")),
        (BATCH_REGISTERED, factories.registration(essays=4)),
    )
    groups = page.locator("#dead-letter-groups li")
    await expect(groups).to_have_count(2, timeout=SLOW)
    drift = groups.filter(has_text="data.file_size_bytes")
    await expect(drift).to_contain_text(
        "A sender changed this. 6 dead letters: contract violation at data.file_size_bytes"
    )
    await expect(drift).to_contain_text("6 in the last hour", timeout=SLOW)
    await expect(groups.filter(has_text="not json")).not_to_contain_text("A sender changed this")

    await drift.get_by_role("button", name="Show").press("Enter")
    await expect(page.locator("#dead-letter-group")).to_contain_text("Shown: contract violation at data.file_size")
    await expect(page.locator(".dead-letter")).to_have_count(6, timeout=SLOW)
    await page.get_by_role("button", name="Show all").click()
    await expect(page.locator(".dead-letter")).to_have_count(7, timeout=SLOW)
    await check_phone_and_colours(browser_page)

    async with engine.begin() as conn:  # as if the contract had changed: five of them are valid now
        for number in range(5):
            await conn.execute(
                text("UPDATE dead_letters SET value = :value WHERE source_topic = :topic AND value LIKE :old"),
                {
                    "value": factories.content(number=number),
                    "topic": CONTENT_PROVISIONED,
                    "old": b"%" + str(factories.content_data(number=number)["file_upload_id"]).encode() + b"%",
                },
            )
    page.on("dialog", lambda dialog: dialog.accept())
    await drift.get_by_role("button", name="Replay all of these").press("Enter")

    await expect(page.locator("#replay-result")).to_have_text("Done: 5 replayed, 1 failed again.", timeout=SLOW)
    await expect(drift).to_contain_text("1 dead letter: contract violation", timeout=SLOW)
    await expect(browser_page.batch(factories.BATCH)).to_contain_text("4 of 4", timeout=SLOW)


async def test_codes_that_are_not_known_and_reasons_of_a_newer_release_are_shown(
    browser_page: BrowserPage, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    codes = page.locator("#unknown-codes")
    await expect(page.locator("#tiles")).to_contain_text("none is open", timeout=SLOW)
    await expect(codes).to_be_hidden()

    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(essays=2)),
        (VALIDATION_FAILED, factories.failure(number=0, validation_error_code=HOSTILE)),
        (CONTENT_PROVISIONED, b"Dear Sir or Madam,"),
    )

    await expect(codes).to_contain_text(f"{HOSTILE}: 1 file, 1 in the last hour; the newest", timeout=SLOW)
    await check_phone_and_colours(browser_page)
    group = page.locator("#dead-letter-groups li")
    await expect(group).to_contain_text("not json", timeout=SLOW)
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE dead_letters SET reason = 'written_backwards'"))
    await page.reload()
    await expect(group).to_contain_text("written backwards", timeout=SLOW)
    await group.get_by_role("button", name="Show").click()
    await expect(page.locator("#dead-letter-group")).to_contain_text("Shown: written backwards", timeout=SLOW)
    await expect(page.locator(".dead-letter .reason")).to_have_text("written backwards", timeout=SLOW)


async def test_on_a_phone_every_control_is_reached_by_keyboard_and_large_enough(
    browser_page: BrowserPage, addresses: Addresses, topic_prefix: str
) -> None:
    page = browser_page.page
    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(essays=2)),
        (CONTENT_PROVISIONED, b"Dear Sir or Madam,"),
    )
    # A broker in a container sees another address of this machine.
    group = re.compile(r"1 worker: [\d.]+ with 16 partitions")
    await expect(page.locator("#components")).to_contain_text(group, timeout=SLOW)
    await expect(browser_page.batch(factories.BATCH)).to_be_visible(timeout=SLOW)
    await expect(page.locator(".dead-letter")).to_be_visible(timeout=SLOW)
    await check_phone_and_colours(browser_page)

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    shown = page.locator("main :is(a, button, input, select, summary):visible:not(:disabled)")
    controls = await shown.count()

    assert controls == 10, "search, three filters, a batch; two filters, two buttons of a group, a dead letter"
    for number in range(controls):
        await page.keyboard.press("Tab")
        await expect(shown.nth(number)).to_be_focused()
        assert await shown.nth(number).evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        box = await shown.nth(number).bounding_box()
        assert box is not None
        assert box["height"] >= SMALLEST_TARGET, await shown.nth(number).evaluate("node => node.outerHTML")
