// The list of jobs: what the service lists, asked for again every few seconds, and for those that run their own feeds,
// so that their bars move.

import { type Signal, signal } from "@preact/signals";

import { ApiError, call, message } from "./api";
import { Feed } from "./feed";
import type { JobPage, JobSummary } from "./types";
import { ended } from "./types";

const pageSize = 100;
const firstPages = 5;
const againMs = 2_000;
const hiddenMs = 10_000;
const feedsMax = 40;

export class JobsStore {
  // Ids, newest first.
  readonly order = signal<string[]>([]);
  readonly failure = signal<string | null>(null);
  readonly more = signal<string | null>(null);
  readonly isLoaded = signal(false);
  private readonly rows = new Map<string, Signal<JobSummary>>();
  private readonly feeds = new Map<string, Feed>();
  private readonly feedsChanged = signal(0);
  private timer = 0;
  private isClosed = false;

  start(): this {
    void this.load();
    return this;
  }

  stop(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const feed of this.feeds.values()) feed.close();
  }

  row(jobId: string): Signal<JobSummary> {
    return this.rows.get(jobId)!;
  }

  feed(jobId: string): Feed | undefined {
    return this.feedsChanged.value >= 0 ? this.feeds.get(jobId) : undefined;
  }

  async loadMore(): Promise<void> {
    await this.guarded(() => this.page(this.more.value));
  }

  private async load(): Promise<void> {
    await this.guarded(async () => {
      await this.page(null);
      this.isLoaded.value = true;
      for (let pages = 1; pages < firstPages && this.more.value !== null && !this.isClosed; pages += 1) {
        await this.page(this.more.value);
      }
    });
    this.later();
  }

  private async page(cursor: string | null): Promise<void> {
    const from = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page = await call<JobPage>("GET", `/resources/jobs?limit=${pageSize}${from}`);
    this.merge(page.jobs);
    this.more.value = page.next;
  }

  private later(): void {
    if (this.isClosed) return;
    this.timer = window.setTimeout(() => void this.refresh(), document.hidden ? hiddenMs : againMs);
  }

  // What is new, what is under way, and whatever was under way a moment ago and is no more.
  private async refresh(): Promise<void> {
    await this.guarded(async () => {
      const newest = await call<JobPage>("GET", "/resources/jobs?limit=20");
      const active = await Promise.all(
        ["running", "paused", "queued"].map((state) =>
          call<JobPage>("GET", `/resources/jobs?limit=500&state=${state}`),
        ),
      );
      if (!this.isLoaded.value) this.more.value = newest.next;
      this.isLoaded.value = true;
      const found = [...newest.jobs, ...active.flatMap((page) => page.jobs)];
      const ids = new Set(found.map((job) => job.job_id));
      const gone = this.order.value.filter((id) => !ids.has(id) && !ended(this.row(id).value.state)).slice(0, pageSize);
      this.merge(found);
      this.merge((await Promise.all(gone.map((id) => this.ended(id)))).filter((job) => job !== null));
    });
    this.later();
  }

  // null: it was deleted meanwhile.
  private async ended(jobId: string): Promise<JobSummary | null> {
    try {
      return await call<JobSummary>("GET", `/resources/jobs/${jobId}`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      this.order.value = this.order.value.filter((id) => id !== jobId);
      this.rows.delete(jobId);
      this.feeds.get(jobId)?.close();
      this.feeds.delete(jobId);
      return null;
    }
  }

  private async guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.failure.value = null;
    } catch (error) {
      this.failure.value = message(error);
    }
  }

  private merge(found: JobSummary[]): void {
    if (this.isClosed) return;
    let isNew = false;
    for (const job of found) {
      const row = this.rows.get(job.job_id);
      if (row === undefined) {
        this.rows.set(job.job_id, signal(job));
        isNew = true;
      } else if (row.value.last_sequence !== job.last_sequence || row.value.queue_position !== job.queue_position) {
        row.value = job;
      }
    }
    if (isNew) {
      const ids = [...this.rows.keys()];
      const at = new Map(ids.map((id) => [id, Date.parse(this.row(id).value.created_at)]));
      this.order.value = ids.sort((one, other) => at.get(other)! - at.get(one)!);
    }
    this.follow();
  }

  private follow(): void {
    let changed = false;
    for (const [id, row] of this.rows) {
      const { state, started_at: started } = row.value;
      const isUnderWay = !ended(state) && started !== null;
      const feed = this.feeds.get(id);
      if (isUnderWay && feed === undefined && this.feeds.size < feedsMax) {
        this.feeds.set(id, new Feed(id, { compact: true, isThinned: false, withOutput: false }).open());
        changed = true;
      } else if (!isUnderWay && feed !== undefined) {
        feed.close();
        this.feeds.delete(id);
        changed = true;
      }
    }
    if (changed) this.feedsChanged.value += 1;
  }
}
