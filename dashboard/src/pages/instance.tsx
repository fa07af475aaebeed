// One instance: its queue, its disk, and what lies in its models folder.

import { useEffect, useState } from "preact/hooks";

import { call, message, patiently } from "../api";
import { count, dateTime, shortId, words } from "../format";
import { Foreign, Heading, Notice, State } from "../parts/common";
import { Models } from "../parts/models";
import { installOn, jobAddress } from "../router";
import type { ControlledJobs, InstanceDetail, JobSummary } from "../types";

export function InstancePage({ instance }: { instance: string }) {
  const [found, setFound] = useState<InstanceDetail | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const [said, setSaid] = useState("");
  const path = `/instances/${encodeURIComponent(instance)}`;
  const load = (aborted = new AbortController()) => {
    const ask = () => call<InstanceDetail>("GET", path, { signal: aborted.signal });
    patiently(ask, setTrouble, aborted.signal).then(setFound, (error: unknown) => {
      if (!aborted.signal.aborted) setProblem(message(error));
    });
  };
  useEffect(() => {
    const aborted = new AbortController();
    load(aborted);
    return () => aborted.abort();
  }, [path]);
  const control = async (name: "pause" | "resume") => {
    setProblem(null);
    try {
      const answer = await call<ControlledJobs>("POST", `/resources/instances/${encodeURIComponent(instance)}/${name}`);
      setSaid(`${count(answer.jobs.length, "install")} ${name === "pause" ? "paused" : "resumed"}`);
    } catch (error) {
      setProblem(message(error));
    }
    load();
  };
  const active = found?.recent.filter((job) => ["queued", "running", "paused"].includes(job.state)) ?? [];
  const ended = found?.recent.filter((job) => !active.includes(job)) ?? [];
  const can = (name: string) => active.some((job) => job.possible.includes(name));
  return (
    <>
      <div class="row between">
        <Heading title={instance}>
          <Foreign>{instance}</Foreign>
        </Heading>
        {found !== null && (
          <a class="button primary" href={installOn(found)}>
            Install more
          </a>
        )}
      </div>
      {trouble !== null && <Notice tone="warn">{trouble}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {found !== null && (
        <>
          <p class="soft">
            ComfyUI at <Foreign>{found.ui_home}</Foreign> · {count(found.jobs, "install")}
          </p>
          <section aria-labelledby="queue-title">
            <h2 id="queue-title">Queue</h2>
            {active.length === 0 ? <p>Nothing runs or waits.</p> : <JobList jobs={[...active].reverse()} />}
            <div class="row">
              {can("pause") && <button onClick={() => void control("pause")}>Pause all</button>}
              {can("resume") && (
                <button class="primary" onClick={() => void control("resume")}>
                  Resume all
                </button>
              )}
              <span role="status">{said}</span>
            </div>
          </section>
          <Models instance={instance} uiHome={found.ui_home} onStarted={() => load()} />
          {ended.length > 0 && (
            <section aria-labelledby="ended-title">
              <h2 id="ended-title">Ended</h2>
              <JobList jobs={ended} />
            </section>
          )}
        </>
      )}
    </>
  );
}

function JobList({ jobs }: { jobs: JobSummary[] }) {
  return (
    <ul class="jobs">
      {jobs.map((job) => (
        <li key={job.job_id} class="job">
          <a href={jobAddress(job.job_id)} class="job-name">
            <code>{shortId(job.job_id)}</code>
          </a>
          <State state={job.state} />
          <span class="facts">
            {[
              job.removes.length > 0
                ? `removes ${count(job.removes.length, "file")}`
                : `${job.installed} of ${job.total} installed`,
              job.queue_position === null ? "" : `place ${job.queue_position}`,
              job.cause === null ? "" : words(job.cause),
            ]
              .filter((fact) => fact !== "")
              .join(" · ")}
          </span>
          <time class="soft" dateTime={job.created_at}>
            {dateTime(job.created_at)}
          </time>
        </li>
      ))}
    </ul>
  );
}
