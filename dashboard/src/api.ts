// The service's HTTP API: JSON in, JSON out, refusals as ApiError. The token is asked for once and kept for the session.

import { signal } from "@preact/signals";

const tokenKey = "installer-token";

export const token = signal<string | null>(sessionStorage.getItem(tokenKey));
// Whether the service wants a token that it was not given, or another one.
export const tokenWanted = signal(false);
let waiting: (() => void)[] = [];

export interface WrongField {
  field: string;
  message: string;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
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

// Resolves when a token was entered.
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
      throw new ApiError(0, "The service does not answer. Installs go on on their instances; this page tries again.");
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
    const body = (await response.json()) as { message?: string; errors?: WrongField[] };
    return new ApiError(response.status, body.message ?? response.statusText, body.errors ?? []);
  } catch {
    // Not the service but something before it answered.
    return new ApiError(response.status, `The service answered ${response.status} ${response.statusText}`);
  }
}

const againMs = 2_000;

// Does it until it succeeds: a service that does not answer, or not now, is asked again, and meanwhile `told` has the
// reason. Any other refusal is thrown.
export async function patiently<T>(
  work: () => Promise<T>,
  told: (trouble: string | null) => void,
  abort: AbortSignal,
): Promise<T> {
  for (;;) {
    try {
      const done = await work();
      told(null);
      return done;
    } catch (error) {
      if (abort.aborted || !(error instanceof ApiError) || (error.status !== 0 && error.status < 500)) throw error;
      told(error.message);
      await new Promise((resolve) => setTimeout(resolve, againMs));
      if (abort.aborted) throw error;
    }
  }
}

export const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
