// Small pieces that all pages share. Text from an instance, a card or a request is a text node inside <bdi>, so that its
// letters cannot change the direction of the text around it.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { words } from "../format";

export const Foreign = ({ children }: { children: string | null | undefined }) => <bdi>{children}</bdi>;

export function Heading({ children, title }: { children: ComponentChildren; title: string }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Resource installer`;
    // A new page begins at its heading, for the eye and for a screen reader.
    heading.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [title]);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}

interface BarProps {
  label: string;
  // 0 to 1; null: in progress, but nobody knows how far.
  share: number | null;
  tone?: "run" | "done" | "bad" | "rest";
}

export function Bar({ label, share, tone = "run" }: BarProps) {
  const percent = share === null ? null : Math.round(share * 100);
  return (
    <progress
      class={`bar ${tone}`}
      aria-label={label}
      max={100}
      {...(percent === null ? {} : { value: percent, "aria-valuetext": `${percent} %` })}
    />
  );
}

const shownStates: Record<string, string> = { pending: "waiting", queued: "queued" };

export const State = ({ state }: { state: string }) => (
  <span class={`state ${state}`}>{words(shownStates[state] ?? state)}</span>
);

export function Notice({ tone, children }: { tone: "info" | "warn" | "bad" | "good"; children: ComponentChildren }) {
  return (
    <div class={`notice ${tone}`} role={tone === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}

interface FieldProps {
  id: string;
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
  children: ComponentChildren;
}

// The input inside takes its id, and aria-describedby={`${id}-help`}.
export function Field({ id, label, hint, error, children }: FieldProps) {
  return (
    <div class={error ? "field wrong" : "field"}>
      <label for={id}>{label}</label>
      {children}
      <p id={`${id}-help`} class={error ? "help error" : "help"}>
        {error ?? hint ?? ""}
      </p>
    </div>
  );
}
