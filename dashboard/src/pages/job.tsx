// One job, live: its state, its history, its output, and its controls.

import { useEffect, useMemo, useState } from "preact/hooks";

import { call, message, patiently } from "../api";
import { Feed, fullHistoryMax } from "../feed";
import { bytes, count, dateTime, left, shortId, speed } from "../format";
import { fromView, type JobModel, type ResourceModel, type Shown } from "../job_model";
import { Bar, Foreign, Heading, Notice, State } from "../parts/common";
import { Controls } from "../parts/controls";
import { HostKeyQuestion } from "../parts/host_key";
import { MissingKey } from "../parts/missing_key";
import { Output } from "../parts/output";
import { Plot } from "../parts/plot";
import { ResourceCard } from "../parts/resource_card";
import { Timeline } from "../parts/timeline";
import { instanceAddress, jobAddress, reportAddress } from "../router";
import { link } from "../socket";
import type { JobView, Report } from "../types";

export function JobPage({ jobId }: { jobId: string }) {
  const [feed, setFeed] = useState<Feed | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  useEffect(() => {
    const aborted = new AbortController();
    let opened: Feed | null = null;
    const open = async () => {
      const ask = () => call<JobView>("GET", `/resources/jobs/${jobId}`, { signal: aborted.signal });
      const view = await patiently(ask, setTrouble, aborted.signal);
      if (aborted.signal.aborted) return;
      const compact = view.last_sequence > fullHistoryMax;
      opened = new Feed(jobId, { compact, isThinned: view.thinned_at !== null, first: fromView(view) }).open();
      setFeed(opened);
    };
    open().catch((error: unknown) => {
      if (!aborted.signal.aborted) setFailure(message(error));
    });
    return () => {
      aborted.abort();
      opened?.close();
      setFeed(null);
    };
  }, [jobId]);
  if (failure !== null) {
    return (
      <>
        <Heading title="No such job">Job {shortId(jobId)}</Heading>
        <Notice tone="bad">{failure}</Notice>
        <p>
          <a href="#/">All installs</a>
        </p>
      </>
    );
  }
  if (feed !== null) return <Live feed={feed} />;
  return (
    <>
      <Heading title={`Install ${shortId(jobId)}`}>
        Install <code>{shortId(jobId)}</code>
      </Heading>
      {trouble !== null && <Notice tone="warn">{trouble}</Notice>}
    </>
  );
}

function Live({ feed }: { feed: Feed }) {
  const version = feed.version.value;
  const job = feed.model;
  const resources = [...job.resources.values()];
  const titles = new Map(resources.map((resource) => [resource.resource, resource.title]));
  return (
    <>
      <Heading title={`${job.removes.length > 0 ? "Removal" : "Install"} ${shortId(job.job_id)}`}>
        {job.removes.length > 0 ? "Removal" : "Install"} <code>{shortId(job.job_id)}</code> <State state={job.state} />
      </Heading>
      <Standing feed={feed} job={job} version={version} />
      <Controls job={job} version={version} />
      <Ending job={job} />
      <HostKeyQuestion job={job} version={version} />
      <MissingKey job={job} version={version} />
      {resources.length > 0 && (
        <section aria-labelledby="resources-title">
          <h2 id="resources-title">Resources</h2>
          <ul class="resources">
            {resources.map((resource) => (
              <ResourceCard key={resource.resource} resource={resource} isPaused={job.state === "paused"} />
            ))}
          </ul>
        </section>
      )}
      <Throughput feed={feed} job={job} version={version} />
      <div class="columns">
        <Timeline events={job.timeline} titles={titles} version={version} />
        <Output lines={job.output} isEnded={job.isEnded} version={version} />
      </div>
    </>
  );
}

function Standing({ feed, job }: Shown & { feed: Feed }) {
  const facts = [
    job.removes.length > 0
      ? `removes ${count(job.removes.length, "file")}`
      : `${job.installed} of ${count(job.total, "resource")} installed`,
    job.queue_position === null ? "" : `place ${job.queue_position} in the queue`,
    job.isEnded ? "" : speed(job.bytesPerSecond),
    job.state === "running" ? left(job.job_eta_seconds) : "",
  ];
  return (
    <section aria-label="Current state">
      <p class="soft">
        <a href={instanceAddress(job.instance)}>
          <Foreign>{job.instance}</Foreign>
        </a>{" "}
        · <Foreign>{job.ui_home}</Foreign> · {dateTime(job.created_at)}
        {job.retry_of !== null && (
          <>
            {" · retry of "}
            <a href={jobAddress(job.retry_of)}>{shortId(job.retry_of)}</a>
          </>
        )}
      </p>
      <Bar label="Whole install" share={job.share} tone={tone(job)} />
      <p class="figures">{facts.filter((fact) => fact !== "").join(" · ")}</p>
      {link.value === "reconnecting" && (
        <Notice tone="warn">Reconnecting to the service. The install continues.</Notice>
      )}
      {feed.replaying.value > 0 && <Notice tone="info">Replaying {count(feed.replaying.value, "event")}</Notice>}
      {job.waiting !== null && (
        <Notice tone="warn">
          Not connected to the instance: <Foreign>{job.waiting}</Foreign>
        </Notice>
      )}
      {job.link === "reconnecting" && (
        <Notice tone="warn">The service lost its connection to the instance. The install continues there.</Notice>
      )}
      {feed.leftOut.value > 0 && (
        <p class="help">
          {count(feed.leftOut.value, "event")} of tool output left out.{" "}
          <button class="link" onClick={() => feed.loadAll()}>
            Load the whole history
          </button>
        </p>
      )}
      {feed.failure.value !== null && <Notice tone="bad">{feed.failure.value}</Notice>}
    </section>
  );
}

function Ending({ job }: { job: JobModel }) {
  if (!job.isEnded) return null;
  const report = <a href={reportAddress(job.job_id)}>Post-mortem</a>;
  if (job.state === "completed") {
    const done = job.removes.length > 0 ? "The files are removed." : "Everything is installed.";
    return (
      <Notice tone="good">
        {done} {report}
      </Notice>
    );
  }
  return (
    <Notice tone={job.state === "failed" ? "bad" : "warn"}>
      <p>
        <Foreign>{job.error}</Foreign>
      </p>
      {job.hint !== null && <p>{job.hint}</p>}
      {job.partialFiles.length > 0 && (
        <p>
          Unfinished files on the instance: <Foreign>{job.partialFiles.join(", ")}</Foreign>
        </p>
      )}
      <p>{report}</p>
    </Notice>
  );
}

// A history without its progress shows the throughput of the service's own report.
function Throughput({ feed, job, version }: Shown & { feed: Feed }) {
  const [reported, setReported] = useState<[number[], number[]] | null>(null);
  const isPartial = feed.leftOut.value > 0;
  useEffect(() => {
    if (!isPartial) return;
    call<Report>("GET", `/resources/jobs/${job.job_id}/report`).then(
      (report) => setReported(points(report)),
      (error: unknown) => (feed.failure.value = message(error)),
    );
  }, [feed, isPartial]);
  const own = useMemo(() => job.flow.points(!job.isEnded), [job, version]);
  const shown = isPartial && reported !== null ? joined(reported, own) : own;
  const received = total([...job.resources.values()], (resource) => receivedOf(resource));
  if (shown[0].length < 2) return null;
  return (
    <section aria-labelledby="throughput-title">
      <h2 id="throughput-title">Throughput</h2>
      <Plot points={shown} />
      {received !== null && <p class="soft">{bytes(received)} received</p>}
    </section>
  );
}

export function points(report: Report): [number[], number[]] {
  const { from, step_seconds: step, bytes_per_second: rates } = report.throughput;
  if (from === null || step === null) return [[], []];
  const begin = Date.parse(from) / 1000;
  return [rates.map((_rate, at) => begin + at * step), rates];
}

function joined(reported: [number[], number[]], own: [number[], number[]]): [number[], number[]] {
  const end = reported[0].at(-1) ?? 0;
  const from = own[0].findIndex((at) => at > end);
  return from < 0
    ? reported
    : [
        [...reported[0], ...own[0].slice(from)],
        [...reported[1], ...own[1].slice(from)],
      ];
}

function receivedOf(resource: ResourceModel): number | null {
  const stages = [...resource.stages.values()].filter((stage) => stage.name !== "verify");
  return stages.reduce<number | null>(
    (sum, stage) => (stage.downloaded === null ? sum : (sum ?? 0) + stage.downloaded),
    null,
  );
}

function total<Item>(items: Item[], figure: (item: Item) => number | null): number | null {
  let sum: number | null = null;
  for (const item of items) {
    const value = figure(item);
    if (value !== null) sum = (sum ?? 0) + value;
  }
  return sum;
}

const tone = (job: JobModel) =>
  job.state === "completed" ? "done" : job.state === "failed" ? "bad" : job.state === "running" ? "run" : "rest";
