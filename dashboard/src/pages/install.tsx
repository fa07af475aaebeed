// Start an install: where, what, and how.

import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, call, message, patiently } from "../api";
import { bytes, count } from "../format";
import { begun, body, checkable, type Draft, fields, mistakes, newKey, remember } from "../install_draft";
import { AddModel } from "../parts/add_model";
import { Field, Foreign, Heading, Notice } from "../parts/common";
import { InstanceCheck } from "../parts/instance_check";
import { byName, Library, withDependencies } from "../parts/library";
import { VastInstances } from "../parts/vast_instances";
import { Workflow } from "../parts/workflow";
import { go, jobAddress, route } from "../router";
import { parseSshLine } from "../ssh_line";
import type { Accepted, Cards, CardView, SavedCard } from "../types";

export function InstallPage() {
  const [cards, setCards] = useState<Cards | null>(null);
  const [draft, setDraft] = useState<Draft>(begun);
  const [problem, setProblem] = useState<string | null>(null);
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [isBusy, setBusy] = useState(false);
  const picked = useSignal<ReadonlySet<string>>(new Set(route.value.picked));
  // With this key the same request, sent again after a lost answer, starts no second job.
  const [attemptKey, setAttemptKey] = useState(newKey);

  const load = (aborted: AbortController) => {
    const ask = () => call<Cards>("GET", "/resources", { signal: aborted.signal });
    patiently(ask, setProblem, aborted.signal).then(setCards, (error: unknown) => {
      if (!aborted.signal.aborted) setProblem(message(error));
    });
  };
  useEffect(() => {
    const aborted = new AbortController();
    load(aborted);
    return () => aborted.abort();
  }, []);
  const isEmpty = cards !== null && cards.resources.length === 0;
  const form = useRef<HTMLFormElement>(null);
  const [isFromWorkflow, setFromWorkflow] = useState(false);
  // With an instance in the form, one click makes the cards and installs them.
  const ofWorkflow = (paths: string[], isWhole: boolean) => {
    picked.value = new Set([...picked.value, ...paths]);
    setAttemptKey(newKey());
    load(new AbortController());
    if (isWhole && paths.length > 0 && checkable(draft) !== null) form.current?.requestSubmit();
  };
  const [isAdding, setAdding] = useState(false);
  const [saved, setSaved] = useState("");
  const added = (card: SavedCard) => {
    picked.value = new Set([...picked.value, card.path]);
    setAttemptKey(newKey());
    setAdding(true);
    setSaved(card.path);
    load(new AbortController());
    // The focus goes to what is still missing: the next link, or the instance.
    document.getElementById(checkable(draft) === null ? "ssh_line" : "link")?.focus();
  };
  const add = () => {
    setAdding(!isAdding);
    if (!isAdding) scrollTo(0, 0);
  };
  const change = (changes: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...changes }));
    setAttemptKey(newKey());
  };
  const all = withDependencies([...picked.value], byName(cards?.resources ?? []));

  const submit = async (event: Event) => {
    event.preventDefault();
    const found = mistakes(draft, picked.value.size);
    setWrong(found);
    setProblem(null);
    if (Object.keys(found).length > 0) {
      document.getElementById(Object.keys(found)[0]!)?.focus();
      return;
    }
    setBusy(true);
    try {
      const headers = { "Idempotency-Key": attemptKey };
      const made = await call<Accepted>("POST", "/resources/install", { body: body(draft, picked.value), headers });
      remember(draft);
      go(jobAddress(made.job_id));
    } catch (error) {
      setProblem(message(error));
      if (error instanceof ApiError) setWrong(fields(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Heading title="Start an install">Start an install</Heading>
      {cards?.writable && (isEmpty || isAdding) && <AddModel focuses={isAdding} onSaved={added} />}
      <p role="status">
        {saved !== "" && (
          <>
            Saved and picked: <Foreign>{saved}</Foreign>
          </>
        )}
      </p>
      <form ref={form} onSubmit={(event) => void submit(event)} noValidate>
        <InstanceFields draft={draft} wrong={wrong} change={change} onWrong={setWrong} />
        <fieldset id="resources">
          <legend>What to install</legend>
          {wrong["resources"] !== undefined && <p class="help error">{wrong["resources"]}</p>}
          {cards?.writable && !isEmpty && (
            <p class="soft">
              Not there?{" "}
              <button type="button" class="link" aria-expanded={isAdding} onClick={add}>
                Add a model from a link
              </button>
            </p>
          )}
          {cards?.writable && (
            <p>
              <button
                type="button"
                class="link"
                aria-expanded={isFromWorkflow}
                onClick={() => setFromWorkflow(!isFromWorkflow)}
              >
                From a workflow
              </button>
            </p>
          )}
          {isFromWorkflow && (
            <Workflow onCards={ofWorkflow} action={checkable(draft) === null ? "pick all" : "install all"} />
          )}
          {isEmpty && cards.writable && <p>Nothing to choose from yet: add a model above.</p>}
          {cards === null && <p>Reading the library…</p>}
          {cards !== null && !(isEmpty && cards.writable && cards.broken.length === 0) && (
            <Library
              cards={cards}
              picked={picked.value}
              onPick={(next) => {
                picked.value = next;
                setAttemptKey(newKey());
              }}
            />
          )}
        </fieldset>
        <OptionFields draft={draft} wrong={wrong} change={change} />
        {problem !== null && <Notice tone="bad">{problem}</Notice>}
        {!isEmpty && (
          <div class="submit row">
            <button class="primary" disabled={isBusy}>
              {picked.value.size === 0 ? "Install" : `Install ${count(all.length, "resource")}`}
            </button>
            <Chosen cards={all} picked={picked.value} />
          </div>
        )}
      </form>
    </>
  );
}

function Chosen({ cards, picked }: { cards: CardView[]; picked: ReadonlySet<string> }) {
  if (cards.length === 0) return <span class="soft">Nothing is picked yet.</span>;
  const known = cards.every((card) => card.size !== null);
  const size = cards.reduce((sum, card) => sum + (card.size ?? 0), 0);
  const added = cards.filter((card) => !picked.has(card.path));
  return (
    <span class="soft" role="status">
      {size > 0 && `${known ? "" : "more than "}${bytes(size)}`}
      {added.length > 0 && (
        <>
          {size > 0 && ", "}with their dependencies: <Foreign>{added.map((card) => card.title).join(", ")}</Foreign>
        </>
      )}
    </span>
  );
}

interface FieldsProps {
  draft: Draft;
  wrong: Record<string, string>;
  change: (changes: Partial<Draft>) => void;
}

interface InstanceFieldsProps extends FieldsProps {
  onWrong: (wrong: Record<string, string>) => void;
}

function InstanceFields({ draft, wrong, change, onWrong }: InstanceFieldsProps) {
  const [line, setLine] = useState("");
  const [isPicking, setPicking] = useState(false);
  const paste = (text: string) => {
    setLine(text);
    const target = parseSshLine(text);
    if (target === null) return;
    change({
      ssh_host: target.host,
      ...(target.port === null ? { ssh_port: "22" } : { ssh_port: String(target.port) }),
      ...(target.user === null ? {} : { ssh_user: target.user }),
    });
  };
  const isOdd = line.trim() !== "" && parseSshLine(line) === null;
  return (
    <fieldset>
      <legend>Where</legend>
      <p>
        <button type="button" class="link" aria-expanded={isPicking} onClick={() => setPicking(!isPicking)}>
          Pick one of my instances at Vast.ai
        </button>
      </p>
      {isPicking && (
        <VastInstances
          action="Use it"
          onPick={(rented) => {
            change({
              ssh_host: rented.ssh_host ?? "",
              ssh_port: String(rented.ssh_port ?? ""),
              ssh_user: rented.ssh_user,
              host_key_sha256: "",
            });
            setPicking(false);
            document.getElementById("ssh_host")?.focus();
          }}
        />
      )}
      <Field
        id="ssh_line"
        label="Paste the instance's ssh line"
        hint="For example: ssh -p 44686 root@109.231.106.68 -L 8080:localhost:8080"
        error={isOdd ? "This is not an ssh line: fill in the fields below." : undefined}
      >
        <input
          id="ssh_line"
          aria-describedby="ssh_line-help"
          autocomplete="off"
          spellcheck={false}
          value={line}
          onInput={(event) => paste(event.currentTarget.value)}
        />
      </Field>
      <div class="grid">
        <Text id="ssh_host" label="Host" draft={draft} wrong={wrong} change={change} />
        <Text id="ssh_port" label="Port" draft={draft} wrong={wrong} change={change} inputMode="numeric" />
        <Text id="ssh_user" label="User" draft={draft} wrong={wrong} change={change} />
        <Text id="ui_home" label="Folder of ComfyUI" draft={draft} wrong={wrong} change={change} />
      </div>
      <InstanceCheck
        target={checkable(draft)}
        onUiHome={(path) => change({ ui_home: path })}
        onHostKey={(fingerprint) => change({ host_key_sha256: fingerprint })}
        onWrong={onWrong}
      />
    </fieldset>
  );
}

function OptionFields({ draft, wrong, change }: FieldsProps) {
  return (
    <details
      open={["parallel", "limit", "bandwidth_limit", "max_attempts", "host_key_sha256", "wait"].some(
        (name) => wrong[name],
      )}
    >
      <summary>Options</summary>
      <div class="grid">
        <Text
          id="parallel"
          label="Downloads at once"
          hint="1 to 8"
          draft={draft}
          wrong={wrong}
          change={change}
          inputMode="numeric"
        />
        <Text
          id="limit"
          label="Bandwidth limit, MB/s"
          hint="for the whole install; empty: none"
          draft={draft}
          wrong={{ ...wrong, limit: wrong["limit"] ?? wrong["bandwidth_limit"] ?? "" }}
          change={change}
          inputMode="decimal"
        />
        <Text
          id="max_attempts"
          label="Attempts for each resource"
          hint="1 to 10; only failures that may pass are tried again"
          draft={draft}
          wrong={wrong}
          change={change}
          inputMode="numeric"
        />
        <Text
          id="host_key_sha256"
          label="Host key"
          hint="SHA256:…; empty: by the service's settings"
          draft={draft}
          wrong={wrong}
          change={change}
        />
        <Text
          id="wait"
          label="Wait for an instance that boots, minutes"
          hint="empty: by the service's settings"
          draft={draft}
          wrong={{ ...wrong, wait: wrong["wait"] ?? wrong["wait_for_ssh_seconds"] ?? "" }}
          change={change}
          inputMode="numeric"
        />
      </div>
      <label class="inline">
        <input
          type="checkbox"
          checked={draft.verify}
          onChange={(event) => change({ verify: event.currentTarget.checked })}
        />
        Verify the files before they count as installed
      </label>
      <label class="inline">
        <input
          type="checkbox"
          checked={draft.reinstall}
          onChange={(event) => change({ reinstall: event.currentTarget.checked })}
        />
        Load files anew that are there and whole
      </label>
    </details>
  );
}

type TextName = Exclude<keyof Draft, "verify" | "reinstall">;

interface TextProps extends FieldsProps {
  id: TextName;
  label: string;
  hint?: string;
  inputMode?: "numeric" | "decimal";
}

function Text({ id, label, hint, inputMode, draft, wrong, change }: TextProps) {
  const error = wrong[id] || undefined;
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <input
        id={id}
        aria-describedby={`${id}-help`}
        aria-invalid={error !== undefined}
        autocomplete="off"
        spellcheck={false}
        value={draft[id]}
        {...(inputMode === undefined ? {} : { inputMode })}
        onInput={(event) => change({ [id]: event.currentTarget.value })}
      />
    </Field>
  );
}
