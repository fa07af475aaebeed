// What can be done with a job in its state. The service decides: a refusal is shown in its words.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import { shortId, speed } from "../format";
import type { Shown } from "../job_model";
import { go, jobAddress } from "../router";
import type { JobPage, JobSummary, JobView } from "../types";
import { Notice } from "./common";
import { Confirm } from "./confirm";

type Question = "cancel" | "delete" | null;

export function Controls({ job, version }: Shown) {
  const [refusal, setRefusal] = useState<string | null>(null);
  const [said, setSaid] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [question, setQuestion] = useState<Question>(null);
  const path = `/resources/jobs/${job.jobId}`;

  const act = async (method: string, to: string, body?: unknown): Promise<JobView | null> => {
    setBusy(true);
    setRefusal(null);
    try {
      const answer = await call<JobView & { message: string }>(method, to, body === undefined ? {} : { body });
      setSaid(answer.message);
      return answer;
    } catch (error) {
      setRefusal(message(error));
      return null;
    } finally {
      setBusy(false);
    }
  };
  const answered = async (yes: boolean) => {
    const asked = question;
    setQuestion(null);
    if (!yes) return;
    if (asked === "cancel") await act("POST", `${path}/cancel`);
    if (asked === "delete" && (await act("DELETE", path)) !== null) go("#/");
  };
  const retry = async () => {
    const made = await act("POST", `${path}/retry`);
    if (made !== null) go(jobAddress(made.job_id));
  };

  const isOver = job.isEnded;
  const waits = !job.started && !isOver;
  return (
    <section aria-label="Controls">
      <div class="row">
        {!isOver && job.state !== "paused" && (
          <button disabled={isBusy || job.cancelling} onClick={() => void act("POST", `${path}/pause`)}>
            Pause
          </button>
        )}
        {job.state === "paused" && (
          <button
            class="primary"
            disabled={isBusy || job.cancelling}
            onClick={() => void act("POST", `${path}/resume`)}
          >
            Resume
          </button>
        )}
        {!isOver && (
          <button class="danger" disabled={isBusy || job.cancelling} onClick={() => setQuestion("cancel")}>
            {job.cancelling ? "Cancelling…" : "Cancel"}
          </button>
        )}
        {(job.state === "failed" || job.state === "cancelled") && (
          <button class="primary" disabled={isBusy} onClick={() => void retry()}>
            Retry what is missing
          </button>
        )}
        {isOver && (
          <button disabled={isBusy} onClick={() => setQuestion("delete")}>
            Delete
          </button>
        )}
        {waits && (
          <Move job={job} version={version} onMove={(before) => void act("POST", `${path}/move`, { before })} />
        )}
        {!isOver && !job.cancelling && (
          <Bandwidth
            limit={job.bandwidthLimit}
            onChange={(limit) => void act("PATCH", path, { bandwidth_limit: limit })}
          />
        )}
      </div>
      {refusal !== null && <Notice tone="bad">{refusal}</Notice>}
      {refusal === null && said !== null && (
        <p class="help" role="status">
          {said}
        </p>
      )}
      {question === "cancel" && (
        <Confirm
          title="Cancel this install?"
          text="What runs on the instance is ended. What is installed stays; a download that is half done has to begin again."
          action="Cancel the install"
          onAnswer={(yes) => void answered(yes)}
        />
      )}
      {question === "delete" && (
        <Confirm
          title="Delete this job?"
          text="Its history and its post-mortem are forgotten. Files on the instance stay."
          action="Delete the job"
          onAnswer={(yes) => void answered(yes)}
        />
      )}
    </section>
  );
}

function Move({ job, onMove }: Shown & { onMove: (before: string) => void }) {
  const [others, setOthers] = useState<JobSummary[]>([]);
  useEffect(() => {
    const query = `state=queued&limit=100&host=${encodeURIComponent(job.host)}`;
    void call<JobPage>("GET", `/resources/jobs?${query}`).then(
      (page) =>
        setOthers(
          page.jobs.filter((other) => other.job_id !== job.jobId && other.instance.endsWith(`:${job.port}`)).reverse(),
        ),
      () => setOthers([]),
    );
  }, [job.jobId, job.queuePosition]);
  return (
    <label class="inline">
      Move
      <select
        value=""
        onChange={(event) => {
          if (event.currentTarget.value !== "") onMove(event.currentTarget.value);
          event.currentTarget.value = "";
        }}
      >
        <option value="">to another place…</option>
        <option value="first">to the front of the queue</option>
        <option value="last">to its end</option>
        {others.map((other) => (
          <option key={other.job_id} value={other.job_id}>
            before {shortId(other.job_id)}
          </option>
        ))}
      </select>
    </label>
  );
}

const limits = [1, 2, 5, 10, 20, 50, 100, 200].map((megabytes) => megabytes * 1_000_000);

function Bandwidth({ limit, onChange }: { limit: number | null; onChange: (limit: number | null) => void }) {
  const isOther = limit !== null && !limits.includes(limit);
  return (
    <label class="inline">
      Limit
      <select
        value={limit === null ? "" : String(limit)}
        onChange={(event) => onChange(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))}
      >
        <option value="">none</option>
        {isOther && <option value={String(limit)}>{speed(limit)}</option>}
        {limits.map((each) => (
          <option key={each} value={String(each)}>
            {speed(each)}
          </option>
        ))}
      </select>
    </label>
  );
}
