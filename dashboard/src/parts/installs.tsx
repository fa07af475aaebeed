// Where a card was installed, and how that went.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import { cardApi } from "../card_address";
import { dateTime, words } from "../format";
import { jobAddress } from "../router";
import type { CardInstalls, CardInstallView } from "../types";
import { Foreign, Notice, State } from "./common";

export function Installs({ path, version }: { path: string; version: string }) {
  const [installs, setInstalls] = useState<CardInstallView[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    call<CardInstalls>("GET", `${cardApi(path)}/installs`).then(
      (found) => setInstalls(found.installs),
      (error: unknown) => setProblem(message(error)),
    );
  }, [path]);
  return (
    <section aria-labelledby="installs-title">
      <h2 id="installs-title">Where it was installed</h2>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {installs !== null && installs.length === 0 && <p>Nowhere as yet.</p>}
      {installs !== null && installs.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Installs of this card">
          <table>
            <thead>
              <tr>
                {["Instance", "State", "When", "Same text as now", "Job"].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {installs.map((each) => (
                <tr key={each.job_id}>
                  <th scope="row">
                    <Foreign>{each.instance}</Foreign>
                  </th>
                  <td>
                    <State state={each.state} />
                    {each.cause !== null && <> {words(each.cause)}</>}
                  </td>
                  <td>{dateTime(each.ended_at ?? each.started_at)}</td>
                  <td>{each.card_sha256 === null ? "" : each.card_sha256 === version ? "yes" : "no"}</td>
                  <td>
                    <a href={jobAddress(each.job_id)} aria-label={`Job ${each.job_id}`}>
                      {each.job_id.slice(0, 8)}
                    </a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
