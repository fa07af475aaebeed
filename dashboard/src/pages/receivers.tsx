// Who is told how jobs end: add, test and delete receivers, and see what each was told last.

import { useEffect, useState } from "preact/hooks";

import { call, fieldErrors, message, patiently } from "../api";
import { dateTime, words } from "../format";
import { Field, Foreign, Heading, Notice } from "../parts/common";
import { Confirm } from "../parts/confirm";
import { jobAddress } from "../router";
import type { AddedReceiver, DeliveryView, ReceiverList, ReceiverView, TestedReceiver } from "../types";

const kinds: [string, string][] = [
  ["completed", "completed"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
  ["stalled", "a stalled download"],
  ["instance_lost", "a lost instance"],
];

export function ReceiversPage() {
  const [found, setFound] = useState<ReceiverList | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [added, setAdded] = useState<AddedReceiver | null>(null);
  const load = (aborted = new AbortController()) => {
    const ask = () => call<ReceiverList>("GET", "/receivers", { signal: aborted.signal });
    patiently(ask, setProblem, aborted.signal).then(setFound, (error: unknown) => {
      if (!aborted.signal.aborted) setProblem(message(error));
    });
  };
  useEffect(() => {
    const aborted = new AbortController();
    load(aborted);
    return () => aborted.abort();
  }, []);
  return (
    <>
      <Heading title="Notifications">Notifications</Heading>
      <p class="soft">
        These are told how jobs end, at least once each. The service keeps their addresses and secrets encrypted.
      </p>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <AddReceiver
        onAdded={(receiver) => {
          setAdded(receiver);
          load();
        }}
      />
      {added?.secret && (
        <Notice tone="good">
          The secret of <Foreign>{added.name}</Foreign>, which is not shown again: <code>{added.secret}</code>
        </Notice>
      )}
      {found !== null && found.receivers.length === 0 && <p>Nobody is told as yet.</p>}
      {found?.receivers.map((receiver) => (
        <Receiver key={receiver.receiver_id} shown={receiver} onChange={load} />
      ))}
    </>
  );
}

function AddReceiver({ onAdded }: { onAdded: (receiver: AddedReceiver) => void }) {
  const [url, setUrl] = useState("");
  const [name, setName] = useState("");
  const [wanted, setWanted] = useState<ReadonlySet<string>>(new Set(kinds.map(([kind]) => kind)));
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [isBusy, setBusy] = useState(false);
  const add = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setWrong({});
    try {
      const body = { url: url.trim(), events: [...wanted], ...(name.trim() === "" ? {} : { name: name.trim() }) };
      onAdded(await call<AddedReceiver>("POST", "/receivers", { body }));
      setUrl("");
      setName("");
    } catch (error) {
      setWrong(fieldErrors(error));
      document.getElementById("receiver-url")?.focus();
    } finally {
      setBusy(false);
    }
  };
  const toggle = (kind: string) => {
    const next = new Set(wanted);
    if (!next.delete(kind)) next.add(kind);
    setWanted(next);
  };
  const { url: atUrl, name: atName, events: atEvents, ...others } = wrong;
  return (
    <section class="panel" aria-labelledby="add-title">
      <h2 id="add-title">Tell somebody</h2>
      <form onSubmit={(event) => void add(event)} noValidate>
        <Field
          id="receiver-url"
          label="Address"
          hint="A webhook (https://…), or ntfy://topic, discord://…, tgram://…, mailto://… as Apprise writes it."
          error={atUrl}
        >
          <input
            id="receiver-url"
            aria-describedby="receiver-url-help"
            aria-invalid={atUrl !== undefined}
            autocomplete="off"
            spellcheck={false}
            value={url}
            onInput={(event) => setUrl(event.currentTarget.value)}
          />
        </Field>
        <Field id="receiver-name" label="Name" hint="Optional." error={atName}>
          <input
            id="receiver-name"
            aria-describedby="receiver-name-help"
            aria-invalid={atName !== undefined}
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </Field>
        <fieldset>
          <legend>Tell of an install that is, or of</legend>
          <div class="row">
            {kinds.map(([kind, label]) => (
              <label key={kind} class="inline">
                <input type="checkbox" checked={wanted.has(kind)} onChange={() => toggle(kind)} />
                {label}
              </label>
            ))}
          </div>
          {atEvents !== undefined && <p class="help error">{atEvents}</p>}
        </fieldset>
        {Object.values(others).map((text) => (
          <Notice key={text} tone="bad">
            {text}
          </Notice>
        ))}
        <button class="primary" disabled={isBusy || url.trim() === "" || wanted.size === 0}>
          Add
        </button>
      </form>
    </section>
  );
}

function Receiver({ shown, onChange }: { shown: ReceiverView; onChange: () => void }) {
  const [tested, setTested] = useState<TestedReceiver | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const api = `/receivers/${shown.receiver_id}`;
  const attempt = async (work: () => Promise<TestedReceiver | null>) => {
    setBusy(true);
    setProblem(null);
    setTested(null);
    try {
      setTested(await work());
    } catch (error) {
      setProblem(message(error));
    } finally {
      setBusy(false);
    }
  };
  const remove = async (yes: boolean) => {
    setAsking(false);
    if (!yes) return;
    await attempt(async () => {
      await call("DELETE", api);
      return null;
    });
    onChange();
  };
  const id = `receiver-${shown.receiver_id}`;
  return (
    <section class="panel" aria-labelledby={id}>
      <h2 id={id}>
        <Foreign>{shown.name}</Foreign>
      </h2>
      <p>
        <Foreign>{shown.address}</Foreign>
        <span class="soft"> · told of {shown.events.map(words).join(", ")}</span>
        {shown.source === "settings" && <span class="soft"> · named in the settings</span>}
      </p>
      {shown.pending > 0 && <p>{shown.pending} wait to be told.</p>}
      {shown.last !== null && <Last shown={shown.last} />}
      {tested !== null && <Notice tone={tested.delivered ? "good" : "bad"}>{tested.message}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <div class="row">
        <button
          disabled={isBusy}
          aria-label={`Send a test to ${shown.name}`}
          onClick={() => void attempt(() => call<TestedReceiver>("POST", `${api}/test`))}
        >
          Send a test
        </button>
        {shown.source === "stored" && (
          <button class="danger" disabled={isBusy} aria-label={`Delete ${shown.name}`} onClick={() => setAsking(true)}>
            Delete
          </button>
        )}
      </div>
      {isAsking && (
        <Confirm
          title="Delete this receiver?"
          text="It is told nothing more, not even what it still waits for. The service cannot show its address again."
          action="Delete the receiver"
          onAnswer={(yes) => void remove(yes)}
        />
      )}
    </section>
  );
}

function Last({ shown }: { shown: DeliveryView }) {
  return (
    <p>
      Last: <a href={jobAddress(shown.job_id)}>an install</a>, {words(shown.event)}, {dateTime(shown.at)}:{" "}
      {words(shown.state)}
      {shown.error !== null && (
        <>
          {" "}
          (<Foreign>{shown.error}</Foreign>; {shown.tries} tries
          {shown.next_at !== null && <>, the next {dateTime(shown.next_at)}</>})
        </>
      )}
    </p>
  );
}
