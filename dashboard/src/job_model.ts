// A job as its events add up to it: the same projection that the service makes, and what only a screen needs beside
// it (a bar for each stage, the throughput, the last lines, the timeline). It is changed in place: whatever shows it
// takes the version of its feed as well, which says that it was.

import { Flow } from "./flow";
import type { JobEvent, JobState, JobView, ResourceState } from "./types";

const outputMax = 1_000;
const timelineMax = 2_000;

export interface Stage {
  name: string;
  percent: number | null;
  downloaded: number | null;
  total: number | null;
}

export interface ResourceModel {
  resource: string;
  title: string;
  size: number | null;
  state: ResourceState;
  attempt: number;
  name: string | null;
  stage: string | null;
  stages: Map<string, Stage>;
  speed: number | null;
  eta: number | null;
  verified: string | null;
  retryAt: number | null;
  cause: string | null;
  error: string | null;
  hint: string | null;
  startedAt: string | null;
}

export interface OutputLine {
  sequence: number;
  resource: string;
  line: string;
}

export interface Shown {
  job: JobModel;
  version: number;
}

const quiet = new Set(["progress", "output", "stage_start", "stage_complete"]);
const endings: Record<string, JobState> = {
  job_completed: "completed",
  job_failed: "failed",
  job_cancelled: "cancelled",
};

export class JobModel {
  last = 0;
  state: JobState = "queued";
  link: string | null = null;
  cancelling = false;
  started = false;
  host = "";
  port = 0;
  user = "";
  uiHome = "";
  parallel = 1;
  bandwidthLimit: number | null = null;
  maxAttempts = 3;
  verify = true;
  retryOf: string | null = null;
  queuePosition: number | null = null;
  createdAt: string | null = null;
  startedAt: string | null = null;
  endedAt: string | null = null;
  eta: number | null = null;
  cause: string | null = null;
  error: string | null = null;
  hint: string | null = null;
  partialFiles: string[] = [];
  resources = new Map<string, ResourceModel>();
  timeline: JobEvent[] = [];
  output: OutputLine[] = [];
  flow = new Flow();

  constructor(readonly jobId: string) {}

  get instance(): string {
    return `${this.user}@${this.host.includes(":") ? `[${this.host}]` : this.host}:${this.port}`;
  }

  get installed(): number {
    let count = 0;
    for (const resource of this.resources.values()) if (resource.state === "installed") count += 1;
    return count;
  }

  get isEnded(): boolean {
    return this.state === "completed" || this.state === "failed" || this.state === "cancelled";
  }

  // 0 to 1 over all resources: by bytes where all sizes are known, else each resource counts the same.
  get share(): number {
    const all = [...this.resources.values()];
    if (all.length === 0) return 0;
    const bySize = all.every((resource) => resource.size !== null && resource.size > 0);
    let done = 0;
    let whole = 0;
    for (const resource of all) {
      const weight = bySize ? resource.size! : 1;
      done += weight * share(resource);
      whole += weight;
    }
    return Math.min(1, done / whole);
  }

  apply(event: JobEvent): void {
    this.last = event.sequence;
    handlers[event.type]?.(this, event, event.resource === undefined ? undefined : this.resources.get(event.resource));
    if (quiet.has(event.type)) return;
    this.timeline.push(event);
    if (this.timeline.length > timelineMax) this.timeline.splice(0, this.timeline.length - timelineMax);
  }

  // Lines that a compact replay left out, oldest first.
  addEarlierOutput(events: JobEvent[]): void {
    const first = this.output[0]?.sequence ?? Infinity;
    const lines = events.filter((event) => event.sequence < first).map(outputLine);
    this.output = [...lines, ...this.output].slice(-outputMax);
  }

  addOutput(event: JobEvent): void {
    if (event.sequence <= (this.output.at(-1)?.sequence ?? 0)) return;
    this.output.push(outputLine(event));
    if (this.output.length >= outputMax * 2) this.output.splice(0, this.output.length - outputMax);
  }
}

const outputLine = (event: JobEvent): OutputLine => ({
  sequence: event.sequence,
  resource: event.resource ?? "",
  line: str(event["line"]) ?? "",
});

// 0 to 1: how much of one resource is there, its verification not counted.
export function share(resource: ResourceModel): number {
  if (resource.state === "installed") return 1;
  const main = resource.stages.get("model") ?? resource.stages.get("download") ?? resource.stages.get("cache");
  return Math.min(1, (main?.percent ?? 0) / 100);
}

// What a new screen shows before the first event came.
export function fromView(view: JobView): JobModel {
  const model = new JobModel(view.job_id);
  const parts = /^(.*?)@\[?(.*?)\]?:(\d+)$/.exec(view.instance);
  Object.assign(model, {
    state: view.state,
    link: view.link,
    cancelling: view.cancelling,
    started: view.started_at !== null,
    user: parts?.[1] ?? "",
    host: parts?.[2] ?? view.instance,
    port: Number(parts?.[3] ?? 0),
    uiHome: view.ui_home,
    createdAt: view.created_at,
    startedAt: view.started_at,
    endedAt: view.ended_at,
    queuePosition: view.queue_position,
    eta: view.job_eta_seconds,
    cause: view.cause,
    error: view.error,
    parallel: view.parallel,
    bandwidthLimit: view.bandwidth_limit,
    maxAttempts: view.max_attempts,
    verify: view.verify,
    retryOf: view.retry_of,
  });
  for (const shown of view.resources) {
    const resource = fresh(shown.resource, shown.title, shown.size_bytes);
    resource.state = shown.state;
    resource.attempt = shown.attempt;
    resource.name = shown.name;
    resource.stage = shown.stage;
    resource.verified = shown.verified;
    resource.cause = shown.cause;
    resource.error = shown.error;
    resource.hint = shown.hint;
    if (shown.stage !== null) {
      resource.stages.set(shown.stage, {
        name: shown.stage,
        percent: shown.percent,
        downloaded: shown.downloaded_bytes,
        total: shown.total_bytes,
      });
    }
    model.resources.set(shown.resource, resource);
  }
  return model;
}

function fresh(resource: string, title: string, size: number | null): ResourceModel {
  return {
    resource,
    title,
    size,
    state: "pending",
    attempt: 0,
    name: null,
    stage: null,
    stages: new Map(),
    speed: null,
    eta: null,
    verified: null,
    retryAt: null,
    cause: null,
    error: null,
    hint: null,
    startedAt: null,
  };
}

type Handler = (job: JobModel, event: JobEvent, resource: ResourceModel | undefined) => void;

const str = (value: unknown): string | null => (typeof value === "string" ? value : null);
const num = (value: unknown): number | null => (typeof value === "number" ? value : null);

function queued(job: JobModel, event: JobEvent): void {
  Object.assign(job, {
    state: "queued",
    host: event["ssh_host"],
    port: event["ssh_port"],
    user: event["ssh_user"],
    uiHome: event["ui_home"],
    parallel: num(event["parallel"]) ?? 1,
    bandwidthLimit: num(event["bandwidth_limit"]),
    maxAttempts: num(event["max_attempts"]) ?? 3,
    verify: event["verify"] !== false,
    retryOf: str(event["retry_of"]),
    createdAt: event.at,
  });
  job.resources = new Map();
  for (const entry of event["resources"] as { resource: string; title: string; size?: number | null }[]) {
    job.resources.set(entry.resource, fresh(entry.resource, entry.title, entry.size ?? null));
  }
}

function started(job: JobModel, event: JobEvent, before: ResourceModel | undefined): void {
  job.link = "connected";
  const path = event.resource!;
  const resource = fresh(path, str(event["title"]) ?? path, before?.size ?? null);
  resource.state = "running";
  resource.attempt = event.attempt ?? 1;
  resource.startedAt = event.at;
  job.resources.set(path, resource);
  job.flow.begun(path, Date.parse(event.at));
}

function progress(job: JobModel, event: JobEvent, resource: ResourceModel | undefined): void {
  if (resource === undefined) return;
  const stage = str(event["stage"]) ?? "download";
  const downloaded = num(event["downloaded_bytes"]);
  resource.stage = stage;
  resource.stages.set(stage, {
    name: stage,
    percent: num(event["percent"]),
    downloaded,
    total: num(event["total_bytes"]),
  });
  resource.speed = num(event["bytes_per_second"]);
  resource.eta = num(event["resource_eta_seconds"]);
  job.eta = num(event["job_eta_seconds"]);
  if (downloaded !== null && stage !== "verify") job.flow.add(resource.resource, Date.parse(event.at), downloaded);
}

function resourceEnded(state: ResourceState): Handler {
  return (_job, event, resource) => {
    if (resource === undefined) return;
    resource.state = state;
    resource.speed = resource.eta = resource.retryAt = null;
    resource.cause = state === "cancelled" ? "cancelled" : str(event["cause"]);
    resource.error = str(event["error"]);
    resource.hint = str(event["hint"]);
  };
}

function jobEnded(job: JobModel, event: JobEvent): void {
  job.state = endings[event.type]!;
  job.endedAt = event.at;
  job.link = job.eta = job.queuePosition = null;
  job.cancelling = false;
  job.cause = str(event["cause"]);
  job.error = str(event["error"]);
  job.hint = str(event["hint"]);
  job.partialFiles = (event["partial_files"] as string[] | undefined) ?? [];
  if (event.type !== "job_cancelled") return;
  for (const resource of job.resources.values()) {
    if (resource.state === "pending" || resource.state === "running") resource.state = "cancelled";
  }
}

const connected: Handler = (job) => {
  job.link = "connected";
};

const handlers: Record<string, Handler> = {
  job_queued: queued,
  queue_position_changed: (job, event) => {
    job.queuePosition = num(event["queue_position"]);
  },
  job_started: (job, event) => {
    job.state = "running";
    job.started = true;
    job.startedAt = event.at;
    job.queuePosition = null;
  },
  job_paused: (job) => {
    job.state = "paused";
    job.queuePosition = null;
  },
  job_resumed: (job) => {
    job.state = job.started ? "running" : "queued";
  },
  cancel_requested: (job) => {
    job.cancelling = true;
  },
  limits_changed: (job, event) => {
    job.bandwidthLimit = num(event["bandwidth_limit"]);
  },
  host_key_accepted: connected,
  job_reattached: connected,
  link_lost: (job) => {
    job.link = "reconnecting";
  },
  resource_started: started,
  stage_start: (_job, event, resource) => {
    if (resource) resource.name = str(event["name"]);
  },
  progress,
  output: (job, event) => job.addOutput(event),
  verification_started: (_job, _event, resource) => {
    if (resource) resource.stage = "verify";
  },
  resource_verified: (_job, event, resource) => {
    if (resource && resource.verified !== "unverified") resource.verified = str(event["result"]);
  },
  resource_retry_scheduled: (_job, event, resource) => {
    if (resource === undefined) return;
    resource.state = "pending";
    resource.retryAt = Date.parse(event.at) + (num(event["delay_seconds"]) ?? 0) * 1000;
  },
  resource_installed: resourceEnded("installed"),
  resource_failed: resourceEnded("failed"),
  resource_cancelled: resourceEnded("cancelled"),
  job_completed: jobEnded,
  job_failed: jobEnded,
  job_cancelled: jobEnded,
};
