"""The dashboard shows the replicas: who is there, and who follows which install."""

from __future__ import annotations

from playwright.async_api import expect

from tests.cluster.replicas import ClusterWorld
from tests.kit.browser import open_browser


async def test_the_page_of_the_replicas(cluster: ClusterWorld) -> None:
    job_id = await cluster.replicas[0].install(
        cluster.instance, cluster.ui_home, cluster.card("other/slow.md", "sleep 30")
    )
    name = await cluster.owned(job_id)
    other = cluster.others(cluster.replica(name))[0]
    async with open_browser() as browser:
        page = await browser.page(f"{other.url}/#/replicas")
        for number in (1, 2, 3):
            await expect(page.get_by_role("row", name=f"replica-{number}")).to_be_visible()
        owner = page.get_by_role("row", name=name)
        await expect(owner.get_by_role("link", name=job_id[:8])).to_be_visible()
        await cluster.replica(name).terminate()
        await expect(page.get_by_role("row", name=name)).to_be_hidden(timeout=10_000)
        await page.get_by_role("link", name=job_id[:8]).click()
        await expect(page.get_by_text("Taken over by another replica of the service")).to_be_visible()
        browser.assert_clean()
