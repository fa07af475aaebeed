// The last lines that the tools printed, as text alone.

import { useLayoutEffect, useRef } from "preact/hooks";

import type { OutputLine } from "../job_model";

const shownMax = 300;

export function Output({ lines, isEnded }: { lines: OutputLine[]; isEnded: boolean; version: number }) {
  const box = useRef<HTMLPreElement>(null);
  const isAtEnd = useRef(true);
  const shown = lines.slice(-shownMax);
  const newest = shown.at(-1)?.sequence;
  useLayoutEffect(() => {
    if (isAtEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [newest]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < 20;
  };
  return (
    <section aria-labelledby="output-title">
      <h2 id="output-title">Output</h2>
      <pre class="output" ref={box} onScroll={scrolled} tabIndex={0} role="group" aria-labelledby="output-title">
        {shown.length === 0
          ? isEnded
            ? "Nothing."
            : "Nothing yet."
          : shown.map((line) => <OutputRow key={line.sequence} text={line.line} />)}
      </pre>
    </section>
  );
}

const OutputRow = ({ text }: { text: string }) => <bdi class="line">{`${text}\n`}</bdi>;
