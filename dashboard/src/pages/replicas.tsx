// The replicas that share the database: who is there, for how long, and which installs each of them follows.

import { useEffect, useState } from "preact/hooks";

import { call, message } from "../api";
import { left, shortId, words } from "../format";
import { Foreign, Heading, Notice } from "../parts/common";
import { jobAddress } from "../router";
import type { OwnedJobView, ReplicaView, ReplicaViews } from "../types";

const EVERY_MS = 2_000;

export function ReplicasPage() {
  const [found, setFound] = useState<ReplicaViews | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    const look = () =>
      call<ReplicaViews>("GET", "/replicas").then(
        (answer) => {
          setFound(answer);
          setFailure(null);
        },
        (error: unknown) => setFailure(message(error)),
      );
    look();
    const timer = setInterval(look, EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <Heading title="Replicas">Replicas</Heading>
      {failure !== null && <Notice tone="bad">{failure}</Notice>}
      {found?.replicas.some((replica) => !replica.same_cards) && (
        <Notice tone="bad">The replicas have different cards: give all of them the same folder.</Notice>
      )}
      {found !== null && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Replicas and their installs">
          <table>
            <thead>
              <tr>
                {["Replica", "Version", "Lease", "Installs"].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {found.replicas.map((replica) => (
                <Row key={replica.replica_id} replica={replica} />
              ))}
              {found.left.length > 0 && (
                <tr>
                  <th scope="row">Nobody yet</th>
                  <td />
                  <td />
                  <Jobs jobs={found.left} />
                </tr>
              )}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function Row({ replica }: { replica: ReplicaView }) {
  const lease = replica.lease_left_seconds;
  return (
    <tr>
      <th scope="row">
        {replica.replica_id}: <Foreign>{replica.name}</Foreign>
        {replica.is_this && " (this one)"}
      </th>
      <td>
        <Foreign>{replica.version}</Foreign>
      </td>
      <td>{lease === null ? "never ends" : left(lease)}</td>
      <Jobs jobs={replica.jobs} />
    </tr>
  );
}

function Jobs({ jobs }: { jobs: OwnedJobView[] }) {
  return (
    <td>
      {jobs.length === 0 && "none"}
      {jobs.map((job) => (
        <div key={job.job_id}>
          <a href={jobAddress(job.job_id)}>{shortId(job.job_id)}</a> <Foreign>{job.instance}</Foreign>,{" "}
          {words(job.state).toLowerCase()}
        </div>
      ))}
    </td>
  );
}
