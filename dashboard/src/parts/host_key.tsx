// The question about a changed host key. To accept the key is to start a new install that names it.

import { useState } from "preact/hooks";

import { call, message } from "../api";
import type { Shown } from "../job_model";
import { go, jobAddress } from "../router";
import type { Accepted } from "../types";
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
      const made = await call<Accepted>("POST", "/resources/install", {
        body: {
          ssh_host: job.host,
          ssh_port: job.port,
          ssh_user: job.user,
          ui_home: job.ui_home,
          resources: missing.map((resource) => resource.resource),
          host_key_sha256: key,
          parallel: job.parallel,
          bandwidth_limit: job.bandwidth_limit,
          max_attempts: job.max_attempts,
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
        <Foreign>{job.instance}</Foreign> shows another host key than before. That is expected after you rented a new
        instance at the same address. Otherwise somebody may be between you and the instance.
      </p>
      <p>
        It shows <code>{key}</code>
      </p>
      <p class="help">
        On the instance, <code>ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub</code> prints its key.
      </p>
      {refusal !== null && <Notice tone="bad">{refusal}</Notice>}
      <button class="primary" onClick={() => void accept()}>
        Trust this key and start again
      </button>
    </section>
  );
}
