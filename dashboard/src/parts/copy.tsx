// Copies a text, and says whether that worked: a page without TLS may not write to the clipboard.

import { useState } from "preact/hooks";

export function Copy({ text, what }: { text: string; what: string }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid("This browser does not let the page copy: select the text above");
    }
  };
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        {what}
      </button>
      <span role="status">{said}</span>
    </>
  );
}
