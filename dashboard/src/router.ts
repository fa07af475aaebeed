// The address after the # names the page: a reload, a bookmark and the back button work, and the service has one page to
// serve.

import { signal } from "@preact/signals";

import { cardIn, cardsIn } from "./card_address";

// `card`: the path of the card that a page is about. `picked`: the cards that the form begins with; a link fills it in
// and starts nothing.
export interface Route {
  page: "jobs" | "install" | "job" | "report" | "failures" | "library" | "card" | "receivers";
  jobId: string;
  card: string;
  picked: string[];
}

const nothing = { jobId: "", card: "", picked: [] };

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/");
  const jobId = /^[0-9A-Za-z-]{1,64}$/.test(parts[1] ?? "") ? parts[1]! : "";
  if (parts[0] === "install") return { ...nothing, page: "install", picked: cardsIn(query) };
  if (parts[0] === "failures") return { ...nothing, page: "failures" };
  if (parts[0] === "receivers") return { ...nothing, page: "receivers" };
  if (parts[0] === "resources") {
    const card = cardIn(parts.slice(1));
    return card === null ? { ...nothing, page: "library" } : { ...nothing, page: "card", card };
  }
  if (parts[0] === "jobs" && jobId !== "") return { ...nothing, page: parts[2] === "report" ? "report" : "job", jobId };
  return { ...nothing, page: "jobs" };
}

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

export const jobAddress = (jobId: string): string => `#/jobs/${jobId}`;
export const reportAddress = (jobId: string): string => `#/jobs/${jobId}/report`;

export function go(address: string): void {
  location.hash = address;
}
