// The post-mortem of one job: what failed, the evidence, what to do, and how the time was spent.

import { useEffect, useState } from "preact/hooks";

import { call, message, patiently, text } from "../api";
import { bytes, count, dateTime, duration, shortId, speed, time, words } from "../format";
import { Foreign, Heading, Notice, State } from "../parts/common";
import { Plot } from "../parts/plot";
import { jobAddress } from "../router";
import type { Attempt, Failure, Report, Span } from "../types";
import { points } from "./job";

export function ReportPage({ jobId }: { jobId: string }) {
  const [report, setReport] = useState<Report | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  useEffect(() => {
    setReport(null);
    const aborted = new AbortController();
    const ask = () => call<Report>("GET", `/resources/jobs/${jobId}/report`, { signal: aborted.signal });
    patiently(ask, setFailure, aborted.signal).then(setReport, (error: unknown) => {
      if (!aborted.signal.aborted) setFailure(message(error));
    });
    return () => aborted.abort();
  }, [jobId]);
  return (
    <>
      <Heading title={`Post-mortem ${shortId(jobId)}`}>
        Post-mortem <code>{shortId(jobId)}</code> {report !== null && <State state={report.state} />}
      </Heading>
      {failure !== null && <Notice tone="bad">{failure}</Notice>}
      {report !== null && <Whole report={report} onFailure={setFailure} />}
    </>
  );
}

function Whole({ report, onFailure }: { report: Report; onFailure: (failure: string) => void }) {
  const save = async () => {
    try {
      const page = await text(`/resources/jobs/${report.job_id}/report`, "text/html");
      const file = document.createElement("a");
      file.href = URL.createObjectURL(new Blob([page], { type: "text/html" }));
      file.download = `post-mortem-${shortId(report.job_id)}.html`;
      file.click();
      URL.revokeObjectURL(file.href);
    } catch (error) {
      onFailure(message(error));
    }
  };
  return (
    <>
      <p class="soft">
        <Foreign>{report.instance}</Foreign> · <Foreign>{report.ui_home}</Foreign> · {dateTime(report.created_at)} ·{" "}
        {report.installed ?? 0} of {report.total} installed · {count(report.events, "event")}
      </p>
      <div class="row">
        <a class="button" href={jobAddress(report.job_id)}>
          The job
        </a>
        <button onClick={() => void save()}>Save as one file</button>
        <button onClick={() => print()}>Print</button>
      </div>
      {report.error !== null && report.failures.length === 0 && (
        <Notice tone="bad">
          <p>
            <Foreign>{report.error}</Foreign>
          </p>
          <p>{report.hint}</p>
        </Notice>
      )}
      {report.failures.length > 0 && (
        <section aria-labelledby="failed-title">
          <h2 id="failed-title">What failed</h2>
          {report.failures.map((failed) => (
            <Failed key={failed.resource} failed={failed} />
          ))}
        </section>
      )}
      <Spans spans={report.timeline} />
      {report.throughput.bytes_per_second.length > 1 && (
        <section aria-labelledby="flow-title">
          <h2 id="flow-title">Throughput</h2>
          <Plot points={points(report)} />
        </section>
      )}
      <Attempts attempts={report.attempts} />
      <section aria-labelledby="last-title">
        <h2 id="last-title">The last lines</h2>
        <pre class="output" tabIndex={0} role="group" aria-labelledby="last-title">
          {report.last_lines.length === 0 ? "Nothing was printed." : lines(report.last_lines)}
        </pre>
      </section>
    </>
  );
}

function Failed({ failed }: { failed: Failure }) {
  return (
    <article class="failure">
      <h3>
        <Foreign>{failed.resource}</Foreign>: {words(failed.cause ?? "unknown")}
      </h3>
      <p>
        <Foreign>{failed.error}</Foreign>
      </p>
      <dl>
        <dt>What to do</dt>
        <dd>{failed.hint ?? "—"}</dd>
        <dt>A retry</dt>
        <dd>{failed.retry}</dd>
        {failed.exit_code !== null && (
          <>
            <dt>Exit status</dt>
            <dd>{failed.exit_code}</dd>
          </>
        )}
      </dl>
      {failed.evidence.length > 0 && (
        <table>
          <caption>Evidence: event of the job, offset in the log on the instance</caption>
          <thead>
            <tr>
              <th scope="col">Event</th>
              <th scope="col">Offset</th>
              <th scope="col">Line</th>
            </tr>
          </thead>
          <tbody>
            {failed.evidence.map((evidence, at) => (
              <tr key={at}>
                <td class="number">{evidence.sequence}</td>
                <td class="number">{evidence.source_offset}</td>
                <td class="code">
                  <Foreign>{evidence.line}</Foreign>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {failed.last_lines.length > 0 && (
        <details>
          <summary>Its last {count(failed.last_lines.length, "line")}</summary>
          <pre class="output">{lines(failed.last_lines)}</pre>
        </details>
      )}
    </article>
  );
}

const lines = (all: string[]) => all.map((line, at) => <bdi class="line" key={at}>{`${line}\n`}</bdi>);

const kinds: Record<string, string> = {
  queue: "In the queue",
  connect: "Connecting",
  download: "Download",
  verify: "Verification",
  pause: "Paused",
  stall: "Stalled",
  link_lost: "Connection lost",
  retry_wait: "Waiting to try again",
};

function Spans({ spans }: { spans: Span[] }) {
  const begin = Math.min(...spans.map((span) => Date.parse(span.from)));
  const end = Math.max(...spans.map((span) => Date.parse(span.to ?? span.from)));
  const whole = Math.max(1, end - begin);
  return (
    <section aria-labelledby="spans-title">
      <h2 id="spans-title">How the time was spent</h2>
      <table class="spans">
        <thead>
          <tr>
            <th scope="col">What</th>
            <th scope="col">From</th>
            <th scope="col">Took</th>
            <th scope="col" class="wide">
              <span class="hidden">When</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {spans.map((span) => (
            <tr key={`${span.kind} ${span.sequence}`}>
              <th scope="row">
                {kinds[span.kind] ?? words(span.kind)} <Foreign>{span.resource}</Foreign>
                {span.attempt !== null && span.attempt > 1 && ` (attempt ${span.attempt})`}
              </th>
              <td>{time(span.from)}</td>
              <td>{duration(span.seconds)}</td>
              <td class="wide">
                <svg class={`span ${span.kind}`} viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
                  <rect
                    x={((Date.parse(span.from) - begin) / whole) * 1000}
                    width={Math.max(3, ((span.seconds ?? 0) * 1_000_000) / whole)}
                    height={10}
                  />
                </svg>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Attempts({ attempts }: { attempts: Attempt[] }) {
  if (attempts.length === 0) return null;
  return (
    <section aria-labelledby="attempts-title">
      <h2 id="attempts-title">Attempts</h2>
      <div class="scroll" tabIndex={0} role="region" aria-labelledby="attempts-title">
        <table>
          <thead>
            <tr>
              {["Resource", "Attempt", "Outcome", "Cause", "Took", "Received", "Mean speed"].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {attempts.map((each) => (
              <tr key={`${each.resource} ${each.attempt}`}>
                <th scope="row">
                  <Foreign>{each.resource}</Foreign>
                </th>
                <td>{each.attempt}</td>
                <td>{words(each.outcome)}</td>
                <td>{each.cause === null ? "" : words(each.cause)}</td>
                <td>{duration(each.seconds)}</td>
                <td>{bytes(each.bytes)}</td>
                <td>{speed(each.bytes_per_second)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
