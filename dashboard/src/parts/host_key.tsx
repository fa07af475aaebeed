// The question that a changed host key asks. Accepting it is a new install that names the key.

import { useState } from "preact/hooks";

import { call, message } from "../api";
import type { Shown } from "../job_model";
import { go, jobAddress } from "../router";
import { Foreign, Notice } from "./common";

// The key that the instance showed, as the service's message names it; a revoked one is not offered.
export function shownKey(error: string | null): string | null {
  if (error === null || error.includes("marked as revoked")) return null;
  return /(?:shows the host key|the host key| to) (SHA256:[A-Za-z0-9+/]{43})/.exec(error)?.[1] ?? null;
}

export function HostKeyQuestion({ job }: Shown) {
  const [refusal, setRefusal] = useState<string | null>(null);
  const key = job.cause === "host_key_changed" ? shownKey(job.error) : null;
  if (key === null) return null;
  const accept = async () => {
    try {
      const missing = [...job.resources.values()].filter((resource) => resource.state !== "installed");
      const made = await call<{ job_id: string }>("POST", "/resources/install", {
        body: {
          ssh_host: job.host,
          ssh_port: job.port,
          ssh_user: job.user,
          ui_home: job.uiHome,
          resources: missing.map((resource) => resource.resource),
          host_key_sha256: key,
          parallel: job.parallel,
          bandwidth_limit: job.bandwidthLimit,
          max_attempts: job.maxAttempts,
          verify: job.verify,
        },
      });
      go(jobAddress(made.job_id));
    } catch (error) {
      setRefusal(message(error));
    }
  };
  return (
    <section class="question" aria-labelledby="key-title">
      <h2 id="key-title">Is this still your instance?</h2>
      <p>
        <Foreign>{job.instance}</Foreign> shows another host key than before. That is so when a new instance was rented
        at the same address. If it was not, somebody may stand between you and it.
      </p>
      <p>
        It shows <code>{key}</code>
      </p>
      <p class="help">
        On the instance, <code>ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub</code> prints the key that it has.
      </p>
      {refusal !== null && <Notice tone="bad">{refusal}</Notice>}
      <button class="primary" onClick={() => void accept()}>
        Trust this key and start again
      </button>
    </section>
  );
}
