import { describe, expect, test } from "vitest";
import { bytes, count, duration, left, shortId, speed, time, words } from "../src/format";

describe("bytes", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.0 kB"],
    [8_512_000, "8.5 MB"],
    [12_340_000, "12.3 MB"],
    [99_490_000, "99.5 MB"],
    [99_500_000, "100 MB"],
    [999_499_999, "999 MB"],
    [999_500_000, "1.0 GB"],
    [5e15, "5000 TB"],
  ])("%d", (value, text) => {
    expect(bytes(value)).toBe(text);
  });

  test("an unknown number is shown as nothing", () => {
    expect([bytes(null), bytes(undefined), speed(null), speed(undefined)]).toEqual(["", "", "", ""]);
  });

  test("a speed is bytes a second", () => {
    expect(speed(60_900_000)).toBe("60.9 MB/s");
  });
});

describe("duration", () => {
  test.each([
    [0.25, "0.25 s"],
    [9.94, "9.9 s"],
    [59.4, "59 s"],
    [59.5, "1 min 0 s"],
    [3_599, "59 min 59 s"],
    [3_600, "1 h 0 min"],
    [172_740, "47 h 59 min"],
    [172_800, "2 d 0 h"],
  ])("%d seconds", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  test("what is left has no fractions", () => {
    expect([left(null), left(0), left(0.2), left(59.2), left(61)]).toEqual([
      "",
      "about done",
      "1 s left",
      "1 min 0 s left",
      "1 min 1 s left",
    ]);
  });
});

test("one is singular, and thousands are grouped", () => {
  expect([count(1, "card"), count(0, "card"), count(1_234, "card"), count(2, "entry", "entries")]).toEqual([
    "1 card",
    "0 cards",
    "1,234 cards",
    "2 entries",
  ]);
});

test("names of the API become words", () => {
  expect(words("auth_required")).toBe("Auth required");
  expect(words("ssh_unreachable")).toBe("SSH unreachable");
  expect(shortId("550e8400-e29b-41d4-a716-446655440000")).toBe("550e8400");
  expect(time(null)).toBe("");
});
