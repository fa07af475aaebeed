// The service's HTTP API: JSON in, JSON out, refusals as ApiError. The page asks for the token once and keeps it for the
// session.

import { signal } from "@preact/signals";

import type { Refusal, WrongField } from "./types";

const tokenKey = "installer-token";

export const token = signal<string | null>(sessionStorage.getItem(tokenKey));
// Whether the service asks for a token, or for another one.
export const tokenWanted = signal(false);
let waiting: (() => void)[] = [];

// `code`: the service's word for the kind of refusal; empty when something else answered, or nothing.
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "",
    readonly errors: WrongField[] = [],
  ) {
    super(message);
  }
}

export function giveToken(value: string): void {
  sessionStorage.setItem(tokenKey, value);
  token.value = value;
  tokenWanted.value = false;
  const resolved = waiting;
  waiting = [];
  for (const go of resolved) go();
}

// Resolves when the user has entered a token.
export function askForToken(): Promise<void> {
  tokenWanted.value = true;
  return new Promise((resolve) => waiting.push(resolve));
}

export interface CallOptions {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export async function call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
  return (await answer(method, path, options)).json() as Promise<T>;
}

export async function text(path: string, accept: string): Promise<string> {
  return (await answer("GET", path, { headers: { Accept: accept } })).text();
}

// A card's file, and its version for If-Match.
export async function cardText(path: string): Promise<{ text: string; version: string }> {
  const response = await answer("GET", path, { headers: { Accept: "text/markdown" } });
  return { text: await response.text(), version: response.headers.get("ETag") ?? "" };
}

// The first message of a refusal for each field; "" for what names none.
export function fieldErrors(error: unknown): Record<string, string> {
  if (!(error instanceof ApiError)) return { "": message(error) };
  const named = error.errors.filter((each) => each.field !== "");
  return named.length === 0
    ? { "": error.message }
    : Object.fromEntries(named.reverse().map((each) => [each.field, each.message]));
}

async function answer(
  method: string,
  path: string,
  { body, headers = {}, signal: abort }: CallOptions,
): Promise<Response> {
  for (;;) {
    const sent: Record<string, string> = { Accept: "application/json", ...headers };
    if (token.value !== null) sent["Authorization"] = `Bearer ${token.value}`;
    if (body !== undefined) sent["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(path, {
        method,
        headers: sent,
        body: body === undefined ? null : JSON.stringify(body),
        signal: abort ?? null,
        cache: "no-store",
      });
    } catch (error) {
      if (abort?.aborted) throw error;
      throw new ApiError(
        0,
        "The service does not answer. Installs continue on their instances; this page tries again.",
      );
    }
    if (response.status === 401) {
      await askForToken();
      continue;
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const body = (await response.json()) as Partial<Refusal>;
    return new ApiError(response.status, body.message ?? response.statusText, body.code, body.errors);
  } catch {
    // Not the service but a proxy before it answered.
    return new ApiError(response.status, `The service answered ${response.status} ${response.statusText}`);
  }
}

const againMs = 2_000;

// Tries until it succeeds: while the service does not answer, or cannot, `report` has the reason. Any other refusal is
// thrown.
export async function patiently<T>(
  work: () => Promise<T>,
  report: (trouble: string | null) => void,
  abort: AbortSignal,
): Promise<T> {
  for (;;) {
    try {
      const done = await work();
      report(null);
      return done;
    } catch (error) {
      if (abort.aborted || !(error instanceof ApiError) || (error.status !== 0 && error.status < 500)) throw error;
      report(error.message);
      await new Promise((resolve) => setTimeout(resolve, againMs));
      if (abort.aborted) throw error;
    }
  }
}

export const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
