// The live model of one job: its history, then what is new, each sequence once and in order. Each event is folded as it
// comes; the screen is told at most so many times a second, and not of a history that is still half told.

import { signal } from "@preact/signals";

import { call, message } from "./api";
import { JobModel } from "./job_model";
import { subscribe, unwatch, type Watcher, watch } from "./socket";
import type { JobEvent, Subscribed } from "./types";

// Above this many events a history comes without what the tools printed; the rest is asked for by the reader.
export const fullHistoryMax = 5_000;
const drawMs = 100;
const tailEvents = 2_000;
const tailLines = 1_000;

export interface FeedOptions {
  compact: boolean;
  // The stream of a job that was thinned has holes for good.
  isThinned: boolean;
  // What is shown until the history is told.
  first?: JobModel;
  // Whether the last lines are asked for that a compact history leaves out.
  withOutput?: boolean;
}

export class Feed implements Watcher {
  // Rises with every change that is to be drawn.
  readonly version = signal(0);
  readonly failure = signal<string | null>(null);
  // How many events of the history are still to come.
  readonly replaying = signal(0);
  // How many events a compact history left out.
  readonly leftOut = signal(0);
  // How often the log was asked again, since a sequence was missing.
  readonly gaps = signal(0);
  model: JobModel;
  private building: JobModel;
  private compact: boolean;
  private readonly isThinned: boolean;
  private readonly withOutput: boolean;
  private target = 0;
  private holes: [number, number][] = [];
  private isAsking = false;
  private frame = 0;
  private drawnAt = 0;
  private isClosed = false;

  constructor(
    readonly jobId: string,
    { compact, isThinned, first, withOutput = true }: FeedOptions,
  ) {
    this.withOutput = withOutput;
    this.compact = compact;
    this.isThinned = isThinned;
    this.building = new JobModel(jobId);
    this.model = first ?? this.building;
  }

  open(): this {
    watch(this);
    return this;
  }

  close(): void {
    this.isClosed = true;
    unwatch(this);
    cancelAnimationFrame(this.frame);
  }

  // The whole history instead of the compact one.
  loadAll(): void {
    this.compact = false;
    this.holes = [];
    this.leftOut.value = 0;
    this.building = new JobModel(this.jobId);
    this.ask();
  }

  request(): { job_id: string; after: number; replay: "full" | "compact" } {
    const after = this.building.last;
    return { job_id: this.jobId, after, replay: this.compact && after === 0 ? "compact" : "full" };
  }

  subscribed(answer: Subscribed): void {
    this.isAsking = false;
    if (!answer.success) {
      this.failure.value = answer.message ?? "the service refused";
      return;
    }
    this.failure.value = null;
    this.target = answer.last_sequence ?? 0;
    this.replaying.value = Math.max(0, this.target - this.building.last);
  }

  skipped(ranges: [number, number][]): void {
    this.holes = ranges;
    this.leftOut.value = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    if (ranges.length > 0 && this.withOutput) void this.loadTail(this.building, Math.max(0, this.target - tailEvents));
    // The history may end in a hole: then it is told with what comes before it.
    const [first, last] = ranges.at(-1) ?? [0, 0];
    if (last >= this.target) this.target = first - 1;
  }

  receive(event: JobEvent): void {
    const next = this.building.last + 1;
    if (event.sequence < next) return;
    if (event.sequence > next && !this.mayBeMissing(next, event.sequence - 1)) {
      // What is on its way still belongs to the old subscription: one new one is enough.
      if (!this.isAsking) this.gaps.value += 1;
      this.ask();
      return;
    }
    this.building.apply(event);
    if (this.frame === 0) this.frame = requestAnimationFrame(this.draw);
  }

  private ask(): void {
    if (this.isAsking) return;
    this.isAsking = true;
    subscribe(this);
  }

  private mayBeMissing(first: number, last: number): boolean {
    return this.isThinned || this.holes.some(([begin, end]) => begin <= first && last <= end);
  }

  private readonly draw = (now: number): void => {
    const isEarly = now - this.drawnAt < drawMs;
    this.frame = isEarly ? requestAnimationFrame(this.draw) : 0;
    if (isEarly) return;
    this.drawnAt = now;
    this.replaying.value = Math.max(0, this.target - this.building.last);
    if (this.replaying.value > 0 && this.model !== this.building) return;
    this.model = this.building;
    this.version.value += 1;
  };

  // The last lines that a compact history left out.
  private async loadTail(model: JobModel, after: number): Promise<void> {
    try {
      const path = `/resources/jobs/${this.jobId}/events?type=output&limit=${tailLines}&after=${after}`;
      const page = await call<{ events: JobEvent[] }>("GET", path);
      if (this.isClosed) return;
      model.addEarlierOutput(page.events);
      this.version.value += 1;
    } catch (error) {
      this.failure.value = `The last lines could not be read: ${message(error)}`;
    }
  }
}
