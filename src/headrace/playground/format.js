/** Numbers as people read them. */

const whole = new Intl.NumberFormat("en");

export const count = (value) => whole.format(Math.round(value));

/** Milliseconds: "312 ms", "4.21 s", "2 min 5 s". */
export function duration(milliseconds) {
  if (milliseconds === undefined || milliseconds === null || Number.isNaN(milliseconds)) return "–";
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`;
}

/** US dollars, with two digits that say something: "$0.0042". */
export function dollars(value) {
  if (value === undefined || value === null) return "–";
  return `$${value >= 1 ? value.toFixed(2) : Number(value.toPrecision(2))}`;
}

/** Tokens in a second. */
export function rate(value) {
  if (value === undefined || !Number.isFinite(value)) return "–";
  return value < 10 ? value.toFixed(1) : count(value);
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1000).toFixed(1)} kB`;
  return `${(value / 1e6).toFixed(1)} MB`;
}

/** The time of day, with tenths of a second. */
export const clock = (milliseconds) =>
  new Date(milliseconds).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const plural = (value, word) => `${count(value)} ${word}${Math.round(value) === 1 ? "" : "s"}`;
