// The address after the # names the page: a reload, a bookmark and the back button work, and the service has one page to
// serve.

import { signal } from "@preact/signals";

import { cardIn, cardsIn } from "./card_address";

// `card`: the path of the card that a page is about. `picked`, `instance` and `uiHome`: what the form begins with; a link
// fills it in and starts nothing.
export interface Route {
  page:
    | "jobs"
    | "install"
    | "job"
    | "report"
    | "failures"
    | "replicas"
    | "library"
    | "card"
    | "keys"
    | "instances"
    | "instance"
    | "receivers";
  jobId: string;
  card: string;
  picked: string[];
  instance: string;
  uiHome: string;
}

const nothing = { jobId: "", card: "", picked: [], instance: "", uiHome: "" };

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/");
  const jobId = /^[0-9A-Za-z-]{1,64}$/.test(parts[1] ?? "") ? parts[1]! : "";
  if (parts[0] === "install") {
    const given = new URLSearchParams(query);
    const instance = given.get("instance") ?? "";
    return { ...nothing, page: "install", picked: cardsIn(query), instance, uiHome: given.get("ui_home") ?? "" };
  }
  if (parts[0] === "instances") {
    const instance = decoded(parts[1] ?? "");
    return instance === "" ? { ...nothing, page: "instances" } : { ...nothing, page: "instance", instance };
  }
  if (parts[0] === "failures") return { ...nothing, page: "failures" };
  if (parts[0] === "replicas") return { ...nothing, page: "replicas" };
  if (parts[0] === "keys") return { ...nothing, page: "keys" };
  if (parts[0] === "receivers") return { ...nothing, page: "receivers" };
  if (parts[0] === "resources") {
    const card = cardIn(parts.slice(1));
    return card === null ? { ...nothing, page: "library" } : { ...nothing, page: "card", card };
  }
  if (parts[0] === "jobs" && jobId !== "") return { ...nothing, page: parts[2] === "report" ? "report" : "job", jobId };
  return { ...nothing, page: "jobs" };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A percent sign that encodes nothing.
    return "";
  }
}

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

export const instanceAddress = (instance: string): string => `#/instances/${encodeURIComponent(instance)}`;
export const installOn = (found: { instance: string; ui_home: string }): string =>
  `#/install?instance=${encodeURIComponent(found.instance)}&ui_home=${encodeURIComponent(found.ui_home)}`;
export const jobAddress = (jobId: string): string => `#/jobs/${jobId}`;
export const reportAddress = (jobId: string): string => `#/jobs/${jobId}/report`;

export function go(address: string): void {
  location.hash = address;
}
