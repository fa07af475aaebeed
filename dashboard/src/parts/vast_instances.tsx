// The user's instances at Vast.ai: pick one; stop or destroy one, where the service lets that.

import { useEffect, useState } from "preact/hooks";

import { ApiError, call, message } from "../api";
import { bytes, count, words } from "../format";
import type { ChangedRental, RentedInstance, RentedInstances } from "../types";
import { Foreign, Notice } from "./common";
import { Confirm } from "./confirm";
import { KeyForm } from "./key_form";

interface VastInstancesProps {
  // What the button of an instance says.
  action: string;
  onPick: (rented: RentedInstance) => void;
}

type Question = { what: "stop" | "destroy"; rented: RentedInstance } | null;

export function VastInstances({ action, onPick }: VastInstancesProps) {
  const [found, setFound] = useState<RentedInstances | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [wantsKey, setWantsKey] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [said, setSaid] = useState("");
  const [question, setQuestion] = useState<Question>(null);
  const load = async (signal?: AbortSignal) => {
    setBusy(true);
    setProblem(null);
    try {
      setFound(await call<RentedInstances>("GET", "/vast/instances", signal === undefined ? {} : { signal }));
      setWantsKey(false);
    } catch (error) {
      if (signal?.aborted) return;
      setFound(null);
      setWantsKey(error instanceof ApiError && error.code === "key_needed");
      setProblem(message(error));
    } finally {
      if (!signal?.aborted) setBusy(false);
    }
  };
  useEffect(() => {
    const aborted = new AbortController();
    void load(aborted.signal);
    return () => aborted.abort();
  }, []);
  const answered = async (yes: boolean) => {
    const asked = question;
    setQuestion(null);
    if (!yes || asked === null) return;
    const path = `/vast/instances/${asked.rented.id}`;
    try {
      const changed = await (asked.what === "stop"
        ? call<ChangedRental>("POST", `${path}/stop`)
        : call<ChangedRental>("DELETE", path));
      setSaid(`Instance ${changed.id}: ${changed.message}.`);
      await load();
    } catch (error) {
      setProblem(message(error));
    }
  };
  return (
    <div aria-busy={isBusy}>
      {problem !== null && <Notice tone={wantsKey ? "info" : "bad"}>{problem}</Notice>}
      {wantsKey && <KeyForm name="vast" title="Vast.ai API key" action="Save and list" onSet={() => void load()} />}
      {found?.instances.length === 0 && <p>This account rents no instance now.</p>}
      <ul class="rented">
        {found?.instances.map((rented) => (
          <li key={rented.id} class="rent">
            <div>
              <strong>
                <Foreign>{rented.label ?? `Instance ${rented.id}`}</Foreign>
              </strong>{" "}
              <span class={`state ${states[rented.status] ?? ""}`}>{words(rented.status)}</span>
              <p class="soft figures">{facts(rented).join(" · ")}</p>
            </div>
            <div class="row">
              {rented.ssh_host !== null && (
                <button
                  type="button"
                  aria-label={`${action}: ${rented.label ?? rented.id}`}
                  onClick={() => onPick(rented)}
                >
                  {action}
                </button>
              )}
              {found.may_stop && rented.status === "running" && (
                <button
                  type="button"
                  aria-label={`Stop ${rented.label ?? rented.id}`}
                  onClick={() => setQuestion({ what: "stop", rented })}
                >
                  Stop…
                </button>
              )}
              {found.may_stop && (
                <button
                  type="button"
                  class="danger"
                  aria-label={`Destroy ${rented.label ?? rented.id}`}
                  onClick={() => setQuestion({ what: "destroy", rented })}
                >
                  Destroy…
                </button>
              )}
            </div>
          </li>
        ))}
      </ul>
      <div class="row">
        {!wantsKey && (
          <button type="button" disabled={isBusy} onClick={() => void load()}>
            {isBusy ? "Asking Vast.ai…" : "Ask Vast.ai again"}
          </button>
        )}
        <span role="status">{said}</span>
      </div>
      {question !== null && (
        <Confirm
          title={`${question.what === "stop" ? "Stop" : "Destroy"} ${question.rented.label ?? `instance ${question.rented.id}`}?`}
          text={warning(question.what, question.rented)}
          action={question.what === "stop" ? "Stop the instance" : "Destroy the instance"}
          onAnswer={(yes) => void answered(yes)}
        />
      )}
    </div>
  );
}

const states: Record<string, string> = { running: "running", exited: "failed", offline: "failed" };

function facts(rented: RentedInstance): string[] {
  const many = (rented.gpu_count ?? 1) > 1 ? `${rented.gpu_count}x ` : "";
  const used = rented.disk_used === null ? "" : `${bytes(rented.disk_used)} of `;
  return [
    rented.gpu === null ? "" : `${many}${rented.gpu}`,
    rented.dollars_per_hour === null ? "" : `$${rented.dollars_per_hour.toFixed(3)}/h`,
    rented.disk_total === null ? "" : `disk ${used}${bytes(rented.disk_total)}`,
    rented.ssh_host === null ? "no address yet" : `${rented.ssh_host}:${rented.ssh_port}`,
    rented.way === "proxy" ? "by Vast.ai's proxy" : "",
    rented.active > 0 ? `${count(rented.active, "install")} not ended` : "",
  ].filter((fact) => fact !== "");
}

function warning(what: "stop" | "destroy", rented: RentedInstance): string {
  const running = rented.active > 0 ? `${count(rented.active, "install")} there has not ended. ` : "";
  return what === "stop"
    ? `${running}Its data stays and costs what its disk costs. It may be a while until you can start it again.`
    : `${running}All of its data is lost, models and pictures too. This cannot be undone.`;
}
