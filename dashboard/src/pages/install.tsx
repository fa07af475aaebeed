// Start an install: where, what, and how.

import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";

import { ApiError, call, message, patiently } from "../api";
import { bytes, count } from "../format";
import { AddModel } from "../parts/add_model";
import { Field, Foreign, Heading, Notice } from "../parts/common";
import { InstanceCheck } from "../parts/instance_check";
import { byName, Library, withDependencies } from "../parts/library";
import { VastInstances } from "../parts/vast_instances";
import { go, jobAddress, route } from "../router";
import { parseSshLine } from "../ssh_line";
import type { Accepted, Cards, CardView, CheckRequest, InstallRequest, SavedCard } from "../types";

interface Draft {
  ssh_host: string;
  ssh_port: string;
  ssh_user: string;
  ui_home: string;
  parallel: string;
  limit: string;
  max_attempts: string;
  verify: boolean;
  host_key_sha256: string;
}

const rememberedKey = "installer-instance";
const empty: Draft = {
  ssh_host: "",
  ssh_port: "",
  ssh_user: "root",
  ui_home: "/workspace/ComfyUI",
  parallel: "1",
  limit: "",
  max_attempts: "3",
  verify: true,
  host_key_sha256: "",
};

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
  const added = (card: SavedCard) => {
    picked.value = new Set([card.path]);
    load(new AbortController());
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
      localStorage.setItem(rememberedKey, JSON.stringify(keep(draft)));
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
      {isEmpty && cards?.writable && <AddModel onSaved={added} />}
      <form onSubmit={(event) => void submit(event)} noValidate>
        <InstanceFields draft={draft} wrong={wrong} change={change} onWrong={setWrong} />
        <fieldset id="resources">
          <legend>What to install</legend>
          {wrong["resources"] !== undefined && <p class="help error">{wrong["resources"]}</p>}
          {cards?.writable && !isEmpty && (
            <p class="soft">
              Not there? <a href="#/resources">Add a model from a link</a>
            </p>
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
      open={["parallel", "limit", "bandwidth_limit", "max_attempts", "host_key_sha256"].some((name) => wrong[name])}
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
      </div>
      <label class="inline">
        <input
          type="checkbox"
          checked={draft.verify}
          onChange={(event) => change({ verify: event.currentTarget.checked })}
        />
        Verify the files before they count as installed
      </label>
    </details>
  );
}

type TextName = Exclude<keyof Draft, "verify">;

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

// The mistakes that this page can see; the service reports all others.
function mistakes(draft: Draft, picked: number): Record<string, string> {
  const found: Record<string, string> = {};
  if (draft.ssh_host.trim() === "") found["ssh_host"] = "The instance's address is missing";
  if (!isWhole(draft.ssh_port, 1, 65_535)) found["ssh_port"] = "A number from 1 to 65535";
  if (!draft.ui_home.trim().startsWith("/")) found["ui_home"] = "An absolute path, like /workspace/ComfyUI";
  if (picked === 0) found["resources"] = "Pick at least one resource";
  if (!isWhole(draft.parallel, 1, 8)) found["parallel"] = "A number from 1 to 8";
  if (!isWhole(draft.max_attempts, 1, 10)) found["max_attempts"] = "A number from 1 to 10";
  if (draft.limit.trim() !== "" && !(Number(draft.limit) > 0)) found["limit"] = "Megabytes a second, like 5 or 0.5";
  return found;
}

const isWhole = (text: string, least: number, most: number): boolean =>
  /^\d+$/.test(text.trim()) && Number(text) >= least && Number(text) <= most;

function body(draft: Draft, picked: ReadonlySet<string>): InstallRequest {
  const optional: Partial<InstallRequest> = {};
  if (draft.ssh_user.trim() !== "") optional.ssh_user = draft.ssh_user.trim();
  if (draft.host_key_sha256.trim() !== "") optional.host_key_sha256 = draft.host_key_sha256.trim();
  if (draft.limit.trim() !== "") optional.bandwidth_limit = Math.round(Number(draft.limit) * 1_000_000);
  return {
    ssh_host: draft.ssh_host.trim(),
    ssh_port: Number(draft.ssh_port),
    ui_home: draft.ui_home.trim(),
    resources: [...picked],
    parallel: Number(draft.parallel),
    max_attempts: Number(draft.max_attempts),
    verify: draft.verify,
    ...optional,
  };
}

// What of the form the check asks about; null while it names no instance.
function checkable(draft: Draft): CheckRequest | null {
  if (draft.ssh_host.trim() === "" || !isWhole(draft.ssh_port, 1, 65_535)) return null;
  return {
    ssh_host: draft.ssh_host.trim(),
    ssh_port: Number(draft.ssh_port),
    ui_home: draft.ui_home.trim(),
    ...(draft.ssh_user.trim() === "" ? {} : { ssh_user: draft.ssh_user.trim() }),
    ...(draft.host_key_sha256.trim() === "" ? {} : { host_key_sha256: draft.host_key_sha256.trim() }),
  };
}

// "resources[0]" and "resources" are the same field on this page.
const fields = (error: ApiError): Record<string, string> =>
  Object.fromEntries(error.errors.map((each) => [each.field.split(/[.[]/)[0]!, each.message]));

const keep = ({ ssh_host, ssh_port, ssh_user, ui_home }: Draft) => ({ ssh_host, ssh_port, ssh_user, ui_home });

// What a link fills in goes before what was used last.
function begun(): Draft {
  const { instance, uiHome } = route.value;
  const target = instance === "" ? null : parseSshLine(`ssh ${sshWords(instance)}`);
  const draft = remembered();
  if (target === null) return draft;
  return {
    ...draft,
    ssh_host: target.host,
    ssh_port: String(target.port ?? 22),
    ssh_user: target.user ?? draft.ssh_user,
    ui_home: uiHome === "" ? draft.ui_home : uiHome,
  };
}

// user@host:port as the words of an ssh line.
function sshWords(instance: string): string {
  const colon = instance.lastIndexOf(":");
  return `-p ${instance.slice(colon + 1)} ${instance.slice(0, colon).replace(/[[\]]/g, "")}`;
}

function remembered(): Draft {
  try {
    const kept = JSON.parse(localStorage.getItem(rememberedKey) ?? "{}") as Record<string, unknown>;
    const strings = Object.entries(kept).filter(([name, value]) => name in empty && typeof value === "string");
    return { ...empty, ...Object.fromEntries(strings) };
  } catch {
    // This page did not write what is stored there: start with an empty form.
    return empty;
  }
}

// Pages without TLS have no crypto.randomUUID.
const newKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
