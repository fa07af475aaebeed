// Throughput over time. A part of the first load, although it is a third of it: what a page fetches later, it cannot have
// while the service is down or once another version runs.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { clock, speed } from "../format";

export interface PlotProps {
  // Seconds since the epoch, and bytes a second.
  points: [number[], number[]];
}

const height = 180;
const tickSeconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400];

export function Plot({ points }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const newest = useRef(points);
  newest.current = points;
  useEffect(() => {
    const within = place.current!;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(within), newest.current, within);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: within.clientWidth, height }));
    resized.observe(within);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.setData(newest.current), [points]);
  return <div class="plot" ref={place} role="img" aria-label={summary(points[1])} />;
}

function summary(rates: number[]): string {
  if (rates.length === 0) return "Throughput: nothing received yet";
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  return `Throughput over time: ${speed(mean)} on average, ${speed(Math.max(...rates))} at most`;
}

function options(within: HTMLElement): uPlot.Options {
  const style = getComputedStyle(within);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: within.clientWidth,
    height,
    cursor: { show: false },
    legend: { show: false },
    scales: { y: { range: (_plot, _min, max) => [0, Math.max(max, 1) * 1.1] } },
    axes: [
      { ...axis, space: 90, incrs: tickSeconds, values: (_plot, times) => times.map(clock) },
      { ...axis, size: 80, values: (_plot, rates) => rates.map((rate) => speed(rate)) },
    ],
    series: [{}, { stroke: color("--accent"), fill: color("--accent-soft"), width: 2, points: { show: false } }],
  };
}
