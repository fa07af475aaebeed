// All installs, live.

import { useComputed, useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";

import { count, dateTime, left, shortId, speed, words } from "../format";
import { JobsStore } from "../jobs_store";
import { Bar, Foreign, Heading, Notice, State } from "../parts/common";
import { jobAddress } from "../router";
import { link } from "../socket";
import { type JobSummary, jobStates } from "../types";

export function JobsPage() {
  const store = useMemo(() => new JobsStore(), []);
  useEffect(() => {
    store.start();
    return () => store.stop();
  }, [store]);
  const state = useSignal("");
  const search = useSignal("");
  const shown = useComputed(() =>
    store.order.value.filter((id) => matches(store.row(id).value, state.value, search.value.trim().toLowerCase())),
  );
  // A row that stays keeps its node: one new row does not compare hundreds of others again.
  const nodes = useRef(new Map<string, VNode>());
  const rows = shown.value.map((id) => {
    const node = nodes.current.get(id) ?? <Row key={id} id={id} store={store} />;
    nodes.current.set(id, node);
    return node;
  });
  const isEmpty = store.isLoaded.value && store.order.value.length === 0;
  return (
    <>
      <div class="row between">
        <Heading title="Installs">Installs</Heading>
        <a class="button primary" href="#/install">
          Start an install
        </a>
      </div>
      {store.failure.value !== null && <Notice tone="bad">{store.failure.value}</Notice>}
      {link.value === "reconnecting" && <Notice tone="warn">Reconnecting to the service</Notice>}
      {isEmpty ? (
        <p>Nothing was installed yet. Pick an instance and resources: this page shows the rest.</p>
      ) : (
        <div class="row filters" role="search" aria-label="Installs">
          <label class="inline">
            State
            <select value={state.value} onChange={(event) => (state.value = event.currentTarget.value)}>
              <option value="">all</option>
              {jobStates.map((each) => (
                <option key={each} value={each}>
                  {words(each)}
                </option>
              ))}
            </select>
          </label>
          <label class="inline">
            Find
            <input
              type="search"
              placeholder="instance or job id"
              value={search.value}
              onInput={(event) => (search.value = event.currentTarget.value)}
            />
          </label>
          <span class="soft" role="status">
            {shown.value.length} shown
          </span>
        </div>
      )}
      <ul class="jobs">{rows}</ul>
      {store.more.value !== null && <button onClick={() => void store.loadMore()}>Show older installs</button>}
    </>
  );
}

function matches(job: JobSummary, state: string, search: string): boolean {
  if (state !== "" && job.state !== state) return false;
  return search === "" || job.instance.toLowerCase().includes(search) || job.job_id.startsWith(search);
}

const tones: Record<string, "run" | "done" | "bad" | "rest"> = { running: "run", completed: "done", failed: "bad" };

function Row({ id, store }: { id: string; store: JobsStore }) {
  const job = store.row(id).value;
  const feed = store.feed(id);
  const live = feed !== undefined && feed.version.value > 0 ? feed.model : null;
  const state = live?.state ?? job.state;
  const installed = live?.installed ?? job.installed;
  const share = live?.share ?? job.installed / Math.max(1, job.total);
  const rate = live?.bytesPerSecond ?? 0;
  const facts = [
    job.removes.length > 0 ? `removes ${count(job.removes.length, "file")}` : `${installed} of ${job.total} installed`,
    job.queue_position === null ? "" : `place ${job.queue_position}`,
    state === "running" && rate > 0 ? speed(rate) : "",
    state === "running" ? left((live ?? job).job_eta_seconds) : "",
    (live?.link ?? job.link) === "reconnecting" ? "reconnecting" : "",
    job.cause === null ? "" : words(job.cause),
  ];
  return (
    <li class="job">
      <a href={jobAddress(id)} class="job-name">
        <code>{shortId(id)}</code> <Foreign>{job.instance}</Foreign>
      </a>
      <State state={state} />
      <Bar label={`Install ${shortId(id)}`} share={share} tone={tones[state] ?? "rest"} />
      <span class="facts">{facts.filter((fact) => fact !== "").join(" · ")}</span>
      <time class="soft" dateTime={job.created_at}>
        {dateTime(job.created_at)}
      </time>
    </li>
  );
}
