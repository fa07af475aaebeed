import { describe, expect, test } from "vitest";
import { fromView, JobModel, share } from "../src/job_model";
import type { JobEvent, JobView, OutputEvent } from "../src/types";

const jobId = "550e8400-e29b-41d4-a716-446655440000";

// A job as a list of events: sequences and times are counted here.
function jobOf(...events: Record<string, unknown>[]): JobModel {
  const job = new JobModel(jobId);
  for (const [index, fields] of events.entries()) job.apply(eventAt(index + 1, fields));
  return job;
}

const eventAt = (sequence: number, fields: Record<string, unknown>): JobEvent =>
  ({
    job_id: jobId,
    sequence,
    at: new Date(Date.UTC(2026, 0, 1, 0, 0, sequence)).toISOString(),
    ...fields,
  }) as unknown as JobEvent;

const queued = (...sizes: (number | null)[]) => ({
  type: "job_queued",
  ssh_host: "2001:db8::7",
  ssh_port: 44_686,
  ssh_user: "root",
  ui_home: "/workspace/ComfyUI",
  resources: sizes.map((size, index) => ({ resource: `${index}.md`, title: `Card ${index}`, size })),
});
const startedJob = { type: "job_started" };
const startedResource = (resource: string, attempt = 1) => ({
  type: "resource_started",
  resource,
  attempt,
  title: resource,
});
const bar = (resource: string, percent: number, stage = "model") => ({
  type: "progress",
  resource,
  attempt: 1,
  stage,
  percent,
  downloaded_bytes: percent * 1_000,
  total_bytes: 100_000,
  bytes_per_second: 5_000,
  resource_eta_seconds: 7,
  job_eta_seconds: 9,
});

test("a queued job knows its instance, its limits and its resources", () => {
  const job = jobOf(queued(10, null));
  expect(job.instance).toBe("root@[2001:db8::7]:44686");
  expect([job.state, job.parallel, job.max_attempts, job.verify, job.bandwidth_limit]).toEqual([
    "queued",
    1,
    3,
    true,
    null,
  ]);
  expect([...job.resources.keys()]).toEqual(["0.md", "1.md"]);
});

test("pause and resume lead back to where the job was", () => {
  const queuedOne = jobOf(queued(1), { type: "job_paused" });
  expect(queuedOne.state).toBe("paused");
  queuedOne.apply(eventAt(3, { type: "job_resumed" }));
  expect(queuedOne.state).toBe("queued");
  expect(jobOf(queued(1), startedJob, { type: "job_paused" }, { type: "job_resumed" }).state).toBe("running");
});

test("why it is not connected is shown until it is", () => {
  const refused = { type: "connecting", reason: "refused", text: "Connection refused", seconds: 0, next_seconds: 1 };
  const job = jobOf(queued(1), startedJob, refused);
  expect([job.state, job.link, job.waiting]).toEqual(["running", null, "Connection refused"]);
  job.apply(eventAt(4, { type: "host_key_accepted" }));
  expect([job.link, job.waiting]).toEqual(["connected", null]);
});

test("a link that is lost changes no state", () => {
  const job = jobOf(queued(1), startedJob, { type: "host_key_accepted" }, { type: "link_lost" });
  expect([job.state, job.link]).toEqual(["running", "reconnecting"]);
  job.apply(eventAt(5, { type: "job_reattached" }));
  expect(job.link).toBe("connected");
});

describe("progress", () => {
  test("is kept for each stage, with the estimates", () => {
    const job = jobOf(queued(null), startedJob, startedResource("0.md"), bar("0.md", 45), bar("0.md", 3, "verify"));
    const resource = job.resources.get("0.md")!;
    expect(resource.stages.get("model")).toEqual({ name: "model", percent: 45, downloaded: 45_000, total: 100_000 });
    expect([resource.stage, resource.bytes_per_second, resource.resource_eta_seconds, job.job_eta_seconds]).toEqual([
      "verify",
      5_000,
      7,
      9,
    ]);
    expect(share(resource)).toBe(0.45);
  });

  test("is weighed by size only if all sizes are known", () => {
    const events = [startedJob, startedResource("0.md"), bar("0.md", 50)];
    expect(jobOf(queued(300, 100), ...events).share).toBeCloseTo(0.375);
    expect(jobOf(queued(300, null), ...events).share).toBeCloseTo(0.25);
    expect(new JobModel(jobId).share).toBe(0);
  });

  test("of an unknown resource is ignored", () => {
    expect(jobOf(queued(1), bar("unknown.md", 10)).resources.size).toBe(1);
  });
});

test("a new attempt starts from nothing", () => {
  const job = jobOf(
    queued(10),
    startedJob,
    startedResource("0.md"),
    bar("0.md", 90),
    { type: "resource_retry_scheduled", resource: "0.md", attempt: 1, delay_seconds: 5 },
    startedResource("0.md", 2),
  );
  const resource = job.resources.get("0.md")!;
  expect([resource.state, resource.attempt, resource.stages.size, resource.retry_at, resource.size_bytes]).toEqual([
    "running",
    2,
    0,
    null,
    10,
  ]);
});

test("a failed resource says why, and the job ends once", () => {
  const job = jobOf(
    queued(1, 1),
    startedJob,
    startedResource("0.md"),
    { type: "resource_failed", resource: "0.md", attempt: 1, cause: "not_found", error: "404", hint: "Check the URL" },
    { type: "resource_installed", resource: "1.md", attempt: 1 },
    { type: "job_failed", cause: "not_found", error: "1 of 2 failed", hint: null },
  );
  expect(job.resources.get("0.md")).toMatchObject({ state: "failed", cause: "not_found", hint: "Check the URL" });
  expect([job.isEnded, job.state, job.installed, job.cause, job.link]).toEqual([true, "failed", 1, "not_found", null]);
});

test("a cancelled job cancels what had not ended", () => {
  const job = jobOf(
    queued(1, 1, 1),
    startedJob,
    { type: "resource_installed", resource: "0.md", attempt: 1 },
    startedResource("1.md"),
    { type: "cancel_requested" },
  );
  expect(job.cancelling).toBe(true);
  job.apply(eventAt(6, { type: "job_cancelled", partial_files: ["/ui/half.bin"] }));
  expect([...job.resources.values()].map((resource) => resource.state)).toEqual([
    "installed",
    "cancelled",
    "cancelled",
  ]);
  expect([job.cancelling, job.partialFiles]).toEqual([false, ["/ui/half.bin"]]);
});

test("the controls follow the state as events come", () => {
  const paused = { type: "job_paused" };
  const cases: [Record<string, unknown>[], string[]][] = [
    [[], ["pause", "cancel", "move", "change"]],
    [[paused], ["resume", "cancel", "move", "change"]],
    [[startedJob], ["pause", "cancel", "change"]],
    [
      [startedJob, paused],
      ["resume", "cancel", "change"],
    ],
    [[startedJob, { type: "cancel_requested" }], []],
    [
      [startedJob, { type: "job_failed", cause: "network" }],
      ["retry", "delete"],
    ],
    [
      [startedJob, { type: "cancel_requested" }, { type: "job_cancelled" }],
      ["retry", "delete"],
    ],
    [[startedJob, { type: "job_completed" }], ["delete"]],
  ];
  for (const [events, controls] of cases) expect(jobOf(queued(1), ...events).possible).toEqual(controls);
});

describe("the lists are bounded", () => {
  const lines = (first: number, count: number) =>
    Array.from(
      { length: count },
      (_, index) =>
        eventAt(first + index, { type: "output", resource: "0.md", line: `${first + index}` }) as OutputEvent,
    );

  test("the last thousand lines stay, each once", () => {
    const job = new JobModel(jobId);
    for (const event of lines(1, 2_000)) job.addOutput(event);
    for (const event of lines(1_990, 11)) job.addOutput(event);
    expect([job.output.length, job.output[0]!.line, job.output.at(-1)!.line]).toEqual([1_000, "1001", "2000"]);
  });

  test("earlier lines go before the later ones", () => {
    const job = new JobModel(jobId);
    for (const event of lines(5, 3)) job.addOutput(event);
    job.addEarlierOutput(lines(1, 6));
    expect(job.output.map((line) => line.sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  test("bars and lines stay out of the timeline", () => {
    const job = jobOf(queued(1), startedJob, startedResource("0.md"), bar("0.md", 1));
    expect(job.timeline.map((event) => event.type)).toEqual(["job_queued", "job_started", "resource_started"]);
    for (let at = 5; at < 2_105; at += 1) job.apply(eventAt(at, { type: "link_lost" }));
    expect([job.timeline.length, job.last_sequence]).toEqual([2_000, 2_104]);
  });
});

test("the answer of the API gives the same model as its events", () => {
  const view = {
    job_id: jobId,
    state: "running",
    link: "connected",
    instance: "root@[2001:db8::7]:44686",
    ui_home: "/workspace/ComfyUI",
    started_at: "2026-01-01T00:00:02.000Z",
    created_at: "2026-01-01T00:00:01.000Z",
    resources: [
      {
        resource: "0.md",
        title: "0.md",
        state: "running",
        attempt: 1,
        stage: "model",
        percent: 45,
        downloaded_bytes: 45_000,
        total_bytes: 100_000,
        size_bytes: 10,
      },
    ],
  } as unknown as JobView;
  const shown = fromView(view);
  const folded = jobOf(queued(10), startedJob, startedResource("0.md"), bar("0.md", 45));
  expect([shown.instance, shown.state, shown.link, shown.ui_home, shown.share]).toEqual([
    folded.instance,
    folded.state,
    folded.link,
    folded.ui_home,
    folded.share,
  ]);
  expect(shown.resources.get("0.md")!.stages).toEqual(folded.resources.get("0.md")!.stages);
});
