// Which cards fail, on which hosts and why, over all jobs.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import { dateTime, words } from "../format";
import { Foreign, Heading, Notice } from "../parts/common";
import type { FailureGroup, FailureGroups } from "../types";

const spans: [string, number][] = [
  ["the last day", 1],
  ["the last week", 7],
  ["the last 30 days", 30],
  ["the last year", 365],
];

export function FailuresPage() {
  const [days, setDays] = useState(30);
  const [groups, setGroups] = useState<FailureGroup[] | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    const since = new Date(Date.now() - days * 86_400_000).toISOString();
    call<FailureGroups>("GET", `/resources/failures?limit=200&since=${since}`).then(
      (answer) => {
        setGroups(answer.failures);
        setFailure(null);
      },
      (error: unknown) => setFailure(message(error)),
    );
  }, [days]);
  return (
    <>
      <Heading title="Failures">Failures</Heading>
      <label class="inline">
        In
        <select value={String(days)} onChange={(event) => setDays(Number(event.currentTarget.value))}>
          {spans.map(([name, each]) => (
            <option key={each} value={String(each)}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {failure !== null && <Notice tone="bad">{failure}</Notice>}
      {groups !== null && groups.length === 0 && <p>Nothing failed.</p>}
      {groups !== null && groups.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Failures by cause, host and card">
          <table>
            <thead>
              <tr>
                {["Times", "Cause", "Card", "Host", "Last", "In the tool's words"].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {groups.map((group) => (
                <tr key={`${group.cause} ${group.host} ${group.card}`}>
                  <td>{group.count}</td>
                  <td>{words(group.cause ?? "unknown")}</td>
                  <th scope="row">
                    <Foreign>{group.card}</Foreign>
                  </th>
                  <td>
                    <Foreign>{group.host}</Foreign>
                  </td>
                  <td>{dateTime(group.last_at)}</td>
                  <td>
                    <Foreign>{group.error}</Foreign>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
