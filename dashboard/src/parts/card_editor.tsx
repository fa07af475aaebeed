// The text of a card, and its path where it is new. The service checks it; what it says stands at the field.

import { useEffect, useRef, useState } from "preact/hooks";

import { call, fieldErrors } from "../api";
import { cardApi } from "../card_address";
import type { SavedCard } from "../types";
import { Field, Notice } from "./common";

interface CardEditorProps {
  text: string;
  path: string;
  // The version that is changed; null for a new card.
  version: string | null;
  onSaved: (card: SavedCard) => void;
  onCancel: () => void;
}

export function CardEditor({ text, path, version, onSaved, onCancel }: CardEditorProps) {
  const [draft, setDraft] = useState(text);
  const [target, setTarget] = useState(path);
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [isBusy, setBusy] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);

  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      onSaved(
        version === null
          ? await call<SavedCard>("POST", "/resources", { body: { card: draft, path: target } })
          : await call<SavedCard>("PUT", cardApi(path), { body: { card: draft }, headers: { "If-Match": version } }),
      );
    } catch (error) {
      const found = fieldErrors(error);
      setWrong(found);
      if (found["card"] === undefined && found["path"] !== undefined) document.getElementById("card-path")?.focus();
      else field.current?.focus();
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="editor" onSubmit={(event) => void save(event)} noValidate>
      {version === null && (
        <Field
          id="card-path"
          label="Path in the library"
          hint="Its folders are made, if they are not there."
          error={wrong["path"]}
        >
          <input
            id="card-path"
            aria-describedby="card-path-help"
            aria-invalid={wrong["path"] !== undefined}
            spellcheck={false}
            value={target}
            onInput={(event) => setTarget(event.currentTarget.value)}
          />
        </Field>
      )}
      <Field
        id="card-text"
        label="Text of the card"
        hint="The commands under # Download run on your instances, with your keys."
        error={wrong["card"]}
      >
        <textarea
          id="card-text"
          ref={field}
          class="code"
          aria-describedby="card-text-help"
          aria-invalid={wrong["card"] !== undefined}
          spellcheck={false}
          rows={18}
          value={draft}
          onInput={(event) => setDraft(event.currentTarget.value)}
        />
      </Field>
      {wrong[""] !== undefined && <Notice tone="bad">{wrong[""]}</Notice>}
      <div class="row">
        <button class="primary" disabled={isBusy}>
          Save
        </button>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}
