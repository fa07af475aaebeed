import { expect, test } from "vitest";
import cases from "../../tests/ssh_lines.json";
import { parseSshLine } from "../src/ssh_line";

// The terminal client must split the same lines into the same parts.
test.each(cases)("$line", ({ line, target }) => {
  expect(parseSshLine(line)).toEqual(target);
});

test("an option at the end of the line has no value", () => {
  expect(parseSshLine("ssh host -p")).toEqual({ host: "host", port: null, user: null });
});
