// What the service answers and sends, as far as the pages use it. Its own description is at /openapi.json.

export type JobState = "queued" | "running" | "paused" | "completed" | "failed" | "cancelled";
export type ResourceState = "pending" | "running" | "installed" | "failed" | "cancelled";

export interface JobSummary {
  job_id: string;
  state: JobState;
  link: string | null;
  instance: string;
  ui_home: string;
  last_sequence: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  installed: number;
  total: number;
  error: string | null;
  cause: string | null;
  queue_position: number | null;
  job_eta_seconds: number | null;
  cancelling: boolean;
  parallel: number;
  bandwidth_limit: number | null;
  max_attempts: number;
  verify: boolean;
  retry_of: string | null;
  thinned_at: string | null;
}

export interface JobResource {
  resource: string;
  title: string;
  state: ResourceState;
  attempt: number;
  percent: number | null;
  stage: string | null;
  name: string | null;
  downloaded_bytes: number | null;
  total_bytes: number | null;
  size_bytes: number | null;
  verified: string | null;
  cause: string | null;
  error: string | null;
  hint: string | null;
}

export interface JobView extends JobSummary {
  resources: JobResource[];
}

export interface JobPage {
  jobs: JobSummary[];
  next: string | null;
}

export interface Card {
  path: string;
  title: string;
  type: string | null;
  ecosystem: string | null;
  basemodel: string | null;
  tags: string[];
  size: number | null;
  url: string | null;
  dependencies: string[];
  description: string;
}

export interface Cards {
  resources: Card[];
  broken: { path: string; error: string }[];
}

export interface Evidence {
  sequence: number | null;
  source_offset: number | null;
  line: string | null;
}

export interface Failure {
  resource: string;
  attempt: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  exit_code: number | null;
  evidence: Evidence[];
  retry_would_help: boolean;
  retry: string;
  last_lines: string[];
}

export interface Span {
  kind: string;
  resource: string | null;
  attempt: number | null;
  sequence: number;
  from: string;
  to: string | null;
  seconds: number | null;
}

export interface Attempt {
  resource: string;
  attempt: number;
  outcome: string;
  cause: string | null;
  exit_code: number | null;
  started_at: string;
  seconds: number | null;
  bytes: number;
  bytes_per_second: number | null;
}

export interface Report {
  job_id: string;
  instance: string;
  ui_home: string;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  state: string;
  installed: number | null;
  total: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  events: number;
  failures: Failure[];
  timeline: Span[];
  attempts: Attempt[];
  throughput: { from: string | null; step_seconds: number | null; bytes_per_second: number[] };
  last_lines: string[];
}

export interface FailureGroup {
  cause: string | null;
  host: string;
  card: string;
  count: number;
  last_at: string | null;
  error: string | null;
}

// One event of a job's history: these three, and the fields of its type.
export interface JobEvent {
  type: string;
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  [field: string]: unknown;
}

export interface Subscribed {
  success: boolean;
  message?: string;
  job_id?: string;
  last_sequence?: number;
  state?: JobState;
}

export const ended = (state: JobState): boolean => state === "completed" || state === "failed" || state === "cancelled";
