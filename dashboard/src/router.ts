// The address after the # names the page: a reload, a bookmark and the back button work, and the service has one page to
// serve.

import { signal } from "@preact/signals";

export interface Route {
  page: "jobs" | "install" | "job" | "report" | "failures";
  jobId: string;
}

function parse(hash: string): Route {
  const parts = hash.replace(/^#\/?/, "").split("/");
  const jobId = /^[0-9A-Za-z-]{1,64}$/.test(parts[1] ?? "") ? parts[1]! : "";
  if (parts[0] === "install") return { page: "install", jobId: "" };
  if (parts[0] === "failures") return { page: "failures", jobId: "" };
  if (parts[0] === "jobs" && jobId !== "") return { page: parts[2] === "report" ? "report" : "job", jobId };
  return { page: "jobs", jobId: "" };
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
