// A workflow of ComfyUI: dropped, chosen or pasted; which models it needs, and cards for those that the library lacks.

import { useRef, useState } from "preact/hooks";

import { call, fieldErrors, message } from "../api";
import { cardPage } from "../card_address";
import { count } from "../format";
import type { CataloguePage, InspectedWorkflow, NeededModel, SavedCard } from "../types";
import { Field, Foreign, Notice } from "./common";

interface WorkflowProps {
  // The cards of all models of the workflow, as far as there are any. `isWhole`: every card that was to be made is there.
  onCards: (paths: string[], isWhole: boolean) => void;
  // What the button says after the number of cards.
  action: string;
}

const bytesMax = 1_000_000;
const words: Record<NeededModel["state"], string> = {
  in_library: "in the library",
  missing: "missing",
  unknown: "no address",
  refused: "refused",
};
const tones: Record<NeededModel["state"], string> = {
  in_library: "ok",
  missing: "warning",
  unknown: "failed",
  refused: "failed",
};

export function Workflow({ onCards, action }: WorkflowProps) {
  const [text, setText] = useState("");
  const [models, setModels] = useState<NeededModel[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [failures, setFailures] = useState<string[]>([]);
  const [isBusy, setBusy] = useState(false);
  const [isOver, setOver] = useState(false);

  // Only the answer to the latest question counts.
  const asked = useRef(0);
  const inspect = async (workflow: string) => {
    const number = ++asked.current;
    setText(workflow);
    setModels(null);
    setFailures([]);
    setProblem(null);
    if (workflow.trim() === "") return;
    setBusy(true);
    try {
      const found = await call<InspectedWorkflow>("POST", "/workflows/inspect", { body: { workflow } });
      if (number === asked.current) setModels(found.models);
    } catch (error) {
      if (number === asked.current) setProblem(Object.values(fieldErrors(error))[0] ?? message(error));
    } finally {
      if (number === asked.current) setBusy(false);
    }
  };
  const read = async (file: File | undefined) => {
    if (file === undefined) return;
    if (file.size > bytesMax) setProblem(`${file.name} has more than a megabyte: no workflow is that long.`);
    else await inspect(await file.text());
  };
  const make = async () => {
    setBusy(true);
    const cards = (models ?? []).map((each) => each.card).filter((card) => card !== null);
    const failed: string[] = [];
    for (const each of missing) {
      try {
        const body = { url: each.url, ...(each.folder === null ? {} : { folder: each.folder }) };
        cards.push((await call<SavedCard>("POST", "/resources", { body })).path);
      } catch (error) {
        failed.push(`${each.name}: ${message(error)}`);
      }
    }
    setFailures(failed);
    setBusy(false);
    onCards([...new Set(cards)], failed.length === 0);
    if (failed.length > 0) await inspect(text).then(() => setFailures(failed));
  };
  const refresh = async () => {
    setBusy(true);
    try {
      await call<CataloguePage>("POST", "/catalogue/refresh");
      await inspect(text);
    } catch (error) {
      setProblem(message(error));
    } finally {
      setBusy(false);
    }
  };
  const missing = (models ?? []).filter((each) => each.state === "missing");
  const known = (models ?? []).filter((each) => each.card !== null);
  const has = (state: NeededModel["state"]) => (models ?? []).some((each) => each.state === state);
  return (
    <section
      class={isOver ? "drop over" : "drop"}
      aria-label="A workflow"
      aria-busy={isBusy}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void read(event.dataTransfer?.files[0]);
      }}
    >
      <div class="grid">
        <Field
          id="workflow-file"
          label="Drop a workflow here, or choose its file"
          hint="The JSON that ComfyUI exports."
        >
          <input
            id="workflow-file"
            type="file"
            accept=".json,application/json"
            aria-describedby="workflow-file-help"
            onChange={(event) => void read(event.currentTarget.files?.[0])}
          />
        </Field>
        <Field id="workflow-text" label="Or paste it" error={problem ?? undefined}>
          <textarea
            id="workflow-text"
            class="code"
            rows={3}
            spellcheck={false}
            aria-describedby="workflow-text-help"
            aria-invalid={problem !== null}
            value={text}
            onInput={(event) => void inspect(event.currentTarget.value)}
          />
        </Field>
      </div>
      <p role="status" class="soft">
        {isBusy ? "Looking…" : models === null ? "" : `${count(models.length, "model")}: ${standing(models)}`}
      </p>
      {models !== null && models.length > 0 && (
        <ul class="checks">
          {models.map((each) => (
            <Need key={each.name} need={each} />
          ))}
        </ul>
      )}
      {failures.map((failure) => (
        <Notice key={failure} tone="bad">
          {failure}
        </Notice>
      ))}
      <div class="row">
        {(missing.length > 0 || known.length > 0) && (
          <button type="button" class="primary" disabled={isBusy} onClick={() => void make()}>
            {missing.length > 0 ? `Make ${count(missing.length, "card")} and ${action}` : sentence(action)}
          </button>
        )}
        {has("unknown") && (
          <button type="button" disabled={isBusy} onClick={() => void refresh()}>
            Look in the catalogue
          </button>
        )}
      </div>
    </section>
  );
}

function Need({ need }: { need: NeededModel }) {
  return (
    <li class={`check need ${tones[need.state]}`}>
      <span class="check-name">
        <Foreign>{need.name}</Foreign>
      </span>
      <span class="check-state">{words[need.state]}</span>
      <span class="check-text">
        {need.folder !== null && (
          <span class="soft">
            models/<Foreign>{need.folder}</Foreign>
          </span>
        )}
        {need.card !== null ? (
          <a href={cardPage(need.card)}>
            <Foreign>{need.card}</Foreign>
          </a>
        ) : (
          need.url !== null && (
            <span class="address">
              <Foreign>{need.url}</Foreign>
            </span>
          )
        )}
        {need.reason !== null && (
          <span class="address">
            <Foreign>{need.reason}</Foreign>
          </span>
        )}
      </span>
    </li>
  );
}

function standing(models: NeededModel[]): string {
  const of = (state: NeededModel["state"]) => models.filter((each) => each.state === state).length;
  const parts = (Object.keys(words) as NeededModel["state"][]).map((state) => `${of(state)} ${words[state]}`);
  return parts.filter((part) => !part.startsWith("0 ")).join(", ");
}

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
