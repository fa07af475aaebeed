// The SSH key of the service's own: made on request, shown to copy, with where it goes.

import { useState } from "preact/hooks";

import { call, message } from "../api";
import type { MadeSshKey, SshKeyView } from "../types";
import { Notice } from "./common";
import { Copy } from "./copy";

export function PublicKey({ ssh }: { ssh: SshKeyView }) {
  if (ssh.public_key === null) return null;
  return (
    <>
      <pre class="commands" tabIndex={0} role="region" aria-label="The service's public key">
        {ssh.public_key}
      </pre>
      <div class="row">
        <Copy text={ssh.public_key} what="Copy the public key" />
        <span class="soft">{ssh.fingerprint}</span>
      </div>
      <p>Give it to your instances:</p>
      <ul>
        {ssh.where.map((each) => (
          <li key={each}>{each}</li>
        ))}
      </ul>
    </>
  );
}

export function MakeSshKey({ onMade }: { onMade: (ssh: SshKeyView) => void }) {
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const make = async () => {
    setBusy(true);
    try {
      onMade(await call<MadeSshKey>("POST", "/keys/ssh"));
    } catch (error) {
      setProblem(message(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <button class="primary" disabled={isBusy} onClick={() => void make()}>
        Make an SSH key
      </button>
    </>
  );
}
