// JSON Schema on standard input, TypeScript on standard output: one type for each definition. scripts/dashboard_types.py
// calls it.

import { readFileSync } from "node:fs";

import { compile } from "json-schema-to-typescript";

const text = await compile(JSON.parse(readFileSync(0, "utf-8")), "Root", {
  additionalProperties: false,
  bannerComment: "",
  style: { bracketSpacing: true, printWidth: 120, trailingComma: "all" },
  unreachableDefinitions: true,
});
// The root only carries the definitions, and the comments only say so.
process.stdout.write(text.replace(/^\s*\/\*\*[^]*?\*\/\n/gm, "").replace(/^export interface Root \{\}\n/m, ""));
