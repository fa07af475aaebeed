// The library: add a model from a link, look for a card, open it.

import { useEffect, useState } from "preact/hooks";

import { call, message, patiently } from "../api";
import { cardPage, installPage } from "../card_address";
import { AddModel, type Wish } from "../parts/add_model";
import { CardEditor } from "../parts/card_editor";
import { Catalogue } from "../parts/catalogue";
import { Heading, Notice } from "../parts/common";
import { ImportCards } from "../parts/import_cards";
import { Library } from "../parts/library";
import { Selection } from "../parts/selection";
import { go } from "../router";
import type { Cards } from "../types";

const blank = `---
title:
type:
---
# Description


# Download
\`\`\`bash
curl -fL -C - --create-dirs -o "$UI_HOME/models/loras/NAME.safetensors" "https://…"
\`\`\`
`;

export function LibraryPage() {
  const [cards, setCards] = useState<Cards | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [isWriting, setWriting] = useState(false);
  const [isBrowsing, setBrowsing] = useState(false);
  const [first, setFirst] = useState<Wish | undefined>(undefined);
  const load = (aborted = new AbortController()) => {
    const ask = () => call<Cards>("GET", "/resources", { signal: aborted.signal });
    patiently(ask, setProblem, aborted.signal).then(setCards, (error: unknown) => {
      if (!aborted.signal.aborted) setProblem(message(error));
    });
  };
  useEffect(() => {
    const aborted = new AbortController();
    load(aborted);
    return () => aborted.abort();
  }, []);
  const open = (path: string) => go(cardPage(path));
  return (
    <>
      <Heading title="Library">Library</Heading>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {cards !== null && !cards.writable && (
        <Notice tone="info">This service does not change its cards: its folder, or a setting, is read-only.</Notice>
      )}
      {cards?.writable && !isWriting && (
        <>
          <AddModel key={first?.url ?? ""} first={first} onSaved={(card) => open(card.path)} />
          <details onToggle={(event) => setBrowsing(event.currentTarget.open)}>
            <summary>From the catalogue</summary>
            {isBrowsing && (
              <Catalogue
                onPick={({ url, folder }) => {
                  setFirst(folder === null ? { url } : { url, folder });
                  scrollTo(0, 0);
                }}
              />
            )}
          </details>
          <p class="soft">
            No link?{" "}
            <button class="link" onClick={() => setWriting(true)}>
              Write a card yourself
            </button>
          </p>
        </>
      )}
      {isWriting && (
        <section class="panel" aria-labelledby="write-title">
          <h2 id="write-title">A new card</h2>
          <CardEditor
            text={blank}
            path="loras/new.md"
            version={null}
            onSaved={(card) => open(card.path)}
            onCancel={() => setWriting(false)}
          />
        </section>
      )}
      {cards !== null && cards.resources.length + cards.broken.length > 0 && (
        <section aria-labelledby="cards-title">
          <h2 id="cards-title">Cards</h2>
          <Library cards={cards} picked={picked} onPick={setPicked} />
          <div class={picked.size === 0 ? "row filters" : "submit row"}>
            <a class={picked.size === 0 ? "button" : "button primary"} href={installPage([...picked])}>
              {picked.size === 0 ? "Start an install" : `Install ${picked.size} of them…`}
            </a>
          </div>
          {picked.size > 0 && (
            <Selection paths={[...picked]} isWritable={cards.writable} onSaved={(card) => open(card.path)} />
          )}
        </section>
      )}
      {cards?.writable && <ImportCards onSaved={load} />}
    </>
  );
}
