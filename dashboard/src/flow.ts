// The bytes received over time, for the throughput plot. Bounded: the step doubles as a job grows long.

const pointsMax = 600;
// Bytes since the last figure are spread over the time since then, but not over a longer silence.
const spreadMsMax = 10_000;
// Figures that come within one moment after a silence, as after a lost link, count as one.
const momentMs = 250;
const silenceMs = 1_000;

// The last figure of one resource, and the time in which its bytes were received.
interface Arrival {
  fromMs: number;
  atMs: number;
  downloaded: number;
}

export class Flow {
  private stepMs = 1_000;
  private sums = new Map<number, number>();
  private first = Infinity;
  private end = -Infinity;
  private readonly last = new Map<string, Arrival>();

  begun(resource: string, atMs: number): void {
    this.last.set(resource, { fromMs: atMs, atMs, downloaded: 0 });
  }

  add(resource: string, atMs: number, downloaded: number): void {
    const before = this.last.get(resource) ?? { fromMs: atMs, atMs, downloaded: 0 };
    // A figure that falls belongs to the next file: all of it is new.
    const received = downloaded >= before.downloaded ? downloaded - before.downloaded : downloaded;
    if (received === 0 && downloaded === before.downloaded) return;
    const since = atMs - before.atMs;
    const isSilenceTold = before.atMs - before.fromMs >= silenceMs && since >= 0 && since < momentMs;
    const fromMs = isSilenceTold ? before.fromMs : Math.min(Math.max(before.atMs, atMs - spreadMsMax), atMs);
    const toMs = isSilenceTold ? before.atMs : atMs;
    this.last.set(resource, { fromMs, atMs: toMs, downloaded });
    if (received > 0) this.spread(fromMs, toMs, received);
    while (this.end - this.first >= pointsMax) this.widen();
  }

  // Seconds since the epoch, and bytes a second in each step; silent steps are zero. The last step of a running job is
  // left out: it is incomplete and would look like a fall.
  points(isRunning: boolean): [number[], number[]] {
    const times: number[] = [];
    const rates: number[] = [];
    const end = isRunning && this.end > this.first ? this.end - 1 : this.end;
    for (let step = this.first; step <= end; step += 1) {
      times.push((step * this.stepMs) / 1000);
      rates.push(((this.sums.get(step) ?? 0) * 1000) / this.stepMs);
    }
    return [times, rates];
  }

  private spread(fromMs: number, toMs: number, received: number): void {
    const first = Math.floor(fromMs / this.stepMs);
    const last = Math.floor(toMs / this.stepMs);
    for (let step = first; step <= last; step += 1) {
      const begin = Math.max(fromMs, step * this.stepMs);
      const end = Math.min(toMs, (step + 1) * this.stepMs);
      this.put(step, toMs === fromMs ? received : (received * (end - begin)) / (toMs - fromMs));
    }
  }

  private put(step: number, received: number): void {
    this.sums.set(step, (this.sums.get(step) ?? 0) + received);
    this.first = Math.min(this.first, step);
    this.end = Math.max(this.end, step);
  }

  private widen(): void {
    const finer = this.sums;
    this.sums = new Map();
    this.stepMs *= 2;
    this.first = Infinity;
    this.end = -Infinity;
    for (const [step, sum] of finer) this.put(Math.floor(step / 2), sum);
  }
}
