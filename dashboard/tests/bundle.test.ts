import { describe, expect, it } from "vitest";

import { bundlePath, bundleText, exportApi } from "../src/bundle";

describe("a selection", () => {
  it("is a card with only dependencies, whatever its name holds", () => {
    expect(bundleText('a"\n---\nx: [', ["a.md", "b, c.md"])).toBe(
      '---\ntitle: "a\\"\\n---\\nx: ["\ndependencies: ["a.md","b, c.md"]\n---\n',
    );
  });

  it("gets a path of its name", () => {
    expect(bundlePath("Wan 2.1 — all")).toBe("bundles/wan_2_1_all.md");
    expect(bundlePath("../..")).toBe("bundles/selection.md");
  });

  it("is exported by its paths", () => {
    expect(exportApi(["a&b.md", "c/d.md"])).toBe("/resources/export?cards=a%26b.md&cards=c%2Fd.md");
  });
});
