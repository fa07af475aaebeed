import { describe, expect, it } from "vitest";

import { byName, withDependencies } from "../src/parts/library";
import type { CardView } from "../src/types";

const card = (path: string, given: Partial<CardView> = {}): CardView => ({
  path,
  title: path,
  type: null,
  ecosystem: null,
  basemodel: null,
  version: null,
  tags: [],
  size: null,
  sha256: "",
  files: [],
  url: null,
  license: null,
  image: null,
  dependencies: [],
  aliases: [],
  AIR: null,
  installs: null,
  background: false,
  description: "",
  warnings: [],
  ...given,
});

describe("dependencies", () => {
  it.each(["vae/ae.md", "vae/ae", "The VAE", "urn:air:flux:vae:civitai:1@2", "flux:vae:civitai:1@2", "Civitai:1@2"])(
    "are found by %s",
    (name) => {
      const vae = card("vae/ae.md", { aliases: ["the vae"], AIR: "urn:air:flux:vae:civitai:1@2" });
      const flux = card("flux.md", { dependencies: [name] });
      expect(withDependencies(["flux.md"], byName([flux, vae]))).toEqual([flux, vae]);
    },
  );

  it("are found by path before name", () => {
    const cards = [card("a.md", { aliases: ["b.md"] }), card("b.md"), card("c.md", { dependencies: ["b.md", "none"] })];
    expect(withDependencies(["c.md"], byName(cards)).map(({ path }) => path)).toEqual(["c.md", "b.md"]);
  });
});
