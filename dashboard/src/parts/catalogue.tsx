// The catalogue of models: read on request, searched, and one of its entries looked at as a link.

import { useEffect, useRef, useState } from "preact/hooks";

import { call, message } from "../api";
import { count, dateTime } from "../format";
import type { CatalogueEntry, CataloguePage } from "../types";
import { Foreign, Notice } from "./common";

export function Catalogue({ onPick }: { onPick: (entry: CatalogueEntry) => void }) {
  const [page, setPage] = useState<CataloguePage | null>(null);
  const [search, setSearch] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  // Only the answer to the latest question counts.
  const asked = useRef(0);
  const ask = async (method: "GET" | "POST", path: string) => {
    const number = ++asked.current;
    setBusy(true);
    setProblem(null);
    try {
      const found = await call<CataloguePage>(method, path);
      if (number === asked.current) setPage(found);
    } catch (error) {
      if (number === asked.current) setProblem(message(error));
    } finally {
      if (number === asked.current) setBusy(false);
    }
  };
  useEffect(() => void ask("GET", `/catalogue?search=${encodeURIComponent(search)}`), [search]);
  const refresh = () => void ask("POST", "/catalogue/refresh").then(() => setSearch(""));
  return (
    <div aria-busy={isBusy}>
      <div class="row filters" role="search" aria-label="The catalogue">
        <label class="inline">
          Find
          <input
            type="search"
            placeholder="words of a name, a base model, a folder"
            value={search}
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
        </label>
        <button type="button" disabled={isBusy} onClick={refresh}>
          {page?.refreshed_at == null ? "Read the catalogue" : "Read it again"}
        </button>
        <span class="soft" role="status">
          {page === null || page.refreshed_at === null
            ? "Not read yet."
            : `${count(page.count, "model")}, read ${dateTime(page.refreshed_at)}`}
        </span>
      </div>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      <ul class="rented">
        {page?.entries.map((entry) => (
          <li key={`${entry.url} ${entry.filename}`} class="rent">
            <div>
              <strong>
                <Foreign>{entry.name}</Foreign>
              </strong>
              <p class="soft">
                <Foreign>
                  {[entry.filename, entry.base, entry.folder, entry.size].filter((fact) => fact !== null).join(" · ")}
                </Foreign>
              </p>
            </div>
            <button type="button" aria-label={`Look at it: ${entry.name}`} onClick={() => onPick(entry)}>
              Look at it
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
