// From a link to a card: paste it, look at what it would become, save exactly that.

import { useEffect, useRef, useState } from "preact/hooks";

import { call, fieldErrors, message } from "../api";
import { bytes } from "../format";
import type { CardPreview, CheckedKey, KeyList, KeyView, SavedCard } from "../types";
import { Field, Foreign, Notice } from "./common";
import { Facts, ModelPage } from "./facts";
import { WantedKey } from "./missing_key";

const folders = [
  "checkpoints",
  "loras",
  "vae",
  "diffusion_models",
  "text_encoders",
  "clip_vision",
  "controlnet",
  "upscale_models",
  "embeddings",
];

export interface Wish {
  url: string;
  file?: string;
  folder?: string;
}

interface AddModelProps {
  // The service is asked about this link at once, without a click.
  first?: Wish | undefined;
  // It was asked for: the field is ready for the link.
  focuses?: boolean;
  onSaved: (card: SavedCard) => void;
}

// Whether this is certainly a whole link: a name or a number may be only the beginning of one.
const isLink = (text: string): boolean => /^https?:\/\/\S+$/.test(text.trim());

export function AddModel({ first, focuses = false, onSaved }: AddModelProps) {
  const [link, setLink] = useState(first?.url ?? "");
  const [wish, setWish] = useState<Wish | null>(null);
  const [preview, setPreview] = useState<CardPreview | null>(null);
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [isBusy, setBusy] = useState(false);
  // Only the answer to the latest question counts.
  const asked = useRef(0);

  const look = async (next: Wish) => {
    const number = ++asked.current;
    setWish(next);
    setBusy(true);
    setWrong({});
    try {
      const found = await call<CardPreview>("POST", "/resources/preview", { body: { ...next, picture: true } });
      if (number === asked.current) setPreview(found);
    } catch (error) {
      if (number !== asked.current) return;
      setWrong(fieldErrors(error));
      if (next.folder === undefined && next.file === undefined) setPreview(null);
    } finally {
      if (number === asked.current) setBusy(false);
    }
  };
  useEffect(() => {
    if (focuses) document.getElementById("link")?.focus();
    if (first !== undefined) void look(first);
  }, []);
  const submit = (event: Event) => {
    event.preventDefault();
    void look({ url: link.trim() });
  };
  return (
    <section class="panel" aria-labelledby="add-title">
      <h2 id="add-title">Add a model</h2>
      <form onSubmit={submit} noValidate>
        <Field
          id="link"
          label="Paste a link"
          hint="A CivitAI page, a Hugging Face file or repository, an AIR, or the address of a file."
          error={wrong["url"]}
        >
          <div class="row together">
            <input
              id="link"
              class="grow"
              type="text"
              inputMode="url"
              autocomplete="off"
              spellcheck={false}
              aria-describedby="link-help"
              aria-invalid={wrong["url"] !== undefined}
              value={link}
              onInput={(event) => {
                setLink(event.currentTarget.value);
                // A pasted link is looked at once: nothing is saved by that.
                if (event.inputType === "insertFromPaste" && isLink(event.currentTarget.value)) {
                  void look({ url: event.currentTarget.value.trim() });
                }
              }}
            />
            <button class={preview === null ? "primary" : ""} disabled={isBusy}>
              {isBusy ? "Asking…" : "Look at it"}
            </button>
          </div>
        </Field>
      </form>
      <p class="hidden" role="status">
        {preview === null || isBusy ? "" : `Found: ${preview.title}`}
      </p>
      {["", "file"].map(
        (field) =>
          wrong[field] !== undefined && (
            <Notice key={field} tone="bad">
              {wrong[field]}
            </Notice>
          ),
      )}
      {preview !== null && wish !== null && (
        <Found
          key={`${preview.path} ${preview.url} ${preview.card === null}`}
          preview={preview}
          isBusy={isBusy}
          folderError={wrong["folder"]}
          onChange={(change) => void look({ ...wish, ...change })}
          onSaved={(card) => {
            setLink("");
            setPreview(null);
            onSaved(card);
          }}
        />
      )}
    </section>
  );
}

interface FoundProps {
  preview: CardPreview;
  isBusy: boolean;
  folderError: string | undefined;
  onChange: (change: Partial<Wish>) => void;
  onSaved: (card: SavedCard) => void;
}

function Found({ preview, isBusy, folderError, onChange, onSaved }: FoundProps) {
  return (
    <div class="found" aria-busy={isBusy}>
      <div class="model">
        {preview.picture !== null && <img class="picture" src={preview.picture} alt={`Made with ${preview.title}`} />}
        <div>
          <h3>
            <Foreign>{preview.title}</Foreign>
          </h3>
          <Facts
            facts={[
              ["Type", preview.type],
              ["File", preview.file?.name],
              ["Size", bytes(preview.file?.size)],
              ["Base model", preview.basemodel],
              ["Version", preview.version],
              ["Trigger words", preview.trigger_words.join(", ")],
              ["License", preview.license],
              ["By", preview.creator],
              ["SHA-256", preview.file?.sha256],
            ]}
          />
          <ModelPage address={preview.url} />
        </div>
      </div>
      <Warnings preview={preview} onKey={() => onChange({})} />
      {preview.choices.length > 0 && <Choices preview={preview} onChange={onChange} />}
      {preview.card !== null && (
        <Save preview={preview} isBusy={isBusy} folderError={folderError} onChange={onChange} onSaved={onSaved} />
      )}
    </div>
  );
}

function Warnings({ preview, onKey }: { preview: CardPreview; onKey: () => void }) {
  return (
    <>
      {preview.missing.map((each) => (
        <Missing key={each.setting} setting={each.setting} text={each.message} onKey={onKey} />
      ))}
      {preview.notes.map((note) => (
        <Notice key={note} tone="warn">
          {note}
        </Notice>
      ))}
      {preview.duplicates.length > 0 && (
        <Notice tone="warn">
          The library has this already:{" "}
          <Foreign>{preview.duplicates.map((each) => `${each.title} (${each.path})`).join(", ")}</Foreign>
        </Notice>
      )}
    </>
  );
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

// The key can be added right here, so that nothing on the page is lost.
function Missing({ setting, text, onKey }: { setting: string; text: string; onKey: () => void }) {
  const [shown, setShown] = useState<KeyView | null>(null);
  const [check, setCheck] = useState<CheckedKey | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const ask = () => {
    call<KeyList>("GET", "/keys").then(
      (found) => setShown(found.keys.find((key) => key.setting === setting) ?? null),
      (error: unknown) => setProblem(message(error)),
    );
  };
  const set = (answer: CheckedKey) => {
    setCheck(answer);
    if (answer.verdict !== "refused") onKey();
  };
  return (
    <Notice tone="warn">
      {sentence(text)}{" "}
      {shown === null ? (
        <button type="button" class="link" onClick={ask}>
          Add the key
        </button>
      ) : (
        <WantedKey shown={shown} action="Save it and look again" onSet={set} />
      )}
      {check?.verdict === "refused" && <p>{check.message}</p>}
      {problem !== null && <p>{problem}</p>}
    </Notice>
  );
}

function Choices({ preview, onChange }: Pick<FoundProps, "preview" | "onChange">) {
  return (
    <fieldset>
      <legend>Which of its files?</legend>
      <ul class="choices">
        {preview.choices.map((each) => (
          <li key={each.file}>
            <button type="button" onClick={() => onChange({ file: each.file })}>
              <Foreign>{each.file}</Foreign>
              <span class="soft figures">{bytes(each.size)}</span>
            </button>
          </li>
        ))}
      </ul>
    </fieldset>
  );
}

// Where it goes, what it runs, and the button that saves exactly that.
function Save({ preview, isBusy, folderError, onChange, onSaved }: FoundProps) {
  const [path, setPath] = useState(preview.path);
  const [text, setText] = useState(preview.card ?? "");
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [isSaving, setSaving] = useState(false);
  const isEdited = text !== preview.card;
  const save = async (event: Event) => {
    event.preventDefault();
    setSaving(true);
    try {
      onSaved(await call<SavedCard>("POST", "/resources", { body: { card: text, path } }));
    } catch (error) {
      const found = fieldErrors(error);
      setWrong(found);
      document.getElementById(found["path"] === undefined ? "new-card" : "new-path")?.focus();
    } finally {
      setSaving(false);
    }
  };
  return (
    <form onSubmit={(event) => void save(event)} noValidate>
      <div class="grid">
        <Field
          id="folder"
          label="Folder below models/"
          hint={preview.folder_is_guess ? "A guess by its name: look whether it is right." : ""}
          error={folderError}
        >
          <select
            id="folder"
            aria-describedby="folder-help"
            disabled={isBusy || isEdited}
            value={preview.folder}
            onChange={(event) => onChange({ folder: event.currentTarget.value })}
          >
            {[...new Set([preview.folder, ...folders])].map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </Field>
        <Field id="new-path" label="Path in the library" error={wrong["path"]}>
          <input
            id="new-path"
            aria-describedby="new-path-help"
            aria-invalid={wrong["path"] !== undefined}
            spellcheck={false}
            value={path}
            onInput={(event) => setPath(event.currentTarget.value)}
          />
        </Field>
      </div>
      {!isEdited && (
        <>
          <h3>What it runs on an instance</h3>
          <pre class="commands" tabIndex={0} role="region" aria-label="What it runs on an instance">
            {preview.commands}
          </pre>
        </>
      )}
      <details open={wrong["card"] !== undefined || isEdited}>
        <summary>The card's text</summary>
        <Field id="new-card" label="You may change it before you save it" error={wrong["card"]}>
          <textarea
            id="new-card"
            class="code"
            rows={14}
            aria-describedby="new-card-help"
            aria-invalid={wrong["card"] !== undefined}
            spellcheck={false}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </Field>
      </details>
      {wrong[""] !== undefined && <Notice tone="bad">{wrong[""]}</Notice>}
      <button class="primary" disabled={isBusy || isSaving}>
        Save to the library
      </button>
    </form>
  );
}
