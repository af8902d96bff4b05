"""Takes the pictures of the Temporal UI for the docs: `pytest tests/e2e/picture.py` (needs Chromium)."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.async_api import async_playwright

DOCS = Path(__file__).parents[2] / "docs" / "pictures"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]


async def test_pictures_of_a_running_pipeline(
    api: Any, control_plane: Any, pipeline_type: Any, eventually: Any
) -> None:
    pipeline = pipeline_type(api, "orders-by-region", eventually)
    await pipeline.create()
    await pipeline.started()
    await pipeline.post("pause")
    await pipeline.reaches("Paused")
    await pipeline.post("resume")
    await pipeline.reaches("Running")
    described = control_plane.described
    base = f"{described['temporal_ui_url']}/namespaces/default/workflows"
    query = quote('PipelineStatus="Running"')
    DOCS.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page(viewport={"width": 1400, "height": 1100})
        await page.goto(f"{base}?query={query}")
        link = page.get_by_role("link", name="orders-by-region").first
        await link.wait_for()
        await page.screenshot(path=DOCS / "temporal-ui-list.png")
        await link.click()
        await page.get_by_role("heading", name="Timeline").wait_for()
        await page.get_by_text("provision orders-by-region").first.wait_for()
        await page.screenshot(path=DOCS / "temporal-ui-timeline.png")
        await (
            page.get_by_role("tab", name="User Metadata")
            .or_(page.get_by_role("link", name="User Metadata"))
            .first.click()
        )
        details = page.frame_locator('iframe[src*="transitions"]')
        await details.get_by_text("last transitions").wait_for()
        await page.screenshot(path=DOCS / "temporal-ui-pipeline.png")
        await browser.close()
    await pipeline.remove()
