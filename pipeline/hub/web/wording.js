// Times, durations and outcomes as text, the same as on the command line. Pure.

/** Time on the session's audio clock: 64200 is 1:04.2. */
export function clock(milliseconds) {
  if (!(milliseconds >= 0)) return "–";
  const tenths = Math.floor(milliseconds / 100);
  const two = (number) => String(number).padStart(2, "0");
  const [minutes, seconds] = [Math.floor(tenths / 600), Math.floor((tenths % 600) / 10)];
  const head = minutes < 60 ? `${minutes}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`;
  return `${head}:${two(seconds)}.${tenths % 10}`;
}

/** A duration: in ms below a second, else in s. */
export function took(milliseconds) {
  const rounded = Math.round(milliseconds);
  return rounded < 1000 ? `${rounded} ms` : `${(milliseconds / 1000).toFixed(2)} s`;
}

export function tookOrNone(milliseconds) {
  return milliseconds === null || milliseconds === undefined ? "–" : took(milliseconds);
}

/** Outcome of a response that was not completed; empty if completed or in progress. */
export function ending(response) {
  const total = response.times?.total ?? null;
  const after = total === null ? "" : ` after ${took(total)}`;
  switch (response.status) {
    case "completed":
      return heard(response);
    case "in_progress":
      return "";
    case "failed":
      return `failed${after}: ${response.error?.message ?? response.reason ?? "no reason given"}`;
    default: {
      if (isSuperseded(response)) {
        const by = response.overtakenBy === null ? "" : ` by turn ${response.overtakenBy}`;
        return `superseded${by}${after}${wasted(response)}`;
      }
      const why = response.reason ? ` (${response.reason})` : "";
      return `${response.status}${why}${after}${wasted(response)}`;
    }
  }
}

/** How much of a response the caller heard, unless it was all of it. */
function heard({ played, text }) {
  const length = [...text].length;
  if (!played || played.characters >= length) return "";
  return `the caller heard ${played.characters} of ${length} characters`;
}

export function isSuperseded({ status, reason, supersededBy }) {
  return status === "cancelled" && (reason === "superseded" || Boolean(supersededBy));
}

function wasted({ status, usage }) {
  if (status !== "cancelled" || !usage?.output_tokens) return "";
  return ` · ${tokens(usage.output_tokens, usage.estimated)} wasted`;
}

export function tokens(count, isEstimated) {
  return `${isEstimated ? "~" : ""}${count} ${count === 1 ? "token" : "tokens"}`;
}

/** USD with three significant digits: $0.00042, $1.23. */
export function dollars(amount) {
  const digits = amount >= 1 || amount <= 0 ? 2 : 2 - Math.floor(Math.log10(amount));
  return `$${amount.toFixed(digits)}`;
}

const LONGEST_VALUE = 80; // characters of a tool's arguments or result; the inspector shows all

/** A tool call in one line; without arguments it was refused, without a result it is running. */
export function toolUse({ name, arguments: given, result }) {
  const call = given === undefined ? name : `${name}(${shortened(given)})`;
  if (result === undefined) return call;
  return `${call} ${isFailure(result) ? "failed" : "said"}: ${shortened(result)}`;
}

/** Whether the model received an error in place of a tool's result. */
export function isFailure(result) {
  return typeof result?.error === "string";
}

function shortened(value) {
  const text = JSON.stringify(value);
  const characters = [...text];
  if (characters.length <= LONGEST_VALUE) return text;
  return `${characters.slice(0, LONGEST_VALUE - 1).join("")}…`;
}

/** The turns that a response answers: "turn 2", "turns 2–3", or "" without turns. */
export function answered(turns) {
  if (!turns.length) return "";
  if (turns.length === 1) return `turn ${turns[0]}`;
  return `turns ${turns[0]}–${turns.at(-1)}`;
}

/** The value that `share` (0 to 1) of `values` do not exceed; null of none. */
export function percentile(values, share) {
  if (!values.length) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
