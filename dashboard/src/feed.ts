// The live model of one job: its history, then new events, each sequence once and in order. Each event is folded as it
// comes; the screen is redrawn at most ten times a second, and not while a history is still incomplete. A long history is
// read by pages, and the subscription begins after it: as messages of one event each it would leave no time for drawing.

import { signal } from "@preact/signals";

import { call, message } from "./api";
import { JobModel } from "./job_model";
import { type Answer, subscribe, unwatch, type Watcher, watch } from "./socket";
import type { EventPage, JobEvent, OutputEvent, SubscribeRequest } from "./types";

// Above this many events a history comes without what the tools printed; the reader can ask for the rest.
export const fullHistoryMax = 5_000;
const pageEvents = 1_000;
const drawMs = 100;
const tailEvents = 2_000;
const tailLines = 1_000;

export interface FeedOptions {
  compact: boolean;
  // The stream of a thinned job has permanent holes.
  isThinned: boolean;
  // Shown until the history is complete.
  first?: JobModel;
  // Whether to load the last lines that a compact history leaves out.
  withOutput?: boolean;
}

export class Feed implements Watcher {
  // Rises with every change that is drawn.
  readonly version = signal(0);
  readonly failure = signal<string | null>(null);
  // How many events of the history are still to come.
  readonly replaying = signal(0);
  // How many events a compact history left out.
  readonly leftOut = signal(0);
  // How often this feed subscribed again because a sequence was missing.
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
    this.target = first?.last_sequence ?? 0;
  }

  open(): this {
    if (!this.compact && this.target > pageEvents) void this.readHistory();
    else watch(this);
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
    unwatch(this);
    void this.readHistory();
  }

  request(): SubscribeRequest {
    const after = this.building.last_sequence;
    return { job_id: this.jobId, after, replay: this.compact && after === 0 ? "compact" : "full" };
  }

  subscribed(answer: Answer): void {
    this.isAsking = false;
    if (!answer.success) {
      this.failure.value = answer.message;
      return;
    }
    this.failure.value = null;
    this.target = answer.last_sequence;
    this.replaying.value = Math.max(0, this.target - this.building.last_sequence);
  }

  skipped(ranges: [number, number][]): void {
    this.holes = ranges;
    this.leftOut.value = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    if (ranges.length > 0 && this.withOutput) void this.loadTail(this.building, Math.max(0, this.target - tailEvents));
    // The history may end in a hole: then it is complete with what comes before the hole.
    const [first, last] = ranges.at(-1) ?? [0, 0];
    if (last >= this.target) this.target = first - 1;
  }

  receive(event: JobEvent): void {
    const next = this.building.last_sequence + 1;
    if (event.sequence < next) return;
    if (event.sequence > next && !this.mayBeMissing(next, event.sequence - 1)) {
      // Events on their way still belong to the old subscription: one new subscription is enough.
      if (!this.isAsking) this.gaps.value += 1;
      this.ask();
      return;
    }
    this.building.apply(event);
    this.changed();
  }

  // Not watched meanwhile: the subscription begins after what was read.
  private async readHistory(): Promise<void> {
    this.replaying.value = this.target;
    const building = this.building;
    let isWhole = false;
    try {
      while (!isWhole && !this.isClosed) {
        const path = `/resources/jobs/${this.jobId}/events?limit=${pageEvents}&after=${building.last_sequence}`;
        const page = await call<EventPage>("GET", path);
        for (const event of page.events) building.apply(event);
        this.target = page.last_sequence;
        this.changed();
        isWhole = page.events.length < pageEvents;
      }
    } catch {
      // The subscription brings the rest.
    }
    if (!this.isClosed && !(isWhole && building.isEnded)) watch(this);
  }

  private changed(): void {
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
    this.replaying.value = Math.max(0, this.target - this.building.last_sequence);
    if (this.replaying.value > 0 && this.model !== this.building) return;
    this.model = this.building;
    this.version.value += 1;
  };

  // The last lines that a compact history left out.
  private async loadTail(model: JobModel, after: number): Promise<void> {
    try {
      const path = `/resources/jobs/${this.jobId}/events?type=output&limit=${tailLines}&after=${after}`;
      const page = await call<EventPage>("GET", path);
      if (this.isClosed) return;
      model.addEarlierOutput(page.events as OutputEvent[]);
      this.version.value += 1;
    } catch (error) {
      this.failure.value = `The last lines could not be read: ${message(error)}`;
    }
  }
}
