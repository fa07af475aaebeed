// The line that a rented instance's page shows: `ssh -p 44686 root@109.231.106.68 -L 8080:localhost:8080`.

export interface SshTarget {
  host: string;
  port: number | null;
  user: string | null;
}

// ssh's options that take a value, as its manual lists them.
const withValue = "BbcDEeFIiJLlmOoPpQRSWw";

// null: not such a line.
export function parseSshLine(line: string): SshTarget | null {
  const words = split(line.trim());
  if (words[0] === "ssh" || words[0]?.endsWith("/ssh")) words.shift();
  let port: number | null = null;
  let user: string | null = null;
  let destination: string | null = null;
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at]!;
    if (word === "--") continue;
    if (!word.startsWith("-") || word === "-") {
      // A word after the destination that is not an option begins the command to run there.
      if (destination !== null) break;
      destination = word;
      continue;
    }
    const letter = [...word.slice(1)].findIndex((option) => withValue.includes(option));
    if (letter < 0) continue;
    const option = word[letter + 1]!;
    const rest = word.slice(letter + 2);
    if (rest === "") at += 1;
    const value = rest === "" ? (words[at] ?? "") : rest;
    if (option === "p") port = toPort(value);
    if (option === "l") user = value;
    if (option === "o") {
      const setting = /^\s*(port|user)\s*[=\s]\s*(.+)$/i.exec(value);
      if (setting?.[1]?.toLowerCase() === "port") port ??= toPort(setting[2]!);
      if (setting?.[1]?.toLowerCase() === "user") user ??= setting[2]!;
    }
  }
  if (destination === null) return null;
  const parts =
    /^(?:ssh:\/\/)?(?:([^@\s]+)@)?(\[[0-9A-Fa-f:.%]+\]|[^@:/\s[\]<>]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)(?::(\d+))?\/?$/.exec(
      destination,
    );
  if (parts === null) return null;
  return {
    host: parts[2]!.replace(/^\[|\]$/g, ""),
    port: port ?? (parts[3] === undefined ? null : toPort(parts[3])),
    user: user ?? parts[1] ?? null,
  };
}

function toPort(text: string): number | null {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}

function split(line: string): string[] {
  return (line.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? []).map((word) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"),
  );
}
