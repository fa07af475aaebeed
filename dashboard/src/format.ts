// Figures and times as people read them. Bytes are decimal, as the sites that the files come from print them.

const units = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count: number | null | undefined): string {
  if (count === null || count === undefined) return "";
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toPrecision(value >= 9.95 ? 3 : 2)} ${units[unit]}`;
}

export const speed = (rate: number | null | undefined): string =>
  rate === null || rate === undefined ? "" : `${bytes(rate)}/s`;

export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const full = Math.floor(minutes / 60);
  return full < 48 ? `${full} h ${minutes % 60} min` : `${Math.floor(full / 24)} d ${full % 24} h`;
}

// The time left, without fractions: they would flicker.
export const left = (seconds: number | null | undefined): string => {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.ceil(seconds);
  return whole < 1 ? "about done" : `${whole < 60 ? `${whole} s` : duration(whole)} left`;
};

const hours = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const time = (at: string | null | undefined): string => (at ? hours.format(new Date(at)) : "");
// Seconds since the epoch.
export const clock = (seconds: number): string => hours.format(new Date(seconds * 1000));
export const dateTime = (at: string | null | undefined): string => (at ? dayAndClock.format(new Date(at)) : "");

export const count = (value: number, one: string, many = `${one}s`): string =>
  `${value.toLocaleString("en")} ${value === 1 ? one : many}`;

// auth_required -> Auth required, ssh_unreachable -> SSH unreachable
export const words = (name: string): string => {
  const text = name.replace(/_/g, " ").replace(/\b(?:ssh|dns|tls)\b/g, (short) => short.toUpperCase());
  return text.charAt(0).toUpperCase() + text.slice(1);
};

export const shortId = (jobId: string): string => jobId.slice(0, 8);
