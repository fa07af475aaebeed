// A job as a fold over its events: the same projection that the service makes, and what only a screen needs: a bar for
// each stage, the throughput, the last lines, the timeline. It is changed in place: a component that shows it also takes
// the version of its feed, which rises with each change.

import { Flow } from "./flow";
import { ended, possible } from "./job_state";
import type {
  Control,
  JobCancelledEvent,
  JobCompletedEvent,
  JobEvent,
  JobFailedEvent,
  JobQueuedEvent,
  JobState,
  JobView,
  OutputEvent,
  ProgressEvent,
  ResourceCancelledEvent,
  ResourceFailedEvent,
  ResourceInstalledEvent,
  ResourceStartedEvent,
  ResourceState,
} from "./types";

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

const quiet: ReadonlySet<string> = new Set<JobEvent["type"]>(["progress", "output", "stage_start", "stage_complete"]);
const endings = { job_completed: "completed", job_failed: "failed", job_cancelled: "cancelled" } as const;

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
    return ended(this.state);
  }

  // The controls that the service allows now.
  get possible(): readonly Control[] {
    return possible(this.state, this.started, this.cancelling);
  }

  // 0 to 1 over all resources: by bytes if all sizes are known, else each resource counts the same.
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
    // TypeScript cannot see that the handler and the event are of the same type.
    const handle = handlers[event.type] as Handler<JobEvent> | undefined;
    handle?.(this, event, event.resource === undefined ? undefined : this.resources.get(event.resource));
    if (quiet.has(event.type)) return;
    this.timeline.push(event);
    if (this.timeline.length > timelineMax) this.timeline.splice(0, this.timeline.length - timelineMax);
  }

  // Lines that a compact replay left out, oldest first.
  addEarlierOutput(events: OutputEvent[]): void {
    const first = this.output[0]?.sequence ?? Infinity;
    const lines = events.filter((event) => event.sequence < first).map(outputLine);
    this.output = [...lines, ...this.output].slice(-outputMax);
  }

  addOutput(event: OutputEvent): void {
    if (event.sequence <= (this.output.at(-1)?.sequence ?? 0)) return;
    this.output.push(outputLine(event));
    if (this.output.length >= outputMax * 2) this.output.splice(0, this.output.length - outputMax);
  }
}

const outputLine = (event: OutputEvent): OutputLine => ({
  sequence: event.sequence,
  resource: event.resource ?? "",
  line: event.line,
});

// 0 to 1: how much of one resource is downloaded; its verification does not count.
export function share(resource: ResourceModel): number {
  if (resource.state === "installed") return 1;
  const main = resource.stages.get("model") ?? resource.stages.get("download") ?? resource.stages.get("cache");
  return Math.min(1, (main?.percent ?? 0) / 100);
}

// What a new screen shows before the first event.
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

type EventOf<Type extends JobEvent["type"]> = Extract<JobEvent, { type: Type }>;
type Handler<Event extends JobEvent> = (job: JobModel, event: Event, resource: ResourceModel | undefined) => void;
type Handlers = { [Type in JobEvent["type"]]?: Handler<EventOf<Type>> };

interface QueuedResource {
  resource: string;
  title: string;
  size?: number | null;
}

function queued(job: JobModel, event: JobQueuedEvent): void {
  job.state = "queued";
  job.host = event.ssh_host;
  job.port = event.ssh_port;
  job.user = event.ssh_user;
  job.uiHome = event.ui_home;
  job.parallel = event.parallel ?? 1;
  job.bandwidthLimit = event.bandwidth_limit ?? null;
  job.maxAttempts = event.max_attempts ?? 3;
  job.verify = event.verify !== false;
  job.retryOf = event.retry_of ?? null;
  job.createdAt = event.at;
  job.resources = new Map();
  for (const { resource, title, size } of event.resources as unknown as QueuedResource[]) {
    job.resources.set(resource, fresh(resource, title, size ?? null));
  }
}

function started(job: JobModel, event: ResourceStartedEvent, before: ResourceModel | undefined): void {
  job.link = "connected";
  const path = event.resource!;
  const resource = fresh(path, event.title, before?.size ?? null);
  resource.state = "running";
  resource.attempt = event.attempt ?? 1;
  resource.startedAt = event.at;
  job.resources.set(path, resource);
  job.flow.begun(path, Date.parse(event.at));
}

function progress(job: JobModel, event: ProgressEvent, resource: ResourceModel | undefined): void {
  if (resource === undefined) return;
  const { stage } = event;
  const downloaded = event.downloaded_bytes ?? null;
  resource.stage = stage;
  resource.stages.set(stage, {
    name: stage,
    percent: event.percent ?? null,
    downloaded,
    total: event.total_bytes ?? null,
  });
  resource.speed = event.bytes_per_second ?? null;
  resource.eta = event.resource_eta_seconds ?? null;
  job.eta = event.job_eta_seconds ?? null;
  if (downloaded !== null && stage !== "verify") job.flow.add(resource.resource, Date.parse(event.at), downloaded);
}

function resourceEnded(
  state: ResourceState,
): Handler<ResourceInstalledEvent | ResourceFailedEvent | ResourceCancelledEvent> {
  return (_job, event, resource) => {
    if (resource === undefined) return;
    resource.state = state;
    resource.speed = resource.eta = resource.retryAt = null;
    const isFailed = event.type === "resource_failed";
    resource.cause = state === "cancelled" ? "cancelled" : isFailed ? event.cause : null;
    resource.error = isFailed ? event.error : null;
    resource.hint = isFailed ? event.hint : null;
  };
}

function jobEnded(job: JobModel, event: JobCompletedEvent | JobFailedEvent | JobCancelledEvent): void {
  job.state = endings[event.type];
  job.endedAt = event.at;
  job.link = job.eta = job.queuePosition = null;
  job.cancelling = false;
  if (event.type === "job_completed") return;
  job.cause = event.cause;
  job.error = event.error;
  job.hint = event.hint;
  job.partialFiles = event.partial_files ?? [];
  if (event.type === "job_failed") return;
  for (const resource of job.resources.values()) {
    if (resource.state === "pending" || resource.state === "running") resource.state = "cancelled";
  }
}

const connected = (job: JobModel): void => {
  job.link = "connected";
};

const handlers: Handlers = {
  job_queued: queued,
  queue_position_changed: (job, event) => {
    job.queuePosition = event.queue_position;
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
    job.bandwidthLimit = event.bandwidth_limit;
  },
  host_key_accepted: connected,
  job_reattached: connected,
  link_lost: (job) => {
    job.link = "reconnecting";
  },
  resource_started: started,
  stage_start: (_job, event, resource) => {
    if (resource) resource.name = event.name;
  },
  progress,
  output: (job, event) => job.addOutput(event),
  verification_started: (_job, _event, resource) => {
    if (resource) resource.stage = "verify";
  },
  resource_verified: (_job, event, resource) => {
    if (resource && resource.verified !== "unverified") resource.verified = event.result;
  },
  resource_retry_scheduled: (_job, event, resource) => {
    if (resource === undefined) return;
    resource.state = "pending";
    resource.retryAt = Date.parse(event.at) + event.delay_seconds * 1000;
  },
  resource_installed: resourceEnded("installed"),
  resource_failed: resourceEnded("failed"),
  resource_cancelled: resourceEnded("cancelled"),
  job_completed: jobEnded,
  job_failed: jobEnded,
  job_cancelled: jobEnded,
};
