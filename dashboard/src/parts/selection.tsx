// What can be done with the picked cards beside an install: save them under a name, export them, link to them.

import { useState } from "preact/hooks";

import { call, fieldErrors, message } from "../api";
import { bundlePath, bundleText, exportApi, installLink } from "../bundle";
import { count } from "../format";
import type { Bundle, SavedCard } from "../types";
import { Field, Notice } from "./common";

interface SelectionProps {
  paths: string[];
  isWritable: boolean;
  onSaved: (card: SavedCard) => void;
}

export function Selection({ paths, isWritable, onSaved }: SelectionProps) {
  const [isNaming, setNaming] = useState(false);
  const [isLinking, setLinking] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [done, setDone] = useState<string | null>(null);
  const download = async () => {
    setProblem(null);
    try {
      const bundle = await call<Bundle>("GET", exportApi(paths));
      save(`${JSON.stringify(bundle, null, 2)}\n`, "cards.json");
      setDone(`${count(bundle.cards.length, "card")} exported, with all that they need`);
    } catch (error) {
      setProblem(message(error));
    }
  };
  return (
    <section class="panel" aria-labelledby="selection-title">
      <h2 id="selection-title">The {count(paths.length, "picked card")}</h2>
      <div class="row">
        {isWritable && (
          <button aria-expanded={isNaming} onClick={() => setNaming(!isNaming)}>
            Save them under a name…
          </button>
        )}
        <button onClick={() => void download()}>Export as a file</button>
        <button aria-expanded={isLinking} onClick={() => setLinking(!isLinking)}>
          Link to them…
        </button>
      </div>
      {isNaming && <NameIt paths={paths} onSaved={onSaved} />}
      {isLinking && (
        <Field id="selection-link" label="Link" hint="It opens the form with these cards picked, and starts nothing.">
          <input
            id="selection-link"
            aria-describedby="selection-link-help"
            readOnly
            value={installLink(paths)}
            onFocus={(event) => event.currentTarget.select()}
          />
        </Field>
      )}
      {done !== null && <Notice tone="good">{done}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
    </section>
  );
}

function NameIt({ paths, onSaved }: { paths: string[]; onSaved: (card: SavedCard) => void }) {
  const [title, setTitle] = useState("");
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      const body = { card: bundleText(title.trim(), paths), path: bundlePath(title) };
      onSaved(await call<SavedCard>("POST", "/resources", { body }));
    } catch (error) {
      setWrong(fieldErrors(error));
    }
  };
  const said = Object.values(wrong)[0];
  return (
    <form onSubmit={(event) => void submit(event)} noValidate>
      <Field id="selection-name" label="Name" hint={`Its card is ${bundlePath(title)}.`} error={said}>
        <input
          id="selection-name"
          aria-describedby="selection-name-help"
          aria-invalid={said !== undefined}
          value={title}
          onInput={(event) => setTitle(event.currentTarget.value)}
        />
      </Field>
      <button class="primary" disabled={title.trim() === ""}>
        Save
      </button>
    </form>
  );
}

function save(text: string, name: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
