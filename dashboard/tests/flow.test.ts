import { expect, test } from "vitest";
import { Flow } from "../src/flow";

const begin = Date.parse("2026-01-01T00:00:00.000Z");

const sum = (rates: number[], stepSeconds = 1): number => rates.reduce((all, rate) => all + rate * stepSeconds, 0);

test("a steady download has a steady rate", () => {
  const flow = new Flow();
  flow.begun("a", begin);
  for (let second = 1; second <= 10; second += 1) flow.add("a", begin + second * 1_000, second * 500);
  const [times, rates] = flow.points(true);
  expect(times[0]).toBe(begin / 1000);
  expect(rates).toEqual(Array(10).fill(500));
});

test("the step that is not over is left out only while the job runs", () => {
  const flow = new Flow();
  flow.begun("a", begin);
  flow.add("a", begin + 1_500, 1_500);
  expect(flow.points(true)[1]).toEqual([1_000]);
  expect(flow.points(false)[1]).toEqual([1_000, 500]);
});

test("the rates of two resources are added", () => {
  const flow = new Flow();
  for (const resource of ["a", "b"]) flow.begun(resource, begin);
  for (const resource of ["a", "b"]) flow.add(resource, begin + 1_000, 300);
  expect(flow.points(false)[1][0]).toBe(600);
});

test("a figure that falls belongs to the next file", () => {
  const flow = new Flow();
  flow.begun("a", begin);
  flow.add("a", begin + 1_000, 800);
  flow.add("a", begin + 2_000, 200);
  expect(sum(flow.points(false)[1])).toBe(1_000);
});

test("bytes that are reported after a long silence are spread over its last ten seconds", () => {
  const flow = new Flow();
  flow.begun("a", begin);
  flow.add("a", begin + 60_000, 10_000);
  const [times, rates] = flow.points(false);
  expect(times[0]).toBe(begin / 1000 + 50);
  expect(rates.slice(0, 10)).toEqual(Array(10).fill(1_000));
});

test("a long job has wider steps and loses no byte", () => {
  const flow = new Flow();
  flow.begun("a", begin);
  const seconds = 7_200;
  for (let second = 1; second <= seconds; second += 1) flow.add("a", begin + second * 1_000, second * 100);
  const [times, rates] = flow.points(false);
  expect(times.length).toBeLessThanOrEqual(601);
  const step = times[1]! - times[0]!;
  expect(step).toBeGreaterThan(1);
  expect(sum(rates, step)).toBeCloseTo(seconds * 100);
});
