// The keys: set, checked and removed without a restart, and never shown.

import { useEffect, useState } from "preact/hooks";

import { call, message, patiently } from "../api";
import { dateTime } from "../format";
import { Heading, Notice } from "../parts/common";
import { Confirm } from "../parts/confirm";
import { checkKey, KeyForm } from "../parts/key_form";
import { MakeSshKey, PublicKey } from "../parts/ssh_key";
import type { CheckedKey, KeyList, KeyView, SshKeyView } from "../types";

export function KeysPage() {
  const [found, setFound] = useState<KeyList | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const load = (aborted = new AbortController()) => {
    const ask = () => call<KeyList>("GET", "/keys", { signal: aborted.signal });
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
      <Heading title="Keys">Keys</Heading>
      <p class="soft">
        They count at once, for what begins from now on. The service keeps them encrypted and never shows them again.
      </p>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {found?.keys.map((key) => (
        <KeyPanel key={key.name} shown={key} onChange={load} />
      ))}
      {found !== null && <SshPanel ssh={found.ssh} onChange={load} />}
    </>
  );
}

function KeyPanel({ shown, onChange }: { shown: KeyView; onChange: () => void }) {
  const [check, setCheck] = useState<CheckedKey | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const attempt = async (work: () => Promise<CheckedKey | null>) => {
    setBusy(true);
    setProblem(null);
    try {
      setCheck(await work());
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
      await call("DELETE", `/keys/${shown.name}`);
      return null;
    });
    onChange();
  };
  const id = `${shown.name}-title`;
  return (
    <section class="panel" aria-labelledby={id}>
      <h2 id={id}>{shown.title}</h2>
      <p>
        <strong>{standing(shown)}</strong>
        {shown.stored && shown.set_at !== null && <span class="soft"> since {dateTime(shown.set_at)}</span>}
        <span class="soft"> · for {shown.use}</span>
      </p>
      {shown.problem !== null && <Notice tone="bad">{shown.problem}</Notice>}
      {shown.source === "environment" && shown.stored && (
        <Notice tone="info">
          A key is stored too, but <code>{shown.setting}</code> goes before it.
        </Notice>
      )}
      <KeyForm
        name={shown.name}
        title={shown.stored ? "Another one in its place" : "Paste it here"}
        action="Save and check"
        onSet={(found) => {
          setProblem(null);
          setCheck(found);
          onChange();
        }}
      />
      {check !== null && <Notice tone={tones[check.verdict]}>{check.message}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <div class="row">
        {shown.set && (
          <button disabled={isBusy} onClick={() => void attempt(() => checkKey(shown.name))}>
            Check it
          </button>
        )}
        {shown.stored && (
          <button class="danger" disabled={isBusy} onClick={() => setAsking(true)}>
            Remove it
          </button>
        )}
        <a href={shown.page} target="_blank" rel="noopener noreferrer">
          Where to make one
        </a>
      </div>
      {isAsking && (
        <Confirm
          title={`Remove the ${shown.title}?`}
          text="Installs that run keep what they were given. The service cannot show the key again."
          action="Remove the key"
          onAnswer={(yes) => void remove(yes)}
        />
      )}
    </section>
  );
}

const tones = { accepted: "good", refused: "bad", unknown: "warn" } as const;

const standing = (key: KeyView): string => {
  if (key.source === "environment") return `Set by ${key.setting}`;
  if (key.problem !== null) return "Stored, but unreadable";
  return key.set ? "Set" : "Not set";
};

function SshPanel({ ssh, onChange }: { ssh: SshKeyView; onChange: () => void }) {
  const [isAsking, setAsking] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const remove = async (yes: boolean) => {
    setAsking(false);
    if (!yes) return;
    try {
      await call("DELETE", "/keys/ssh");
    } catch (error) {
      setProblem(message(error));
    }
    onChange();
  };
  return (
    <section class="panel" aria-labelledby="ssh-title">
      <h2 id="ssh-title">The service's SSH key</h2>
      {!ssh.set && ssh.problem === null && (
        <>
          <p>
            The service logs in at your instances with a key. It can make one of its own; you give the public half to
            Vast.ai, and the private half never leaves the service.
          </p>
          <MakeSshKey onMade={onChange} />
        </>
      )}
      {ssh.problem !== null && <Notice tone="bad">{ssh.problem}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <PublicKey ssh={ssh} />
      {(ssh.set || ssh.problem !== null) && (
        <button class="danger" onClick={() => setAsking(true)}>
          Remove it
        </button>
      )}
      {isAsking && (
        <Confirm
          title="Remove the SSH key?"
          text="Instances that know this key alone do not let the service in any more. It cannot be brought back."
          action="Remove the key"
          onAnswer={(yes) => void remove(yes)}
        />
      )}
    </section>
  );
}
