/** Numbers and instants as people read them. Pure functions; instants are milliseconds since 1970 UTC. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long something took or is ago, in its largest unit: 45s, 12m, 3h, 2d. Never negative. */
export function age(milliseconds) {
  const passed = Math.max(0, milliseconds);
  if (passed < MINUTE) return `${Math.floor(passed / 1000)}s`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)}m`;
  if (passed < DAY) return `${Math.floor(passed / HOUR)}h`;
  return `${Math.floor(passed / DAY)}d`;
}

const UNITS = { s: "second", m: "minute", h: "hour", d: "day" };

/** The same in words, for screen readers: "12 minutes". */
export function ageInWords(milliseconds) {
  const short = age(milliseconds);
  const count = short.slice(0, -1);
  return `${count} ${UNITS[short.at(-1)]}${count === "1" ? "" : "s"}`;
}

/** Time left as m:ss; 0:00 once it is over. */
export function countdown(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A duration in seconds with one decimal: 1.8 s. */
export function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** How many decimals a price of this size is shown with: about six significant digits. */
export function decimals(price) {
  const size = Math.abs(price);
  if (size >= 1000) return 2;
  if (size >= 1) return 4;
  if (size >= 0.01) return 6;
  return 8;
}

const priceFormats = new Map();

/** A price with its own number of decimals, or with those of the ticker's price step. */
export function price(value, step) {
  if (value === null || value === undefined) return "";
  const digits = step ? stepDecimals(step) : decimals(value);
  if (!priceFormats.has(digits)) {
    priceFormats.set(digits, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return priceFormats.get(digits).format(value);
}

/** The decimals of a price step: 0.001 has three. Also of 1e-8, which JavaScript writes with an exponent. */
export function stepDecimals(step) {
  return step > 0 ? Math.min(18, Math.max(0, Math.round(-Math.log10(step)))) : 8;
}

const counts = new Intl.NumberFormat("en");

/** A whole number with thousands separated. */
export function count(value) {
  return counts.format(value);
}

/** An algorithm's value: at most six significant digits. */
export function value(number) {
  if (number === null || number === undefined) return "–";
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 6 }).format(number);
}

const clocks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exactClocks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dates = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The user's own wall clock: 14:32. */
export function clock(at) {
  return clocks.format(at);
}

/** The same with seconds. */
export function exactClock(at) {
  return exactClocks.format(at);
}

/** A clock time, with its day where that is not today's. */
export function moment(at, now) {
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  return isToday ? clock(at) : `${dates.format(at)} ${clock(at)}`;
}

/** The unambiguous form for tooltips: 2026-11-21 14:32:00 UTC. */
export function utc(at) {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
