// A job that failed for want of a key: add the key here, and retry. Its hint names the setting that would help.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import type { Shown } from "../job_model";
import { go, jobAddress } from "../router";
import type { CheckedKey, Controlled, KeyList, KeyView } from "../types";
import { Notice } from "./common";
import { KeyForm } from "./key_form";
import { MakeSshKey, PublicKey } from "./ssh_key";

const sshSetting = "INSTALLER_SSH_KEY";

export function MissingKey({ job }: Shown) {
  const [found, setFound] = useState<KeyList | null>(null);
  const [check, setCheck] = useState<CheckedKey | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const hints = [job.hint, ...[...job.resources.values()].map((each) => each.hint)].filter((each) => each !== null);
  const wants = (setting: string) => hints.some((hint) => hint.includes(setting));
  const isWanted = job.isEnded && job.possible.includes("retry") && wants("INSTALLER_");
  useEffect(() => {
    // Without the list there is nothing to offer; the hint stands above.
    if (isWanted) call<KeyList>("GET", "/keys").then(setFound, () => setFound(null));
  }, [isWanted]);
  if (!isWanted || found === null) return null;
  const retry = async () => {
    try {
      const made = await call<Controlled>("POST", `/resources/jobs/${job.job_id}/retry`);
      go(jobAddress(made.job_id));
    } catch (error) {
      setProblem(message(error));
    }
  };
  const set = async (answer: CheckedKey) => {
    setCheck(answer);
    if (answer.verdict !== "refused") await retry();
  };
  const keys = found.keys.filter((key) => wants(key.setting));
  const asksForSsh = job.cause === "ssh_auth" && wants(sshSetting);
  if (keys.length === 0 && !asksForSsh) return null;
  return (
    <section class="question" aria-labelledby="missing-title">
      <h2 id="missing-title">{asksForSsh ? "Let the service in" : "Add the key and retry"}</h2>
      {keys.map((key) => (
        <WantedKey key={key.name} shown={key} action="Save it and retry" onSet={(answer) => void set(answer)} />
      ))}
      {asksForSsh && (
        <>
          <PublicKey ssh={found.ssh} />
          {!found.ssh.set && found.ssh.problem === null && (
            <>
              <p>The service can make a key of its own, whose public half you then give to the instance.</p>
              <MakeSshKey onMade={(ssh) => setFound({ ...found, ssh })} />
            </>
          )}
          {found.ssh.set && (
            <button class="primary" onClick={() => void retry()}>
              The instance has it: retry
            </button>
          )}
        </>
      )}
      {check?.verdict === "refused" && <Notice tone="bad">{check.message}</Notice>}
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
    </section>
  );
}

interface WantedKeyProps {
  shown: KeyView;
  action: string;
  onSet: (answer: CheckedKey) => void;
}

export function WantedKey({ shown, action, onSet }: WantedKeyProps) {
  if (shown.source === "environment") {
    return (
      <p>
        The {shown.title} is set by <code>{shown.setting}</code>: change it there, and start the service again.
      </p>
    );
  }
  return (
    <>
      <KeyForm name={shown.name} title={shown.title} action={action} onSet={onSet} />
      <p class="help">
        <a href={shown.page} target="_blank" rel="noopener noreferrer">
          Where to make one
        </a>
      </p>
    </>
  );
}
