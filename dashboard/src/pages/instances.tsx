// The instances that jobs were for.

import { useEffect, useState } from "preact/hooks";

import { call, message, patiently } from "../api";
import { count, dateTime } from "../format";
import { Foreign, Heading, Notice } from "../parts/common";
import { VastInstances } from "../parts/vast_instances";
import { go, installOn, instanceAddress } from "../router";
import type { InstanceList } from "../types";

export function InstancesPage() {
  const [found, setFound] = useState<InstanceList | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const aborted = new AbortController();
    const ask = () => call<InstanceList>("GET", "/instances", { signal: aborted.signal });
    patiently(ask, setProblem, aborted.signal).then(setFound, (error: unknown) => {
      if (!aborted.signal.aborted) setProblem(message(error));
    });
    return () => aborted.abort();
  }, []);
  return (
    <>
      <div class="row between">
        <Heading title="Instances">Instances</Heading>
        <a class="button primary" href="#/install">
          Start an install
        </a>
      </div>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {found?.instances.length === 0 && <p>No install was for any instance yet.</p>}
      <ul class="rented">
        {found?.instances.map((each) => (
          <li key={each.instance} class="rent">
            <div>
              <a href={instanceAddress(each.instance)}>
                <Foreign>{each.instance}</Foreign>
              </a>
              <p class="soft">
                {[count(each.jobs, "install"), each.active > 0 ? `${each.active} not ended` : "", each.ui_home]
                  .filter((fact) => fact !== "")
                  .join(" · ")}
              </p>
            </div>
            <time class="soft" dateTime={each.last_job_at}>
              {dateTime(each.last_job_at)}
            </time>
          </li>
        ))}
      </ul>
      <section aria-labelledby="vast-title">
        <h2 id="vast-title">At Vast.ai</h2>
        <VastInstances
          action="Install…"
          onPick={({ ssh_user, ssh_host, ssh_port }) => {
            const host = ssh_host?.includes(":") ? `[${ssh_host}]` : ssh_host;
            go(installOn({ instance: `${ssh_user}@${host}:${ssh_port}`, ui_home: "" }));
          }}
        />
      </section>
    </>
  );
}
