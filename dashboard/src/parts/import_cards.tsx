// Import cards from a file: what each would run is shown first, and saved only when a person says so.

import { useRef, useState } from "preact/hooks";

import { call, message } from "../api";
import { cardPage } from "../card_address";
import { count } from "../format";
import type { Import, ImportedCard } from "../types";
import { Field, Foreign, Notice } from "./common";

const states: Record<string, string> = {
  new: "new",
  same: "is there already",
  other: "the library has another card at this path",
  broken: "left out",
  saved: "saved",
  replaced: "replaced",
};

export function ImportCards({ onSaved }: { onSaved: () => void }) {
  const [bundle, setBundle] = useState<unknown>(null);
  const [shown, setShown] = useState<Import | null>(null);
  const [replaced, setReplaced] = useState<ReadonlySet<string>>(new Set());
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  const attempt = async (work: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(message(error));
    } finally {
      setBusy(false);
    }
  };
  const look = (file: File | undefined) =>
    attempt(async () => {
      setShown(null);
      setReplaced(new Set());
      if (file === undefined) return;
      const given = parsed(await file.text());
      setShown(await call<Import>("POST", "/resources/import", { body: { bundle: given } }));
      setBundle(given);
    });
  const confirm = () =>
    attempt(async () => {
      if (shown === null) return;
      const versions = shown.cards.filter((card) => replaced.has(card.path)).map((card) => [card.path, card.there]);
      const body = { bundle, confirm: shown.digest, replace: Object.fromEntries(versions) as Record<string, string> };
      setShown(await call<Import>("POST", "/resources/import", { body }));
      if (input.current !== null) input.current.value = "";
      onSaved();
    });
  const toggle = (path: string) => {
    const next = new Set(replaced);
    if (!next.delete(path)) next.add(path);
    setReplaced(next);
  };
  const wanted = shown?.cards.filter((card) => card.state === "new" || replaced.has(card.path)).length ?? 0;
  return (
    <section class="panel" aria-labelledby="import-title">
      <h2 id="import-title">Import from a file</h2>
      <Field id="import-file" label="A file that was exported" hint="Nothing is saved before you have seen it.">
        <input
          id="import-file"
          type="file"
          aria-describedby="import-file-help"
          accept="application/json,.json"
          ref={input}
          disabled={isBusy}
          onChange={(event) => void look(event.currentTarget.files?.[0])}
        />
      </Field>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {shown?.saved && <Notice tone="good">{shown.message}</Notice>}
      {shown !== null && !shown.saved && (
        <>
          <Notice tone="warn">
            These commands run on your instances, with your keys: read them before you save the cards.
          </Notice>
          {shown.cards.map((card) => (
            <Incoming
              key={card.path}
              card={card}
              isReplaced={replaced.has(card.path)}
              onToggle={() => toggle(card.path)}
            />
          ))}
          <button class="primary" disabled={isBusy || wanted === 0} onClick={() => void confirm()}>
            {wanted === 0 ? "There is nothing to save" : `Save ${count(wanted, "card")}`}
          </button>
        </>
      )}
    </section>
  );
}

interface IncomingProps {
  card: ImportedCard;
  isReplaced: boolean;
  onToggle: () => void;
}

function Incoming({ card, isReplaced, onToggle }: IncomingProps) {
  const name = card.title ?? card.path;
  return (
    <article>
      <h3>
        <Foreign>{name}</Foreign>
      </h3>
      <p class="soft">
        <Foreign>{card.path}</Foreign> · {states[card.state] ?? card.state}
        {card.error !== null && (
          <>
            : <Foreign>{card.error}</Foreign>
          </>
        )}
      </p>
      {card.state === "other" && (
        <label class="inline">
          <input type="checkbox" checked={isReplaced} onChange={onToggle} />
          Replace <a href={cardPage(card.path)}>the one that is there</a>
        </label>
      )}
      {(card.state === "new" || card.state === "other") &&
        (card.commands === "" ? (
          <p>
            Installs <Foreign>{card.dependencies.join(", ")}</Foreign>
          </p>
        ) : (
          <pre class="commands" tabIndex={0} role="region" aria-label={`What ${name} runs on an instance`}>
            {card.commands}
          </pre>
        ))}
    </article>
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON: choose one that the library exported.");
  }
}
