"""What went wrong: the post-mortem of one job, and the failures of all jobs."""

from __future__ import annotations

from typing import cast

from aiohttp import web

from service.report.page import report_page
from service.report.post_mortem import Reporter
from service.web.answers import FailureGroups, Report
from service.web.services import Services

PAGE_EVENTS = 2_000
HTML = "text/html"
# The page carries its own style; nothing else is loaded or run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


async def report_job(
    services: Services, *, job_id: str, format: str | None, content_type: str
) -> Report | web.Response:
    job = await services.jobs.get(job_id)
    reporter, after = Reporter(), 0
    while page := await services.event_store.read(job.job_id, after, PAGE_EVENTS):
        reporter.feed(page)
        after = page[-1].sequence
    report = reporter.report()
    if format == "json" or (format is None and content_type != HTML):
        return cast(Report, report)
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    return web.Response(text=report_page(report), content_type=HTML, charset="utf-8", headers=headers)


async def list_failures(services: Services, *, since: int, limit: int) -> FailureGroups:
    return cast(FailureGroups, {"failures": await services.jobs.failures(since, limit)})
