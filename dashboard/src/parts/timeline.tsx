// The history of a job in plain words, newest first.

import { useState } from "preact/hooks";

import { bytes, duration, speed, time, words } from "../format";
import type { JobEvent, ResourceVerifiedEvent } from "../types";
import { Foreign } from "./common";

const shownFirst = 60;

interface TimelineProps {
  events: JobEvent[];
  titles: Map<string, string>;
  version: number;
}

export function Timeline({ events, titles }: TimelineProps) {
  const [isWhole, setWhole] = useState(false);
  const newestFirst = events.slice(isWhole ? 0 : -shownFirst).reverse();
  return (
    <section aria-labelledby="timeline-title">
      <h2 id="timeline-title">What happened</h2>
      <ol class="timeline" reversed>
        {newestFirst.map((event) => (
          <li key={event.sequence} value={event.sequence} class={tone(event.type)}>
            <time dateTime={event.at}>{time(event.at)}</time>
            <span>
              {saying(event)}
              {event.resource !== undefined && (
                <>
                  {": "}
                  <Foreign>{titles.get(event.resource) ?? event.resource}</Foreign>
                </>
              )}
              {detail(event) !== "" && (
                <span class="soft">
                  {" — "}
                  <Foreign>{detail(event)}</Foreign>
                </span>
              )}
            </span>
          </li>
        ))}
      </ol>
      {!isWhole && events.length > shownFirst && (
        <button onClick={() => setWhole(true)}>Show all {events.length.toLocaleString("en")}</button>
      )}
    </section>
  );
}

function tone(type: string): string {
  if (type === "job_completed" || type === "resource_installed") return "good";
  if (type === "job_failed" || type === "resource_failed" || type === "resource_stalled") return "bad";
  return warnings.has(type) ? "warn" : "";
}

const warnings = new Set(["link_lost", "resource_warning", "resource_retry_scheduled", "job_cancelled"]);

const sayings: { [Type in JobEvent["type"]]?: string } = {
  job_queued: "Install accepted",
  queue_position_changed: "New place in the queue",
  job_moved: "Moved in the queue",
  job_started: "Connecting to the instance",
  job_paused: "Paused",
  job_resumed: "Resumed",
  cancel_requested: "Cancelling",
  limits_changed: "Bandwidth limit changed",
  connecting: "Not connected yet",
  host_key_accepted: "New host key remembered",
  resource_started: "Download begins",
  run_started: "Run begins",
  run_ended: "Run ended",
  file_kept: "Already there and whole",
  file_removed: "Removed",
  resource_warning: "Warning",
  link_lost: "Connection lost; the install continues on the instance",
  job_reattached: "Connected again",
  job_taken_over: "Taken over by another replica of the service",
  verification_started: "Verifying",
  resource_verified: "Checked",
  resource_stalled: "Stalled",
  resource_retry_scheduled: "Another attempt follows",
  resource_cancelled: "Cancelled",
  resource_installed: "Installed",
  resource_failed: "Failed",
  job_completed: "Everything is installed",
  job_failed: "The install failed",
  job_cancelled: "The install was cancelled",
};

const sources: Record<string, string> = { civitdl: "the site", card: "its card" };

// A job without resources removes files.
const ofRemovals: { [Type in JobEvent["type"]]?: string } = {
  job_queued: "Removal accepted",
  job_completed: "The files are removed",
  job_failed: "Something stays",
  job_cancelled: "The removal was cancelled",
};

function saying(event: JobEvent): string {
  const isOfRemoval =
    event.type === "job_queued" ? event.resources.length === 0 : "total" in event && event.total === 0;
  return (isOfRemoval ? ofRemovals[event.type] : undefined) ?? sayings[event.type] ?? words(event.type);
}

function detail(event: JobEvent): string {
  switch (event.type) {
    case "queue_position_changed":
      return String(event.queue_position);
    case "limits_changed":
      return event.bandwidth_limit === null ? "none" : speed(event.bandwidth_limit);
    case "connecting":
      return event.text;
    case "host_key_accepted":
      return event.host_key_sha256;
    case "link_lost":
      return event.reason;
    case "job_reattached":
      return event.after_restart ? "the service has restarted" : "";
    case "job_taken_over":
      return event.replica;
    case "run_started":
      return `${event.tool}, ${baseName(event.destination ?? event.address ?? "")}`;
    case "run_ended":
      return `${baseName(event.destination ?? "")}, exit status ${event.exit_code}`;
    case "file_kept":
      return `${event.path}, ${bytes(event.bytes)}`;
    case "file_removed":
      return event.size === null ? `${event.path}, which was not there` : `${event.path}, ${bytes(event.size)}`;
    case "resource_warning":
      return event.text;
    case "resource_verified":
      return `${event.file}, ${bytes(event.bytes)}, ${checked(event)}`;
    case "resource_retry_scheduled":
      return `attempt ${event.next_attempt} of ${event.max_attempts} in ${duration(event.delay_seconds)}, after ${words(event.cause).toLowerCase()}`;
    case "resource_stalled":
      return `nothing moved for ${event.stall_seconds} s`;
    case "resource_installed":
      return duration(event.seconds);
    case "resource_failed":
    case "job_failed":
      return words(event.cause);
    default:
      return "";
  }
}

const checked = ({ result, held_against }: ResourceVerifiedEvent): string =>
  result === "verified" ? `as ${sources[held_against ?? ""] ?? "its source"} says` : "nothing known to compare it with";

const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
