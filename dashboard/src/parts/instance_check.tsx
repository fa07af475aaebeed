// Whether an install could begin on the instance of the form: a line for each thing that it needs.

import { useState } from "preact/hooks";

import { call, fieldErrors } from "../api";
import type { CheckedInstance, CheckLine, CheckRequest } from "../types";
import { Foreign, Notice } from "./common";
import { Copy } from "./copy";

interface InstanceCheckProps {
  // What the form holds now; null while it names no instance.
  target: CheckRequest | null;
  onUiHome: (path: string) => void;
  onHostKey: (fingerprint: string) => void;
  onWrong: (wrong: Record<string, string>) => void;
}

const names: Record<CheckLine["check"], string> = {
  name: "Name",
  port: "Port",
  host_key: "Host key",
  login: "Login",
  comfyui: "ComfyUI",
  disk: "Disk",
  tools: "Tools",
};
const words: Record<CheckLine["state"], string> = { ok: "good", warning: "note", failed: "wrong", skipped: "not yet" };

export function InstanceCheck({ target, onUiHome, onHostKey, onWrong }: InstanceCheckProps) {
  const [found, setFound] = useState<CheckedInstance | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const check = async () => {
    if (target === null) {
      onWrong({ ssh_host: "Paste the ssh line, or fill in host and port" });
      document.getElementById("ssh_host")?.focus();
      return;
    }
    setBusy(true);
    setFound(null);
    onWrong({});
    setProblem(null);
    try {
      setFound(await call<CheckedInstance>("POST", "/instances/check", { body: target }));
    } catch (error) {
      const wrong = fieldErrors(error);
      onWrong(wrong);
      setProblem(wrong[""] ?? null);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <div class="row">
        <button type="button" disabled={isBusy} onClick={() => void check()}>
          {isBusy ? "Checking…" : "Check the instance"}
        </button>
        <span class="soft" role="status">
          {found === null ? "" : found.ok ? "An install can begin." : "An install cannot begin yet."}
        </span>
      </div>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {found !== null && (
        <ul class="checks">
          {found.lines.map((line) => (
            <li key={line.check} class={`check ${line.state}`}>
              <span class="check-name">{names[line.check]}</span>
              <span class="check-state">{words[line.state]}</span>
              <span class="check-text">
                <Foreign>{line.text}</Foreign>
                {line.check === "comfyui" &&
                  found.ui_homes.map((path) => (
                    <button key={path} type="button" class="link" onClick={() => onUiHome(path)}>
                      Use <Foreign>{path}</Foreign>
                    </button>
                  ))}
                {line.check === "host_key" && line.state === "failed" && found.host_key_sha256 !== null && (
                  <button type="button" class="link" onClick={() => onHostKey(found.host_key_sha256!)}>
                    It is my new instance: accept this key
                  </button>
                )}
                {line.check === "login" && found.where.length > 0 && <GiveKey found={found} />}
              </span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function GiveKey({ found }: { found: CheckedInstance }) {
  return (
    <>
      {found.public_key === null ? (
        <a href="#/keys">Let the service make a key, and give its public half to the instance</a>
      ) : (
        <>
          <pre class="commands" tabIndex={0} role="region" aria-label="The service's public key">
            {found.public_key}
          </pre>
          <div class="row">
            <Copy text={found.public_key} what="Copy the public key" />
          </div>
        </>
      )}
      <ul>
        {found.where.map((each) => (
          <li key={each}>{each}</li>
        ))}
      </ul>
    </>
  );
}
