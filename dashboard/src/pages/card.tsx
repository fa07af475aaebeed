// One card: its picture, its facts, its commands; edit, duplicate and delete it.

import { useEffect, useState } from "preact/hooks";

import { ApiError, call, cardText, message } from "../api";
import { cardApi, cardPage, installPage } from "../card_address";
import { bytes } from "../format";
import { CardEditor } from "../parts/card_editor";
import { Foreign, Heading, Notice } from "../parts/common";
import { Confirm } from "../parts/confirm";
import { Facts, ModelPage } from "../parts/facts";
import { Installs } from "../parts/installs";
import { go } from "../router";
import type { Cards, CardWithScript, Picture } from "../types";

type Doing = "edit" | "duplicate" | "delete" | null;

export function CardPage({ path }: { path: string }) {
  const [card, setCard] = useState<CardWithScript | null>(null);
  const [broken, setBroken] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isWritable, setWritable] = useState(false);
  const [doing, setDoing] = useState<Doing>(null);
  const [file, setFile] = useState<{ text: string; version: string } | null>(null);

  const load = () => {
    call<CardWithScript>("GET", cardApi(path)).then(
      (found) => {
        setCard(found);
        setBroken(null);
      },
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 400) setBroken(error.message);
        else setProblem(message(error));
      },
    );
  };
  useEffect(() => {
    load();
    call<Cards>("GET", "/resources").then(
      (cards) => setWritable(cards.writable),
      (error: unknown) => setProblem(message(error)),
    );
  }, [path]);

  const begin = async (next: Doing) => {
    setProblem(null);
    try {
      setFile(await cardText(cardApi(path)));
      setDoing(next);
    } catch (error) {
      setProblem(message(error));
    }
  };
  const remove = async () => {
    setDoing(null);
    try {
      await call("DELETE", cardApi(path), { headers: { "If-Match": file?.version ?? "" } });
      go("#/resources");
    } catch (error) {
      setProblem(message(error));
    }
  };
  const isEditing = (doing === "edit" || doing === "duplicate") && file !== null;
  return (
    <>
      <Heading title={card?.title ?? path}>
        <Foreign>{card?.title ?? path}</Foreign>
      </Heading>
      <p class="soft">
        <a href="#/resources">Library</a> · <Foreign>{path}</Foreign>
      </p>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {broken !== null && <Notice tone="bad">{broken}</Notice>}
      {!isEditing && (card !== null || broken !== null) && (
        <div class="row">
          {card !== null && (
            <a class="button primary" href={installPage([path])}>
              Install…
            </a>
          )}
          {isWritable && (
            <>
              <button onClick={() => void begin("edit")}>Edit</button>
              <button onClick={() => void begin("duplicate")}>Duplicate</button>
              <button class="danger" onClick={() => void begin("delete")}>
                Delete
              </button>
            </>
          )}
        </div>
      )}
      {isEditing && (
        <section class="panel" aria-labelledby="edit-title">
          <h2 id="edit-title">{doing === "edit" ? "Edit the card" : "Duplicate the card"}</h2>
          <CardEditor
            key={doing}
            text={file.text}
            path={doing === "edit" ? path : path.replace(/\.md$/, "_copy.md")}
            version={doing === "edit" ? file.version : null}
            onSaved={(saved) => {
              setDoing(null);
              if (saved.path === path) load();
              else go(cardPage(saved.path));
            }}
            onCancel={() => setDoing(null)}
          />
        </section>
      )}
      {!isEditing && card !== null && <About card={card} />}
      {!isEditing && card !== null && <Installs path={path} version={card.sha256} />}
      {doing === "delete" && (
        <Confirm
          title="Delete this card?"
          text="What it installed on instances stays. The file is removed from the folder of cards."
          action="Delete the card"
          onAnswer={(yes) => {
            if (yes) void remove();
            else setDoing(null);
          }}
        />
      )}
    </>
  );
}

function About({ card }: { card: CardWithScript }) {
  const files = card.files.map((file) => [file.path, bytes(file.size), file.sha256].filter(Boolean).join(", "));
  return (
    <>
      <div class="model">
        <CardPicture card={card} />
        <div>
          <Facts
            facts={[
              ["Type", card.type],
              ["Ecosystem", card.ecosystem],
              ["Base model", card.basemodel],
              ["Version", card.version === null ? null : String(card.version)],
              ["Size", bytes(card.size)],
              ["Files", files.join("; ")],
              ["Trigger words", words(card["trigger_words"])],
              ["Tags", card.tags.join(", ")],
              ["License", card.license],
              ["By", words(card["creator"])],
              ["Other names", [...card.aliases, card.AIR].filter(Boolean).join(", ")],
              ["Needs", card.dependencies.join(", ")],
            ]}
          />
          {card.url !== null && <ModelPage address={card.url} />}
        </div>
      </div>
      {card.warnings.length > 0 && <Notice tone="warn">{card.warnings.join("; ")}</Notice>}
      {card.description !== "" && (
        <p class="description">
          <Foreign>{card.description}</Foreign>
        </p>
      )}
      <h2>What it runs on an instance</h2>
      {card.download === "" ? (
        <p>Nothing of its own: it installs the cards that it needs.</p>
      ) : (
        <pre class="commands" tabIndex={0} role="region" aria-label="What it runs on an instance">
          {card.download}
        </pre>
      )}
    </>
  );
}

// The service fetches it, so that its site does not learn who looks at what. A card is one without its picture too.
function CardPicture({ card }: { card: CardWithScript }) {
  const [picture, setPicture] = useState<string | null>(null);
  const isThere = /^https?:/.test(card.image ?? "");
  useEffect(() => {
    if (!isThere) return;
    call<Picture>("GET", `${cardApi(card.path)}/picture`).then(
      (found) => setPicture(found.picture),
      () => setPicture(null),
    );
  }, [card.path, card.image]);
  return picture === null ? null : <img class="picture" src={picture} alt={`Made with ${card.title}`} />;
}

// Keys that the service does not know hold anything.
const words = (value: unknown): string =>
  (Array.isArray(value) ? value : [value]).filter((each) => typeof each === "string").join(", ");
