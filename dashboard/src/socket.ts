// One Socket.IO connection for the page. On every reconnect each watcher is subscribed again, after the last sequence
// that it has seen.

import { signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";

import { askForToken, token } from "./api";
import type { JobEvent, Skipped, SocketRefusal, SubscribeAnswer, SubscribeRequest } from "./types";

export type Answer = SubscribeAnswer | SocketRefusal;

export interface Watcher {
  readonly jobId: string;
  // What to send with subscribe_install.
  request(): SubscribeRequest;
  subscribed(answer: Answer): void;
  skipped(ranges: [number, number][]): void;
  receive(event: JobEvent): void;
}

export type Link = "idle" | "connecting" | "connected" | "reconnecting";

export const link = signal<Link>("idle");

const eventNames = [
  "resource_install_progress",
  "resource_install_output",
  "resource_install_status",
  "resource_install_complete",
  "resource_install_error",
];
const ackMs = 10_000;
const againMs = 2_000;

const watchers = new Map<string, Watcher>();
let socket: Socket | null = null;

export function watch(watcher: Watcher): void {
  watchers.set(watcher.jobId, watcher);
  connection();
  subscribe(watcher);
}

export function unwatch(watcher: Watcher): void {
  if (watchers.get(watcher.jobId) !== watcher) return;
  watchers.delete(watcher.jobId);
  if (socket?.connected) socket.emit("unsubscribe_install", { job_id: watcher.jobId });
}

// Ask for everything after what the watcher has seen.
export function subscribe(watcher: Watcher): void {
  const current = socket;
  if (!current?.connected) return; // the connect handler subscribes
  current.timeout(ackMs).emit("subscribe_install", watcher.request(), (late: Error | null, answer?: Answer) => {
    if (watchers.get(watcher.jobId) !== watcher || current !== socket) return;
    const waitMs = late !== null ? againMs : retryMs(answer);
    if (waitMs !== null) setTimeout(() => watchers.get(watcher.jobId) === watcher && subscribe(watcher), waitMs);
    else if (answer) watcher.subscribed(answer);
  });
}

// null: asking again would not help.
function retryMs(answer: Answer | undefined): number | null {
  if (answer === undefined || answer.success || answer.code !== "unavailable") return null;
  return (answer.retry_after_seconds ?? 0) * 1_000 || againMs;
}

function connection(): void {
  if (socket !== null) return;
  link.value = "connecting";
  const made = io("/resources", {
    auth: (give) => give({ token: token.value }),
    transports: ["websocket", "polling"],
    tryAllTransports: true,
    reconnectionDelay: 500,
    reconnectionDelayMax: 5_000,
  });
  socket = made;
  made.on("connect", () => {
    link.value = "connected";
    for (const watcher of watchers.values()) subscribe(watcher);
  });
  made.on("disconnect", (reason) => {
    link.value = "reconnecting";
    // The service closed the connection in good order; then the library does not reconnect by itself.
    if (reason === "io server disconnect") setTimeout(() => made.connect(), againMs);
  });
  made.on("connect_error", () => {
    if (link.value === "connected") link.value = "reconnecting";
    // The namespace refused: without the right token another attempt would be refused as well.
    if (!made.active) void askForToken().then(() => made.connect());
  });
  for (const name of eventNames) {
    made.on(name, (event: JobEvent) => {
      // An error without a sequence belongs to a subscription; its acknowledgement says the same.
      if (typeof event.sequence === "number") watchers.get(event.job_id)?.receive(event);
    });
  }
  made.on("resource_install_skipped", ({ job_id, skipped }: Skipped) => {
    watchers.get(job_id)?.skipped(skipped);
  });
}
