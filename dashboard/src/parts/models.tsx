// What lies in the models folder of an instance now, and files that are removed after a question.

import { useEffect, useMemo, useState } from "preact/hooks";

import { ApiError, call, message } from "../api";
import { cardPage } from "../card_address";
import { bytes, count, dateTime } from "../format";
import { jobAddress } from "../router";
import type { InstanceModels, JobView, ModelFileView, StartedRemoval } from "../types";
import { Bar, Foreign, Notice } from "./common";
import { Confirm } from "./confirm";

interface ModelsProps {
  instance: string;
  uiHome: string;
  onStarted: () => void;
}

const shownMax = 50;
const pollMs = 500;
const kinds: Record<ModelFileView["kind"], string> = {
  model: "",
  half: "half a file",
  text: "text, not a model",
  empty: "empty",
  broken_link: "a link to nothing",
  other: "",
};

export function Models({ instance, uiHome, onStarted }: ModelsProps) {
  const [found, setFound] = useState<InstanceModels | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [search, setSearch] = useState("");
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [isAsking, setAsking] = useState(false);
  const [removal, setRemoval] = useState<{ jobId: string; text: string; isBad: boolean } | null>(null);
  const path = `/instances/${encodeURIComponent(instance)}`;

  const load = async (signal?: AbortSignal) => {
    setBusy(true);
    setProblem(null);
    try {
      const query = `ui_home=${encodeURIComponent(uiHome)}`;
      setFound(await call<InstanceModels>("GET", `${path}/models?${query}`, signal === undefined ? {} : { signal }));
      setPicked(new Set());
    } catch (error) {
      if (!signal?.aborted) setProblem(message(error));
    } finally {
      if (!signal?.aborted) setBusy(false);
    }
  };
  useEffect(() => {
    const aborted = new AbortController();
    void load(aborted.signal);
    return () => aborted.abort();
  }, [path, uiHome]);

  const remove = async (yes: boolean) => {
    setAsking(false);
    if (!yes) return;
    try {
      const body = { ui_home: uiHome, paths: [...picked] };
      const started = await call<StartedRemoval>("POST", `${path}/removals`, { body });
      setRemoval({ jobId: started.job_id, text: started.message, isBad: false });
      onStarted();
      const job = await ended(started.job_id);
      const isDone = job.state === "completed";
      const text = isDone ? `${count(started.count, "file")} removed.` : (job.error ?? "Nothing was removed.");
      setRemoval({ jobId: started.job_id, text, isBad: !isDone });
      onStarted();
      await load();
    } catch (error) {
      setProblem(message(error));
    }
  };
  const wanted = search.trim().toLowerCase();
  const folders = useMemo(() => byFolder(found?.files ?? [], wanted), [found, wanted]);
  const size = (found?.files ?? []).filter((file) => picked.has(file.path)).reduce((sum, file) => sum + file.size, 0);
  return (
    <section aria-labelledby="models-title" aria-busy={isBusy}>
      <div class="row between">
        <h2 id="models-title">Models</h2>
        <button disabled={isBusy} onClick={() => void load()}>
          {isBusy ? "Asking the instance…" : "Look again"}
        </button>
      </div>
      {problem !== null && <Notice tone="bad">{problem}</Notice>}
      {removal !== null && (
        <Notice tone={removal.isBad ? "bad" : "good"}>
          {removal.text} <a href={jobAddress(removal.jobId)}>What happened</a>
        </Notice>
      )}
      {found !== null && (
        <>
          <Standing found={found} />
          {found.files.length > 0 && (
            <div class="row filters" role="search" aria-label="Files">
              <label class="inline">
                Find
                <input
                  type="search"
                  placeholder="name or folder"
                  value={search}
                  onInput={(event) => setSearch(event.currentTarget.value)}
                />
              </label>
            </div>
          )}
          {folders.map(([folder, files]) => (
            <Folder key={folder} folder={folder} files={files} picked={picked} onPick={setPicked} />
          ))}
          {picked.size > 0 && (
            <div class="submit row">
              <button class="danger" onClick={() => setAsking(true)}>
                Remove {count(picked.size, "file")}…
              </button>
              <span class="soft">{bytes(size)}</span>
            </div>
          )}
        </>
      )}
      {isAsking && (
        <Confirm
          title={`Remove ${count(picked.size, "file")}, ${bytes(size)}?`}
          text={`They are deleted on the instance and cannot be brought back: ${listed([...picked])}.`}
          action="Remove them"
          onAnswer={(yes) => void remove(yes)}
        />
      )}
    </section>
  );
}

function Standing({ found }: { found: InstanceModels }) {
  const size = found.files.reduce((sum, file) => sum + file.size, 0);
  const { disk } = found;
  return (
    <>
      {found.missing && (
        <Notice tone="warn">
          There is no folder models below <Foreign>{found.ui_home}</Foreign>.
        </Notice>
      )}
      {disk !== null && (
        <>
          <Bar
            label="Disk"
            share={disk.total === 0 ? 0 : 1 - disk.free / disk.total}
            tone={disk.free < 5_000_000_000 ? "bad" : "rest"}
          />
          <p class="figures">
            {bytes(disk.free)} of {bytes(disk.total)} free · {count(found.files.length, "file")}
            {found.cut ? " and more" : ""}, {bytes(size)}
          </p>
        </>
      )}
      {found.cut && <Notice tone="warn">There are more files than this page shows.</Notice>}
    </>
  );
}

interface FolderProps {
  folder: string;
  files: ModelFileView[];
  picked: ReadonlySet<string>;
  onPick: (picked: ReadonlySet<string>) => void;
}

function Folder({ folder, files, picked, onPick }: FolderProps) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole ? files : files.slice(0, shownMax);
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const pick = (path: string, isPicked: boolean) => {
    const next = new Set(picked);
    if (isPicked) next.add(path);
    else next.delete(path);
    onPick(next);
  };
  return (
    <details class="folder" open>
      <summary>
        <Foreign>{folder === "" ? "models" : folder}</Foreign>{" "}
        <span class="soft">
          {count(files.length, "file")}, {bytes(size)}
        </span>
      </summary>
      <ul class="files">
        {shown.map((file) => (
          <li key={file.path} class="file">
            <label>
              <input
                type="checkbox"
                disabled={!file.removable}
                checked={picked.has(file.path)}
                onChange={(event) => pick(file.path, event.currentTarget.checked)}
              />
              <span>
                <Foreign>{file.path.slice(file.path.lastIndexOf("/") + 1)}</Foreign>
                {kinds[file.kind] !== "" && <strong class="kind"> {kinds[file.kind]}</strong>}
                {!file.removable && <span class="soft"> its name is not valid text: remove it by hand</span>}
              </span>
            </label>
            {file.card !== null && (
              <a href={cardPage(file.card)}>
                <Foreign>{file.card}</Foreign>
              </a>
            )}
            <span class="figures">{bytes(file.size)}</span>
            <time class="soft" dateTime={file.modified_at ?? ""}>
              {dateTime(file.modified_at)}
            </time>
          </li>
        ))}
      </ul>
      {shown.length < files.length && (
        <button class="link" onClick={() => setWhole(true)}>
          Show all {count(files.length, "file")}
        </button>
      )}
    </details>
  );
}

// The folders in order, each with its files; of a search those that fit.
function byFolder(files: ModelFileView[], wanted: string): [string, ModelFileView[]][] {
  const folders = new Map<string, ModelFileView[]>();
  const fitting = files.filter((file) => wanted === "" || file.path.toLowerCase().includes(wanted));
  for (const file of [...fitting].sort((one, other) => (one.path < other.path ? -1 : 1))) {
    const folder = file.path.slice(0, Math.max(0, file.path.lastIndexOf("/")));
    const there = folders.get(folder);
    if (there === undefined) folders.set(folder, [file]);
    else there.push(file);
  }
  return [...folders].sort(([one], [other]) => (one < other ? -1 : 1));
}

const listed = (paths: string[]): string =>
  paths.length > 5 ? `${paths.slice(0, 5).join(", ")} and ${paths.length - 5} more` : paths.join(", ");

async function ended(jobId: string): Promise<JobView> {
  for (;;) {
    try {
      const job = await call<JobView>("GET", `/resources/jobs/${jobId}`);
      if (!["queued", "running", "paused"].includes(job.state)) return job;
    } catch (error) {
      if (!(error instanceof ApiError) || (error.status !== 0 && error.status < 500)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
