// What the install form holds: its initial state, its errors, and the request that it becomes.

import type { ApiError } from "./api";
import { route } from "./router";
import { parseSshLine } from "./ssh_line";
import type { CheckRequest, InstallRequest } from "./types";

export interface Draft {
  ssh_host: string;
  ssh_port: string;
  ssh_user: string;
  ui_home: string;
  parallel: string;
  limit: string;
  max_attempts: string;
  verify: boolean;
  reinstall: boolean;
  host_key_sha256: string;
  wait: string;
}

const rememberedKey = "installer-instance";
const empty: Draft = {
  ssh_host: "",
  ssh_port: "",
  ssh_user: "root",
  ui_home: "/workspace/ComfyUI",
  parallel: "1",
  limit: "",
  max_attempts: "3",
  verify: true,
  reinstall: false,
  host_key_sha256: "",
  wait: "",
};

// The mistakes that this page can see; the service reports all others.
export function mistakes(draft: Draft, picked: number): Record<string, string> {
  const found: Record<string, string> = {};
  if (draft.ssh_host.trim() === "") found["ssh_host"] = "The instance's address is missing";
  if (!isWhole(draft.ssh_port, 1, 65_535)) found["ssh_port"] = "A number from 1 to 65535";
  if (!draft.ui_home.trim().startsWith("/")) found["ui_home"] = "An absolute path, like /workspace/ComfyUI";
  if (picked === 0) found["resources"] = "Pick at least one resource";
  if (!isWhole(draft.parallel, 1, 8)) found["parallel"] = "A number from 1 to 8";
  if (!isWhole(draft.max_attempts, 1, 10)) found["max_attempts"] = "A number from 1 to 10";
  if (draft.limit.trim() !== "" && !(Number(draft.limit) > 0)) found["limit"] = "Megabytes a second, like 5 or 0.5";
  if (draft.wait.trim() !== "" && !isWhole(draft.wait, 1, 1_440)) found["wait"] = "A number from 1 to 1440";
  return found;
}

const isWhole = (text: string, least: number, most: number): boolean =>
  /^\d+$/.test(text.trim()) && Number(text) >= least && Number(text) <= most;

export function body(draft: Draft, picked: ReadonlySet<string>): InstallRequest {
  const optional: Partial<InstallRequest> = {};
  if (draft.ssh_user.trim() !== "") optional.ssh_user = draft.ssh_user.trim();
  if (draft.host_key_sha256.trim() !== "") optional.host_key_sha256 = draft.host_key_sha256.trim();
  if (draft.wait.trim() !== "") optional.wait_for_ssh_seconds = 60 * Number(draft.wait);
  if (draft.limit.trim() !== "") optional.bandwidth_limit = Math.round(Number(draft.limit) * 1_000_000);
  return {
    ssh_host: draft.ssh_host.trim(),
    ssh_port: Number(draft.ssh_port),
    ui_home: draft.ui_home.trim(),
    resources: [...picked],
    parallel: Number(draft.parallel),
    max_attempts: Number(draft.max_attempts),
    verify: draft.verify,
    reinstall: draft.reinstall,
    ...optional,
  };
}

// What of the form the check asks about; null while it names no instance.
export function checkable(draft: Draft): CheckRequest | null {
  if (draft.ssh_host.trim() === "" || !isWhole(draft.ssh_port, 1, 65_535)) return null;
  return {
    ssh_host: draft.ssh_host.trim(),
    ssh_port: Number(draft.ssh_port),
    ui_home: draft.ui_home.trim(),
    ...(draft.ssh_user.trim() === "" ? {} : { ssh_user: draft.ssh_user.trim() }),
    ...(draft.host_key_sha256.trim() === "" ? {} : { host_key_sha256: draft.host_key_sha256.trim() }),
  };
}

// "resources[0]" and "resources" are the same field on this page.
export const fields = (error: ApiError): Record<string, string> =>
  Object.fromEntries(error.errors.map((each) => [each.field.split(/[.[]/)[0]!, each.message]));

const keep = ({ ssh_host, ssh_port, ssh_user, ui_home }: Draft) => ({ ssh_host, ssh_port, ssh_user, ui_home });

// What a link fills in goes before what was used last.
export function begun(): Draft {
  const { instance, uiHome } = route.value;
  const target = instance === "" ? null : parseSshLine(`ssh ${sshWords(instance)}`);
  const draft = remembered();
  if (target === null) return draft;
  return {
    ...draft,
    ssh_host: target.host,
    ssh_port: String(target.port ?? 22),
    ssh_user: target.user ?? draft.ssh_user,
    ui_home: uiHome === "" ? draft.ui_home : uiHome,
  };
}

// user@host:port as the words of an ssh line.
function sshWords(instance: string): string {
  const colon = instance.lastIndexOf(":");
  return `-p ${instance.slice(colon + 1)} ${instance.slice(0, colon).replace(/[[\]]/g, "")}`;
}

function remembered(): Draft {
  try {
    const kept = JSON.parse(localStorage.getItem(rememberedKey) ?? "{}") as Record<string, unknown>;
    const strings = Object.entries(kept).filter(([name, value]) => name in empty && typeof value === "string");
    return { ...empty, ...Object.fromEntries(strings) };
  } catch {
    // This page did not write what is stored there: start with an empty form.
    return empty;
  }
}

// Pages without TLS have no crypto.randomUUID.
export const newKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export function remember(draft: Draft): void {
  localStorage.setItem(rememberedKey, JSON.stringify(keep(draft)));
}
