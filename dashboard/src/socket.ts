// One Socket.IO connection for the page. Whatever is watched is subscribed to again on every reconnect, with the last
// sequence that was seen.

import { signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";

import { askForToken, token } from "./api";
import type { JobEvent, Subscribed } from "./types";

export interface Watcher {
  readonly jobId: string;
  // What to send with subscribe_install.
  request(): { job_id: string; after: number; replay: "full" | "compact" };
  subscribed(answer: Subscribed): void;
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

// Ask for everything behind what the watcher has seen.
export function subscribe(watcher: Watcher): void {
  const current = socket;
  if (!current?.connected) return; // it is asked for on connect
  current.timeout(ackMs).emit("subscribe_install", watcher.request(), (late: Error | null, answer?: Subscribed) => {
    if (watchers.get(watcher.jobId) !== watcher || current !== socket) return;
    const isForLater = late !== null || (answer?.success === false && answer.message?.startsWith("not able now"));
    if (isForLater) setTimeout(() => watchers.get(watcher.jobId) === watcher && subscribe(watcher), againMs);
    else if (answer) watcher.subscribed(answer);
  });
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
    // The service closed this client in good order; the library leaves it at that.
    if (reason === "io server disconnect") setTimeout(() => made.connect(), againMs);
  });
  made.on("connect_error", () => {
    if (link.value === "connected") link.value = "reconnecting";
    // Refused by the namespace: without the right token there is no use in trying again.
    if (!made.active) void askForToken().then(() => made.connect());
  });
  for (const name of eventNames) {
    made.on(name, (event: JobEvent) => {
      // An error without a sequence is the answer to a subscription, which its acknowledgement tells as well.
      if (typeof event.sequence === "number") watchers.get(event.job_id)?.receive(event);
    });
  }
  made.on("resource_install_skipped", (told: { job_id: string; skipped: [number, number][] }) => {
    watchers.get(told.job_id)?.skipped(told.skipped);
  });
}
