// View of the conversation: turns, their responses, and the waterfall of each.

import { extend, find, make, write } from "./dom.js";
import { isSlow, stages } from "./model.js";
import {
  answered,
  clock,
  dollars,
  ending,
  isFailure,
  isSuperseded,
  percentile,
  took,
  tookOrNone,
  toolUse,
} from "./wording.js";

const NAMES = {
  "end-of-turn": "end of turn",
  queue: "queue",
  "first-token": "first token",
  generation: "generation",
  cancelled: "cancelled",
  failed: "failed",
};
const NEAR = 80; // pixels from the end, within which the page scrolls with new content

export class View {
  #elements = new Map(); // item or response → its parts
  #scale = 0;
  #onPick;
  #picked = null;
  #follows = true; // scrolls with new content, until the user scrolls up
  #scrolled = 0; // pixels

  constructor(onPick) {
    this.#onPick = onPick;
    this.list = find("turns");
    this.scroller = find("scroll");
    this.scroller.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(this.list);
    find("newest").addEventListener("click", () => this.toEnd());
  }

  clear() {
    this.#elements.clear();
    this.#scale = 0;
    this.#picked = null;
    this.#follows = true;
    this.list.replaceChildren();
  }

  /** Draw the changes in `model` since the last time. */
  draw(model) {
    if (model.changed.has("everything")) this.clear();
    const all = model.changed.has("everything")
      ? [...model.items, ...model.responses.values()]
      : model.changed;
    for (const one of all) this.#drawOne(one);
    this.#rescale(model);
    find("empty").hidden = model.items.length > 0;
    find("legend").hidden = model.responses.size === 0;
    model.changed.clear();
    this.#follow();
  }

  #drawOne(one) {
    if (one.kind === "turn") this.#drawTurn(one);
    else if (one.kind === "notice") this.#drawNotice(one);
    else if (one.id) this.#drawResponse(one);
  }

  // --- turns ---

  #turnParts(turn) {
    let parts = this.#elements.get(turn);
    if (parts) return parts;
    const [at, speaker, text] = [
      make("span", { class: "at" }),
      make("b", { class: "speaker" }),
      make("span", { class: "said" }),
    ];
    const number = make(
      "span",
      { class: "number" },
      turn.number ? `turn ${turn.number}` : "session",
    );
    const responses = make("ul", { class: "responses" });
    const element = make(
      "li",
      { class: "turn", "data-turn": turn.number },
      make("div", { class: "when" }, at, number),
      make("p", { class: "line" }, speaker, text),
      responses,
    );
    parts = { element, at, speaker, text, responses };
    this.#elements.set(turn, parts);
    this.list.append(element);
    return parts;
  }

  #drawTurn(turn) {
    const parts = this.#turnParts(turn);
    write(parts.at, clock(turn.t));
    write(parts.speaker, turn.speaker ?? "");
    write(parts.text, turn.text);
    parts.element.classList.toggle("open", turn.open);
  }

  #drawNotice(notice) {
    if (this.#elements.has(notice)) return;
    const element = make(
      "li",
      { class: `notice ${notice.tone}` },
      make("span", { class: "at" }, clock(notice.t)),
      make("span", {}, notice.text),
    );
    this.#elements.set(notice, { element });
    this.list.append(element);
  }

  // --- responses ---

  #responseParts(response) {
    let parts = this.#elements.get(response);
    if (parts) return parts;
    const text = make("span", { class: "text", "data-response": response.id });
    const label = make("span", { class: "ending" });
    const bar = make("div", { class: "bar", role: "img" });
    const total = make("button", {
      class: "total",
      type: "button",
      "aria-pressed": "false",
      "aria-controls": "inspector",
    });
    const prompt = make("span", { class: "prompt" }, response.prompt || "response");
    const others =
      response.turns.length > 1
        ? make("span", { class: "answers" }, `answers ${answered(response.turns)}`)
        : null;
    const guess = response.speculative
      ? make("span", { class: "answers", title: "begun before the turn had ended" }, "early")
      : null;
    const tools = make("ul", { class: "tools" });
    const element = make(
      "li",
      { class: "response" },
      make("div", { class: "head" }, prompt, others, guess),
      tools,
      make("p", { class: "answer" }, text, " ", label),
      make("div", { class: "waterfall" }, bar, total),
    );
    element.addEventListener("click", () => {
      if (document.getSelection()?.isCollapsed ?? true) this.#onPick(response);
    });
    parts = { element, text, label, bar, total, tools };
    this.#elements.set(response, parts);
    this.#turnParts(response.turn).responses.append(element);
    return parts;
  }

  #drawResponse(response) {
    const parts = this.#responseParts(response);
    const gone = isSuperseded(response);
    if (gone && parts.text.tagName !== "DEL") {
      const struck = make("del", { class: "text", "data-response": response.id });
      parts.text.replaceWith(struck);
      parts.text = struck;
    }
    this.#drawTools(parts.tools, response.tools);
    extend(parts.text, response.text);
    write(parts.label, ending(response));
    parts.element.dataset.status = response.status;
    this.#drawTotal(parts.total, response);
    this.#drawBar(parts.bar, response);
  }

  #drawTools(list, tools) {
    tools.forEach((tool, at) => {
      const item = list.children[at] ?? list.appendChild(make("li"));
      item.classList.toggle("failed", isFailure(tool.result));
      write(item, toolUse(tool));
    });
  }

  #drawTotal(button, response) {
    const { status, times } = response;
    const slow = isSlow(response);
    const shown =
      {
        completed: tookOrNone(times?.end_to_end ?? times?.total),
        in_progress: response.text ? "streaming" : "waiting",
      }[status] ?? status;
    write(button, shown);
    button.classList.toggle("slow", slow && status === "completed");
    const what = status === "completed" ? `end to end ${shown}${slow ? ", slow" : ""}` : shown;
    button.setAttribute(
      "aria-label",
      `${response.prompt} to ${answered(response.turns)}: ${what}; inspect`,
    );
    button.title = slow ? "1 s or more from the end of speech to the first text" : "inspect";
  }

  #drawBar(bar, response) {
    const found = stages(response);
    const said = found.map(({ name, from, to }) => `${NAMES[name]} ${took(to - from)}`).join(", ");
    bar.setAttribute("aria-label", said || "in progress");
    bar.title = said;
    bar.classList.toggle("longer", (found.at(-1)?.to ?? 0) > this.#scale);
    bar.style.setProperty("--second", `${100_000 / this.#scale}%`);
    bar.replaceChildren(
      ...found.map(({ name, from, to }) => {
        const piece = make("i", { "data-stage": name });
        piece.style.left = `${Math.min(100, (100 * from) / this.#scale)}%`;
        piece.style.width = `${Math.max(0.4, (100 * (Math.min(to, this.#scale) - from)) / this.#scale)}%`;
        return piece;
      }),
    );
  }

  /** Set one scale for all waterfalls, so that their lengths can be compared. */
  #rescale(model) {
    const scale = model.scale();
    if (scale === this.#scale) return;
    this.#scale = scale;
    write(find("scale"), `0 – ${scale / 1000} s`);
    for (const response of model.responses.values()) {
      const parts = this.#elements.get(response);
      if (parts) this.#drawBar(parts.bar, response);
    }
  }

  /** Mark `response` as the inspected one. */
  mark(response) {
    for (const [one, isPicked] of [
      [this.#picked, false],
      [response, true],
    ]) {
      const parts = this.#elements.get(one);
      parts?.element.classList.toggle("picked", isPicked);
      parts?.total.setAttribute("aria-pressed", String(isPicked));
    }
    this.#picked = response;
  }

  focus(response) {
    const parts = this.#elements.get(response);
    parts?.total.focus({ preventScroll: true });
    parts?.element.scrollIntoView({ block: "nearest" });
  }

  // --- scrolling ---

  #noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    if (isAtEnd) this.#follows = true;
    else if (scrollTop < this.#scrolled) this.#follows = false;
    this.#scrolled = scrollTop;
    find("newest").hidden = isAtEnd || this.#follows;
  }

  #follow() {
    if (this.#follows) this.toEnd();
    else this.#noteScroll();
  }

  toEnd() {
    this.#follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#noteScroll();
  }
}

/** Totals at the bottom of the page. */
export function drawFigures(model) {
  const figures = model.figures();
  const about = figures.estimated ? "~" : "";
  const p50 = percentile(figures.endToEnd, 0.5);
  const p95 = percentile(figures.endToEnd, 0.95);
  const cells = [
    ["turns", figures.turns],
    ["responses", `${figures.responses}${figures.live ? ` (${figures.live} live)` : ""}`],
    ["e2e p50", tookOrNone(p50), p50 >= 1000],
    ["p95", tookOrNone(p95), p95 >= 1000],
    ["first token p50", tookOrNone(percentile(figures.firstToken, 0.5))],
    ["cancelled", `${figures.cancelled} of ${figures.responses}`],
    ...(figures.failed ? [["failed", figures.failed, true]] : []),
    [
      "tokens",
      `${about}${figures.input} in · ${about}${figures.output} out · ${about}${figures.wasted} wasted`,
    ],
    ...(figures.cost === null ? [] : [["cost", dollars(figures.cost)]]),
  ];
  find("figures").replaceChildren(
    ...cells.map(([name, value, notable = false]) =>
      make(
        "div",
        {},
        make("dt", {}, name),
        make("dd", { class: notable ? "slow" : null }, String(value)),
      ),
    ),
  );
}
