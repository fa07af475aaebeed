// A job as a fold over its events: the same projection that the service makes, and what only a screen needs: a bar for
// each stage, the throughput, the last lines, the timeline. It is changed in place: a component that shows it also takes
// the version of its feed, which rises with each change.
//
// A field that the service shows has the service's name, and TypeScript says which one is missing here. How each one
// follows from the events is said twice, here and in service/events/fold.py; tests/golden_streams.json holds the two
// together.

import { Flow } from "./flow";
import { ended, possible } from "./job_state";
import type {
  Control,
  JobCancelledEvent,
  JobCompletedEvent,
  JobEvent,
  JobFailedEvent,
  JobQueuedEvent,
  JobResource,
  JobState,
  JobSummary,
  JobView,
  OutputEvent,
  ProgressEvent,
  ResourceCancelledEvent,
  ResourceFailedEvent,
  ResourceInstalledEvent,
  ResourceStartedEvent,
} from "./types";

const outputMax = 1_000;
const timelineMax = 2_000;

export interface Stage {
  name: string;
  percent: number | null;
  downloaded: number | null;
  total: number | null;
}

// One resource as the service shows it, and with it: a bar for each stage, the stage whose bar moves now, and the
// estimate for the whole job that its last progress brought.
export interface ResourceModel extends JobResource {
  stages: Map<string, Stage>;
  currentStage: string | null;
  job_eta_seconds: number | null;
  progressAt: number | null;
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

export class JobModel implements Omit<JobSummary, "possible"> {
  state: JobState = "queued";
  link: string | null = null;
  ui_home = "";
  last_sequence = 0;
  created_at = "";
  started_at: string | null = null;
  ended_at: string | null = null;
  error: string | null = null;
  cause: string | null = null;
  queue_position: number | null = null;
  cancelling = false;
  parallel = 1;
  bandwidth_limit: number | null = null;
  max_attempts = 3;
  verify = true;
  reinstall = false;
  removes: string[] = [];
  wait_for_ssh_seconds: number | null = null;
  retry_of: string | null = null;
  thinned_at: string | null = null;
  // Only a screen needs these.
  // Why the service is not connected to the instance yet, or not again.
  waiting: string | null = null;
  host = "";
  port = 0;
  user = "";
  hint: string | null = null;
  partialFiles: string[] = [];
  resources = new Map<string, ResourceModel>();
  timeline: JobEvent[] = [];
  output: OutputLine[] = [];
  flow = new Flow();

  constructor(readonly job_id: string) {}

  get instance(): string {
    return `${this.user}@${this.host.includes(":") ? `[${this.host}]` : this.host}:${this.port}`;
  }

  get total(): number {
    return this.resources.size;
  }

  get installed(): number {
    let count = 0;
    for (const resource of this.resources.values()) if (resource.state === "installed") count += 1;
    return count;
  }

  // As of the last progress of any resource; null while the job does not run.
  get job_eta_seconds(): number | null {
    let last: ResourceModel | null = null;
    for (const resource of this.running) {
      if (resource.progressAt !== null && resource.progressAt > (last?.progressAt ?? -1)) last = resource;
    }
    return this.state === "running" ? (last?.job_eta_seconds ?? null) : null;
  }

  get running(): ResourceModel[] {
    return [...this.resources.values()].filter((resource) => resource.state === "running");
  }

  // The speed of all downloads together; null if no tool prints it.
  get bytesPerSecond(): number | null {
    if (this.state !== "running") return null;
    const rates = this.running.map((resource) => resource.bytes_per_second).filter((rate) => rate !== null);
    return rates.length === 0 ? null : rates.reduce((sum, rate) => sum + rate, 0);
  }

  get isEnded(): boolean {
    return ended(this.state);
  }

  // The controls that the service allows now.
  get possible(): readonly Control[] {
    return possible(this.state, this.started_at !== null, this.cancelling);
  }

  // 0 to 1 over all resources: by bytes if all sizes are known, else each resource counts the same.
  get share(): number {
    const all = [...this.resources.values()];
    if (all.length === 0) return this.state === "completed" ? 1 : 0;
    const bySize = all.every((resource) => resource.size_bytes !== null && resource.size_bytes > 0);
    let done = 0;
    let whole = 0;
    for (const resource of all) {
      const weight = bySize ? resource.size_bytes! : 1;
      done += weight * share(resource);
      whole += weight;
    }
    return Math.min(1, done / whole);
  }

  apply(event: JobEvent): void {
    this.last_sequence = event.sequence;
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
  const { job_id, instance, installed, total, job_eta_seconds, possible, resources, ...fields } = view;
  const model = Object.assign(new JobModel(job_id), fields);
  const parts = /^(.*?)@\[?(.*?)\]?:(\d+)$/.exec(instance);
  model.user = parts?.[1] ?? "";
  model.host = parts?.[2] ?? instance;
  model.port = Number(parts?.[3] ?? 0);
  for (const shown of resources) {
    const stages = new Map(shown.stage === null ? [] : [[shown.stage, stageOf(shown.stage, shown)]]);
    const more = { stages, currentStage: shown.stage, job_eta_seconds, progressAt: 0 };
    model.resources.set(shown.resource, { ...shown, ...more });
  }
  return model;
}

// A resource of which only the card is known.
function newResource(card: Pick<JobResource, "resource" | "title" | "dependencies" | "size_bytes">): ResourceModel {
  return {
    ...card,
    state: "pending",
    attempt: 0,
    cause: null,
    error: null,
    hint: null,
    exit_code: null,
    seconds: null,
    name: null,
    stage: null,
    percent: null,
    downloaded_bytes: null,
    total_bytes: null,
    bytes_per_second: null,
    eta_seconds: null,
    resource_eta_seconds: null,
    verified: null,
    retry_at: null,
    started_at: null,
    ended_at: null,
    stages: new Map(),
    currentStage: null,
    job_eta_seconds: null,
    progressAt: null,
  };
}

type Bytes = Partial<Pick<JobResource, "percent" | "downloaded_bytes" | "total_bytes">>;

const stageOf = (name: string, { percent, downloaded_bytes, total_bytes }: Bytes): Stage => ({
  name,
  percent: percent ?? null,
  downloaded: downloaded_bytes ?? null,
  total: total_bytes ?? null,
});

type EventOf<Type extends JobEvent["type"]> = Extract<JobEvent, { type: Type }>;
type Handler<Event extends JobEvent> = (job: JobModel, event: Event, resource: ResourceModel | undefined) => void;
type Handlers = { [Type in JobEvent["type"]]?: Handler<EventOf<Type>> };

interface QueuedResource {
  resource: string;
  title: string;
  dependencies: string[];
  size?: number | null;
}

const jobCancelled = { state: "cancelled", cause: "cancelled", error: "the job was cancelled", hint: null } as const;

function queued(job: JobModel, event: JobQueuedEvent): void {
  job.state = "queued";
  job.host = event.ssh_host;
  job.port = event.ssh_port;
  job.user = event.ssh_user;
  job.ui_home = event.ui_home;
  job.parallel = event.parallel ?? 1;
  job.bandwidth_limit = event.bandwidth_limit ?? null;
  job.max_attempts = event.max_attempts ?? 3;
  job.verify = event.verify !== false;
  job.reinstall = event.reinstall ?? false;
  job.removes = event.removes ?? [];
  job.wait_for_ssh_seconds = event.wait_for_ssh_seconds ?? null;
  job.retry_of = event.retry_of ?? null;
  job.created_at = event.at;
  job.resources = new Map();
  for (const { resource, title, dependencies, size } of event.resources as unknown as QueuedResource[]) {
    job.resources.set(resource, newResource({ resource, title, dependencies, size_bytes: size ?? null }));
  }
}

// A new attempt begins from nothing: only what identifies the resource stays.
function started(job: JobModel, event: ResourceStartedEvent, before: ResourceModel | undefined): void {
  connected(job);
  const path = event.resource!;
  const { dependencies = [], size_bytes = null } = before ?? {};
  const resource = newResource({ resource: path, title: event.title, dependencies, size_bytes });
  resource.state = "running";
  resource.attempt = event.attempt ?? 1;
  resource.started_at = event.at;
  job.resources.set(path, resource);
  job.flow.begun(path, Date.parse(event.at));
}

function progress(job: JobModel, event: ProgressEvent, resource: ResourceModel | undefined): void {
  if (resource === undefined) return;
  const { stage } = event;
  const at = Date.parse(event.at);
  resource.stage = resource.currentStage = stage;
  resource.percent = event.percent ?? null;
  resource.downloaded_bytes = event.downloaded_bytes ?? null;
  resource.total_bytes = event.total_bytes ?? null;
  resource.bytes_per_second = event.bytes_per_second ?? null;
  resource.eta_seconds = event.eta_seconds ?? null;
  resource.resource_eta_seconds = event.resource_eta_seconds ?? null;
  resource.job_eta_seconds = event.job_eta_seconds ?? null;
  resource.progressAt = at;
  resource.stages.set(stage, stageOf(stage, event));
  const downloaded = resource.downloaded_bytes;
  if (downloaded !== null && stage !== "verify") job.flow.add(resource.resource, at, downloaded);
}

function resourceEnded(
  _job: JobModel,
  event: ResourceInstalledEvent | ResourceFailedEvent | ResourceCancelledEvent,
  resource: ResourceModel | undefined,
): void {
  if (resource === undefined) return;
  const { exit_code = null, seconds = null } = event;
  Object.assign(resource, { exit_code, seconds, ended_at: event.at, cause: null, error: null, hint: null });
  if (event.type === "resource_installed") resource.state = "installed";
  else if (event.type === "resource_cancelled") Object.assign(resource, jobCancelled);
  else {
    resource.state = "failed";
    resource.cause = event.cause;
    resource.error = event.error;
    resource.hint = event.hint;
  }
}

function jobEnded(job: JobModel, event: JobCompletedEvent | JobFailedEvent | JobCancelledEvent): void {
  job.state = endings[event.type];
  job.ended_at = event.at;
  job.link = job.waiting = job.queue_position = null;
  job.cancelling = false;
  if (event.type === "job_completed") return;
  job.cause = event.cause;
  job.error = event.error;
  job.hint = event.hint;
  job.partialFiles = event.partial_files ?? [];
  if (event.type === "job_failed") return;
  for (const resource of job.resources.values()) {
    const hasEnded = resource.state !== "pending" && resource.state !== "running";
    if (!hasEnded) Object.assign(resource, jobCancelled, { retry_at: null });
  }
}

const connected = (job: JobModel): void => {
  job.link = "connected";
  job.waiting = null;
};

const handlers: Handlers = {
  job_queued: queued,
  queue_position_changed: (job, event) => {
    job.queue_position = event.queue_position;
  },
  job_started: (job, event) => {
    job.state = "running";
    job.started_at = event.at;
    job.queue_position = null;
  },
  job_paused: (job) => {
    job.state = "paused";
    job.queue_position = null;
  },
  job_resumed: (job) => {
    job.state = job.started_at !== null ? "running" : "queued";
  },
  cancel_requested: (job) => {
    job.cancelling = true;
  },
  limits_changed: (job, event) => {
    job.bandwidth_limit = event.bandwidth_limit;
  },
  connecting: (job, event) => {
    job.waiting = event.text;
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
    if (resource) resource.currentStage = "verify";
  },
  resource_verified: (_job, event, resource) => {
    if (resource && resource.verified !== "unverified") resource.verified = event.result;
  },
  resource_retry_scheduled: (_job, event, resource) => {
    if (resource === undefined) return;
    resource.state = "pending";
    resource.retry_at = new Date(Date.parse(event.at) + Math.round(event.delay_seconds * 1000)).toISOString();
    resource.ended_at = null;
  },
  resource_installed: resourceEnded,
  resource_failed: resourceEnded,
  resource_cancelled: resourceEnded,
  job_completed: jobEnded,
  job_failed: jobEnded,
  job_cancelled: jobEnded,
};
