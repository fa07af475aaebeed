// The library of cards, to search, filter and pick from.

import { useState } from "preact/hooks";

import { cardPage } from "../card_address";
import { bytes, count } from "../format";
import type { Cards, CardView } from "../types";
import { Foreign, Notice } from "./common";

interface LibraryProps {
  cards: Cards;
  picked: ReadonlySet<string>;
  onPick: (picked: ReadonlySet<string>) => void;
}

export function Library({ cards, picked, onPick }: LibraryProps) {
  const [search, setSearch] = useState("");
  const [type, setType] = useState("");
  const [ecosystem, setEcosystem] = useState("");
  const [onlyPicked, setOnlyPicked] = useState(false);
  const searched = search.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = cards.resources.filter(
    (card) =>
      (type === "" || card.type === type) &&
      (ecosystem === "" || card.ecosystem === ecosystem) &&
      (!onlyPicked || picked.has(card.path)) &&
      searched.every((word) => searchable(card).includes(word)),
  );
  const toggle = (path: string) => {
    const next = new Set(picked);
    if (!next.delete(path)) next.add(path);
    onPick(next);
  };
  return (
    <>
      <div class="row filters">
        <label class="inline">
          Search
          <input type="search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        </label>
        <Choice label="Type" value={type} values={distinct(cards.resources, (card) => card.type)} onChoose={setType} />
        <Choice
          label="Ecosystem"
          value={ecosystem}
          values={distinct(cards.resources, (card) => card.ecosystem)}
          onChoose={setEcosystem}
        />
        <label class="inline">
          <input
            type="checkbox"
            checked={onlyPicked}
            onChange={(event) => setOnlyPicked(event.currentTarget.checked)}
          />
          Picked only
        </label>
        <span class="soft" role="status">
          {shown.length} of {cards.resources.length} shown
        </span>
      </div>
      {cards.resources.length === 0 && (
        <Notice tone="warn">
          The library has no cards: add a model from a link, or put cards into the folder INSTALLER_RESOURCES_DIR.
        </Notice>
      )}
      <ul class="cards">
        {shown.map((card) => (
          <CardRow key={card.path} card={card} isPicked={picked.has(card.path)} onToggle={() => toggle(card.path)} />
        ))}
      </ul>
      {cards.broken.length > 0 && (
        <details>
          <summary>{count(cards.broken.length, "card")} could not be read</summary>
          <ul>
            {cards.broken.map((card) => (
              <li key={card.path}>
                <a href={cardPage(card.path)}>
                  <Foreign>{card.path}</Foreign>
                </a>
                : <Foreign>{card.error}</Foreign>
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function CardRow({ card, isPicked, onToggle }: { card: CardView; isPicked: boolean; onToggle: () => void }) {
  const facts = [card.type, card.ecosystem, card.basemodel, bytes(card.size)].filter(
    (fact) => fact !== null && fact !== "",
  );
  return (
    <li class={isPicked ? "card picked" : "card"}>
      <label>
        <input type="checkbox" checked={isPicked} onChange={onToggle} />
        <span>
          <strong>
            <Foreign>{card.title}</Foreign>
          </strong>
          <span class="soft">
            <Foreign>{card.path}</Foreign>
          </span>
          <span class="soft">
            <Foreign>{facts.join(" · ")}</Foreign>
          </span>
          <span class="about">
            <Foreign>{card.description}</Foreign>
          </span>
          {card.warnings.length > 0 && (
            <span class="soft">
              <Foreign>{card.warnings.join("; ")}</Foreign>
            </span>
          )}
        </span>
      </label>
      <a class="details" href={cardPage(card.path)} aria-label={`Open ${card.title}`}>
        Open
      </a>
    </li>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  values: string[];
  onChoose: (value: string) => void;
}

function Choice({ label, value, values, onChoose }: ChoiceProps) {
  if (values.length < 2) return null;
  return (
    <label class="inline">
      {label}
      <select value={value} onChange={(event) => onChoose(event.currentTarget.value)}>
        <option value="">all</option>
        {values.map((each) => (
          <option key={each} value={each}>
            {each}
          </option>
        ))}
      </select>
    </label>
  );
}

// The cards by path, by path without its ending, and by alias and AIR, in small letters. A path comes before a name.
export function byName(cards: CardView[]): Map<string, CardView> {
  const found = new Map<string, CardView>();
  const add = (name: string, card: CardView) => {
    const key = name.trim().toLowerCase();
    if (!found.has(key)) found.set(key, card);
  };
  for (const card of cards) add(card.path, card);
  for (const card of cards) {
    for (const name of [...card.aliases, ...(card.AIR?.split(", ") ?? [])]) {
      add(name, card);
      const air = name.trim().replace(/^(urn:)?air:/i, "");
      if (air === name.trim()) continue;
      add(air, card);
      add(air.split(":").slice(2).join(":"), card);
    }
  }
  for (const card of cards) add(card.path.replace(/\.md$/, ""), card);
  return found;
}

// The picked cards and their dependencies, each once. The service reports a dependency that is not in the library.
export function withDependencies(paths: string[], cards: Map<string, CardView>): CardView[] {
  const found = new Map<string, CardView>();
  const open = [...paths];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const card = cards.get(name.trim().toLowerCase());
    if (card === undefined || found.has(card.path)) continue;
    found.set(card.path, card);
    open.push(...card.dependencies);
  }
  return [...found.values()];
}

const searchable = (card: CardView): string =>
  [
    card.title,
    card.path,
    card.type,
    card.ecosystem,
    card.basemodel,
    ...card.tags,
    ...card.aliases,
    card.AIR,
    card.description,
  ]
    .join(" ")
    .toLowerCase();

const distinct = (cards: CardView[], figure: (card: CardView) => string | null): string[] =>
  [...new Set(cards.map(figure).filter((value): value is string => value !== null && value !== ""))].sort();
