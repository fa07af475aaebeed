// What happened to a job, in plain words, newest first.

import { useState } from "preact/hooks";

import { bytes, duration, speed, time, words } from "../format";
import type { JobEvent } from "../types";
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
  return type === "link_lost" || type === "resource_retry_scheduled" || type === "job_cancelled" ? "warn" : "";
}

const sayings: Record<string, string> = {
  job_queued: "Install accepted",
  queue_position_changed: "New place in the queue",
  job_moved: "Moved in the queue",
  job_started: "Connecting to the instance",
  job_paused: "Paused",
  job_resumed: "Resumed",
  cancel_requested: "Cancelling",
  limits_changed: "Bandwidth limit changed",
  host_key_accepted: "New host key remembered",
  resource_started: "Download begins",
  link_lost: "Connection lost; the install goes on on the instance",
  job_reattached: "Connected again",
  verification_started: "Verifying",
  resource_verified: "Checked",
  resource_stalled: "Stalled",
  resource_retry_scheduled: "Will be tried again",
  resource_cancelled: "Cancelled",
  resource_installed: "Installed",
  resource_failed: "Failed",
  job_completed: "Everything is installed",
  job_failed: "The install failed",
  job_cancelled: "The install was cancelled",
};

const against: Record<string, string> = { civitdl: "the site says", card: "its card says" };

const saying = (event: JobEvent): string => sayings[event.type] ?? words(event.type);

function detail(event: JobEvent): string {
  const field = (name: string): string =>
    event[name] === null || event[name] === undefined ? "" : String(event[name]);
  switch (event.type) {
    case "queue_position_changed":
      return field("queue_position");
    case "limits_changed":
      return event["bandwidth_limit"] === null ? "none" : speed(Number(event["bandwidth_limit"]));
    case "host_key_accepted":
      return field("host_key_sha256");
    case "link_lost":
      return field("reason");
    case "job_reattached":
      return event["after_restart"] === true ? "the service was restarted meanwhile" : "";
    case "resource_verified":
      return `${field("file")}, ${bytes(Number(event["bytes"]))}, ${
        event["result"] === "verified"
          ? `as ${against[field("held_against")] ?? "known"}`
          : "nothing to hold it against"
      }`;
    case "resource_retry_scheduled":
      return `attempt ${field("next_attempt")} of ${field("max_attempts")} in ${duration(Number(event["delay_seconds"]))}, after ${words(field("cause")).toLowerCase()}`;
    case "resource_stalled":
      return `nothing moved for ${field("stall_seconds")} s`;
    case "resource_installed":
      return duration(Number(event["seconds"]));
    case "resource_failed":
    case "job_failed":
      return words(field("cause"));
    default:
      return "";
  }
}
