// One resource of a job: a bar for each stage, how fast, how long still, and why not.

import { useEffect, useState } from "preact/hooks";

import { bytes, left, speed, words } from "../format";
import type { ResourceModel, Stage } from "../job_model";
import { Bar, Foreign, State } from "./common";

const tones = { installed: "done", failed: "bad", cancelled: "rest", pending: "rest", running: "run" } as const;

export function ResourceCard({ resource, isPaused }: { resource: ResourceModel; isPaused: boolean }) {
  const { title, state, stages } = resource;
  const bars = stages.size > 0 ? [...stages.values()] : [nothingYet];
  return (
    <li class="resource">
      <div class="row between">
        <h3>
          <Foreign>{title}</Foreign>
        </h3>
        <State state={isPaused && state === "running" ? "paused" : state} />
      </div>
      <p class="soft">
        <Foreign>{resource.resource}</Foreign>
        {resource.name !== null && resource.name !== title && (
          <>
            {" · "}
            <Foreign>{resource.name}</Foreign>
          </>
        )}
        {resource.attempt > 1 && ` · attempt ${resource.attempt}`}
        {resource.verified !== null &&
          ` · ${resource.verified === "verified" ? "verified" : "nothing to verify it against"}`}
      </p>
      {bars.map((stage) => (
        <StageBar key={stage.name} stage={stage} resource={resource} />
      ))}
      {resource.retryAt !== null && state === "pending" && <RetryIn at={resource.retryAt} />}
      {resource.error !== null && state === "failed" && (
        <div class="why">
          <p>
            <strong>{words(resource.cause ?? "unknown")}</strong>: <Foreign>{resource.error}</Foreign>
          </p>
          <p>{resource.hint}</p>
        </div>
      )}
    </li>
  );
}

const nothingYet: Stage = { name: "", percent: 0, downloaded: null, total: null };

function StageBar({ stage, resource }: { stage: Stage; resource: ResourceModel }) {
  const isCurrent = resource.state === "running" && (stage.name === resource.stage || stage.name === "");
  const known = stage.percent ?? (isCurrent ? null : 100);
  const isDone = resource.state === "installed";
  const amount = stage.total === null ? bytes(stage.downloaded) : `${bytes(stage.downloaded)} of ${bytes(stage.total)}`;
  const facts = [amount, isCurrent ? speed(resource.speed) : "", isCurrent ? left(resource.eta) : ""];
  return (
    <div class="stage">
      <span class="stage-name">{stage.name === "" ? "" : words(stage.name)}</span>
      <Bar
        label={`${resource.title}${stage.name === "" ? "" : `, ${stage.name}`}`}
        share={isDone ? 1 : known === null ? null : known / 100}
        tone={isCurrent || !isDone ? tones[resource.state] : "done"}
      />
      <span class="figures">{known === null && !isDone ? "" : `${isDone ? 100 : known} %`}</span>
      <span class="facts">{facts.filter((fact) => fact !== "").join(" · ")}</span>
    </div>
  );
}

function RetryIn({ at }: { at: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((at - now) / 1000));
  return <p class="help">{seconds > 0 ? `Tries again in ${seconds} s` : "Tries again now"}</p>;
}
