// One resource of a job: a bar for each stage, its speed, the time left, and why it failed.

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
          ` · ${resource.verified === "verified" ? "verified" : "nothing to verify it with"}`}
      </p>
      {bars.map((stage) => (
        <StageBar key={stage.name} stage={stage} resource={resource} />
      ))}
      {resource.retry_at !== null && state === "pending" && <RetryIn at={Date.parse(resource.retry_at)} />}
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
  const isCurrent = resource.state === "running" && (stage.name === resource.currentStage || stage.name === "");
  const known = stage.percent ?? (isCurrent ? null : 100);
  const isDone = resource.state === "installed";
  const amount = stage.total === null ? bytes(stage.downloaded) : `${bytes(stage.downloaded)} of ${bytes(stage.total)}`;
  const facts = [
    amount,
    isCurrent ? speed(resource.bytes_per_second) : "",
    isCurrent ? left(resource.resource_eta_seconds) : "",
  ];
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
  return <p class="help">{seconds > 0 ? `Next attempt in ${seconds} s` : "Next attempt now"}</p>;
}
