// The controls that a job allows now. The service decides: a refusal is shown in its words.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import { shortId, speed } from "../format";
import type { Shown } from "../job_model";
import { go, jobAddress } from "../router";
import type { Control, Controlled, Deleted, JobPage, JobSummary } from "../types";
import { Notice } from "./common";
import { Confirm } from "./confirm";

type Question = "cancel" | "delete" | null;

export function Controls({ job, version }: Shown) {
  const [refusal, setRefusal] = useState<string | null>(null);
  const [said, setSaid] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [question, setQuestion] = useState<Question>(null);
  const path = `/resources/jobs/${job.job_id}`;

  const act = async (method: string, to: string, body?: unknown): Promise<Controlled | Deleted | null> => {
    setBusy(true);
    setRefusal(null);
    try {
      const answer = await call<Controlled | Deleted>(method, to, body === undefined ? {} : { body });
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

  const can = (control: Control) => job.possible.includes(control);
  return (
    <section aria-label="Controls">
      <div class="row">
        {can("pause") && (
          <button disabled={isBusy} onClick={() => void act("POST", `${path}/pause`)}>
            Pause
          </button>
        )}
        {can("resume") && (
          <button class="primary" disabled={isBusy} onClick={() => void act("POST", `${path}/resume`)}>
            Resume
          </button>
        )}
        {(can("cancel") || job.cancelling) && (
          <button class="danger" disabled={isBusy || job.cancelling} onClick={() => setQuestion("cancel")}>
            {job.cancelling ? "Cancelling…" : "Cancel"}
          </button>
        )}
        {can("retry") && (
          <button class="primary" disabled={isBusy} onClick={() => void retry()}>
            Retry the missing resources
          </button>
        )}
        {can("delete") && (
          <button disabled={isBusy} onClick={() => setQuestion("delete")}>
            Delete
          </button>
        )}
        {can("move") && (
          <Move job={job} version={version} onMove={(before) => void act("POST", `${path}/move`, { before })} />
        )}
        {can("change") && (
          <Bandwidth
            limit={job.bandwidth_limit}
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
          text="Running downloads on the instance are stopped. Installed files stay; an unfinished download has to start again."
          action="Cancel the install"
          onAnswer={(yes) => void answered(yes)}
        />
      )}
      {question === "delete" && (
        <Confirm
          title="Delete this job?"
          text="Its history and its post-mortem are deleted. Files on the instance stay."
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
          page.jobs.filter((other) => other.job_id !== job.job_id && other.instance.endsWith(`:${job.port}`)).reverse(),
        ),
      () => setOthers([]),
    );
  }, [job.job_id, job.queue_position]);
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
