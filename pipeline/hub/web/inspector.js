// Inspector: all details of one response.

import { find, make, write } from "./dom.js";
import { isSlow } from "./model.js";
import { answered, clock, dollars, ending, isFailure, tookOrNone } from "./wording.js";

/** Show `response`, or nothing. `act` holds the possible actions: { cancel } or nothing. */
export function inspect(response, act = {}) {
  find("close-inspector").hidden = !response;
  document.body.classList.toggle("inspecting", Boolean(response));
  if (!response) {
    write(find("inspector-title"), "Inspector");
    const hint = "Choose a response to see its times, tokens and request.";
    find("inspected").replaceChildren(make("p", { class: "hint" }, hint));
    return;
  }
  const about = answered(response.turns);
  write(find("inspector-title"), `${response.prompt || "response"}${about ? ` · ${about}` : ""}`);
  find("inspected").replaceChildren(
    state(response, act),
    times(response),
    usage(response),
    request(response),
    ...tools(response),
    ...structured(response),
    events(response),
  );
}

function section(title, rows, ...rest) {
  const list = rows.flatMap(([name, value, notable = false]) => [
    make("dt", {}, name),
    make("dd", { class: notable ? "slow" : null }, value),
  ]);
  return make("section", {}, make("h3", {}, title), make("dl", {}, ...list), ...rest);
}

function state(response, { cancel }) {
  const words = ending(response) || response.status.replace("_", " ");
  const line = make("p", { class: "state", "data-status": response.status }, words);
  const button = cancel ? make("button", { type: "button", class: "small" }, "Cancel it") : null;
  button?.addEventListener("click", cancel);
  return make("section", { class: "summary" }, line, button);
}

function times(response) {
  const known = response.times ?? {};
  const spent = (known.total ?? 0) - (known.time_to_first_token ?? 0);
  const rows = [
    ["end of turn", tookOrNone(known.end_of_turn_delay)],
    ["queue", tookOrNone(known.queue)],
    ["first token", tookOrNone(known.time_to_first_token)],
    ["generation", known.total === null || !response.times ? "–" : tookOrNone(spent)],
    ["first sentence", tookOrNone(known.first_sentence)],
    ["call in all", tookOrNone(known.total)],
    ["end to end", tookOrNone(known.end_to_end), isSlow(response)],
  ];
  if (known.lead > 0) rows.push(["saved by starting early", tookOrNone(known.lead)]);
  return section("Times", rows);
}

function usage({ usage: spent }) {
  if (!spent) return section("Tokens", [["in / out", "–"]]);
  const about = spent.estimated ? "~" : "";
  const rows = [["in / out", `${about}${spent.input_tokens} / ${about}${spent.output_tokens}`]];
  if (spent.estimated) rows.push(["counted by", "estimate"]);
  if (typeof spent.cost === "number") rows.push(["cost", dollars(spent.cost)]);
  return section("Tokens", rows);
}

function request(response) {
  const { request: made, error } = response;
  const rows = [
    ["model", made?.model ?? response.model],
    ["region", made?.region ?? "–"],
    ["request id", code(made?.id ?? "–")],
    ["response id", code(response.id)],
    ["began at", clock(response.t)],
  ];
  if (response.speculative) rows.push(["begun", "before the turn had ended"]);
  if (response.supersedes) rows.push(["supersedes", code(response.supersedes)]);
  if (response.supersededBy) rows.push(["superseded by", code(response.supersededBy)]);
  if (response.reason) rows.push(["reason", response.reason]);
  if (error) {
    rows.push(["error", error.type]);
    if (error.code !== null && error.code !== undefined) rows.push(["code", String(error.code)]);
    return section("Request", rows, make("p", { class: "error" }, error.message));
  }
  return section("Request", rows);
}

function code(text) {
  return make("code", {}, text);
}

function tools({ tools: called, status }) {
  if (!called.length) return [];
  const shown = called.flatMap((tool) => {
    const outcome = tool.result === undefined ? pending(status) : written(tool.result);
    const failed = isFailure(tool.result) ? "error" : null;
    return [
      make("dt", {}, code(tool.name)),
      make("dd", {}, make("pre", { tabindex: "0" }, written(tool.arguments ?? "refused"))),
      make("dd", {}, make("pre", { tabindex: "0", class: failed }, outcome)),
    ];
  });
  const list = make("dl", { class: "tools" }, ...shown);
  return [make("section", {}, make("h3", {}, "Tools"), list)];
}

/** Placeholder for the result of a tool call without one. */
function pending(status) {
  return status === "in_progress" ? "running" : "no result";
}

function written(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function structured({ json }) {
  if (json === null) return [];
  const text = make("pre", { tabindex: "0" }, written(json));
  return [make("section", {}, make("h3", {}, "JSON"), text)];
}

function events({ counts }) {
  const rows = [...counts].map(([type, count]) => [type.replace("response.", ""), `× ${count}`]);
  return section("Events", rows.length ? rows : [["none", "only known from a summary"]]);
}
