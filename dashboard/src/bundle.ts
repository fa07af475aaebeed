// A selection of cards as a card of its own, which has only dependencies, and as a link.

import { installPage } from "./card_address";

// JSON is YAML: nothing in a title or a path can become another key of the card.
export const bundleText = (title: string, paths: string[]): string =>
  `---\ntitle: ${JSON.stringify(title)}\ndependencies: ${JSON.stringify(paths)}\n---\n`;

export function bundlePath(title: string): string {
  const name = title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "");
  return `bundles/${name === "" ? "selection" : name}.md`;
}

export const exportApi = (paths: string[]): string =>
  `/resources/export?${paths.map((path) => `cards=${encodeURIComponent(path)}`).join("&")}`;

// It fills in the form, and starts nothing.
export const installLink = (paths: string[]): string =>
  new URL(installPage(paths), location.href.replace(/#.*$/, "")).href;
