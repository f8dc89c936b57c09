// State of a session from its events, for the console. Pure: no document, no socket, no clock.

const SLOW = 1000; // milliseconds end to end that count as slow
const LONGEST = 10_000; // milliseconds, widest waterfall
const STEPS = [500, 1000, 2000, 3000, 5000, LONGEST]; // milliseconds, of a waterfall's width

/** One session: its turns, their responses, and notices, in order. */
export class Model {
  constructor() {
    this.seq = 0; // the newest event
    this.session = null; // { id, source, stt, llm, prompts, status, reason, totals }
    this.items = []; // turns and notices, in order of arrival
    this.turns = new Map(); // by number
    this.responses = new Map(); // by id
    this.newestTurn = null; // the number of the newest ended one
    this.changed = new Set(); // items, responses and "session" to draw again
  }

  /** Apply `event`, and record in `changed` what it changed. */
  apply(event) {
    if (event.seq === 1 && this.seq > 1) {
      Object.assign(this, new Model()); // another history: the session's id was used again
      this.changed.add("everything");
    }
    if (event.seq) this.seq = event.seq;
    APPLY[event.type]?.call(this, event);
    const response = this.responses.get(event.response_id);
    if (response) response.counts.set(event.type, (response.counts.get(event.type) ?? 0) + 1);
  }

  turn(number, t) {
    let turn = this.turns.get(number);
    if (!turn) {
      turn = {
        kind: "turn",
        number,
        t: t ?? -1,
        text: "",
        speaker: null,
        open: true,
        delay: null,
        language: null,
        responses: [],
      };
      this.turns.set(number, turn);
      this.items.push(turn);
    }
    this.changed.add(turn);
    return turn;
  }

  notice(text, { t = -1, tone = "plain" } = {}) {
    const notice = { kind: "notice", text, t, tone };
    this.items.push(notice);
    this.changed.add(notice);
  }

  /** The turn under which a response is shown: the newest it answers, or the newest of all. */
  turnOf(turns) {
    const known = turns.filter((number) => this.turns.has(number));
    const number = known.length ? Math.max(...known) : this.newestTurn;
    return number === null ? this.turn(0, -1) : this.turn(number);
  }

  addResponse(event) {
    const response = {
      id: event.response_id,
      prompt: event.prompt ?? "",
      turns: event.turns ?? [],
      t: event.t ?? -1,
      model: event.model ?? "",
      speculative: event.speculative ?? false,
      supersedes: event.supersedes ?? null,
      supersededBy: null,
      overtakenBy: null,
      status: "in_progress",
      reason: null,
      text: "",
      json: null,
      times: null,
      usage: null,
      request: null,
      error: null,
      counts: new Map(),
      tools: [],
      played: null, // what the caller heard, if the client reports it
    };
    response.turn = this.turnOf(response.turns);
    response.turn.responses.push(response);
    this.responses.set(response.id, response);
    this.changed.add(response);
    return response;
  }

  /** The response that `event` names; added if its creation was missed. */
  responseOf(event) {
    const response = this.responses.get(event.response_id) ?? this.addResponse(event);
    this.changed.add(response);
    return response;
  }

  /** The numbers of the totals line. */
  figures() {
    const figures = {
      responses: 0,
      live: 0,
      cancelled: 0,
      failed: 0,
      input: 0,
      output: 0,
      wasted: 0,
      cost: null,
      estimated: false,
      endToEnd: [],
      firstToken: [],
      turns: 0,
    };
    for (const turn of this.turns.values()) if (!turn.open && turn.number > 0) figures.turns += 1;
    for (const response of this.responses.values()) addFigures(figures, response);
    return figures;
  }

  /** Width of every waterfall in milliseconds. */
  scale() {
    const lengths = [...this.responses.values()].map((one) => stages(one).at(-1)?.to ?? 0);
    const longest = Math.max(0, ...lengths);
    return STEPS.find((step) => longest <= step) ?? LONGEST;
  }
}

/** Statuses whose times count: a superseded or failed response has not answered its turn. */
const ANSWERED = new Set(["completed", "incomplete"]);

function addFigures(figures, { status, usage, times }) {
  figures.responses += 1;
  if (status === "in_progress") figures.live += 1;
  if (status === "cancelled") figures.cancelled += 1;
  if (status === "failed") figures.failed += 1;
  if (usage) {
    figures.input += usage.input_tokens;
    figures.output += usage.output_tokens;
    if (status === "cancelled") figures.wasted += usage.output_tokens;
    figures.estimated ||= usage.estimated;
    if (isNumber(usage.cost)) figures.cost = (figures.cost ?? 0) + usage.cost;
  }
  if (!ANSWERED.has(status)) return; // no time to an answer, as in the command line's totals
  if (isNumber(times?.end_to_end)) figures.endToEnd.push(times.end_to_end);
  if (isNumber(times?.time_to_first_token)) figures.firstToken.push(times.time_to_first_token);
}

/** Name of the speech-to-text, with the speaker if each channel has its own. */
function sttName(speaker) {
  return speaker ? `speech-to-text of ${speaker}` : "speech-to-text";
}

const APPLY = {
  "session.created"(event) {
    const { session_id: id, source, stt, llm, prompts } = event;
    this.session = { id, source, stt, llm, prompts, started: event.ts, status: "live" };
    this.changed.add("session");
  },
  "session.updated"({ stt, prompts }) {
    if (!this.session) return;
    if (stt) this.session.stt = stt;
    if (prompts) this.session.prompts = prompts;
    this.changed.add("session");
  },
  "session.ended"({ reason, totals, t }) {
    this.session = { ...this.session, status: "ended", reason, totals };
    this.notice(`session ended: ${reason.replaceAll("_", " ")}`, { t });
    this.changed.add("session");
  },
  "session.resync"({ state, reason, t }) {
    this.resync(state, reason ?? "", t);
  },
  "stt.interrupted"({ cause, speaker, t }) {
    const text = `${sttName(speaker)} is unreachable: ${cause}; audio is buffered`;
    this.notice(text, { t, tone: "warn" });
  },
  "stt.resumed"({ replayed, engine, lost_from: from, lost_to: to, speaker, t }) {
    const lost = isNumber(from) && isNumber(to) ? `, ${(to - from).toFixed(1)} s are lost` : "";
    const by = engine ? ` with ${engine}` : "";
    const text = `${sttName(speaker)} is connected again${by}: ${replayed.toFixed(1)} s of audio sent again${lost}`;
    this.notice(text, { t, tone: lost ? "bad" : "plain" });
  },
  "source.interrupted"({ t }) {
    this.notice("the source's connection was lost", { t, tone: "warn" });
  },
  "source.resumed"({ away, t }) {
    this.notice(`the source is back after ${away.toFixed(1)} s`, { t, tone: "warn" });
  },
  dtmf({ digits, t }) {
    this.notice(`keys pressed: ${digits}`, { t });
  },
  "response.waiting"({ prompt, turns, reason, until, t }) {
    const time = until ? `, until about ${new Date(until).toLocaleTimeString()}` : "";
    const text = `${prompt} waits for ${reason} to answer turn ${turns.join(", ")}${time}`;
    this.notice(text, { t, tone: "warn" });
  },
  "turn.updated"({ turn: number, text, speaker, t }) {
    const turn = this.turn(number, t);
    if (turn.open) Object.assign(turn, { text, speaker: speaker ?? turn.speaker });
  },
  "turn.completed"(event) {
    const { turn: number, text, speaker = null, language = null } = event;
    const delay = event.end_of_turn_delay ?? null;
    Object.assign(this.turn(number, event.t), { text, speaker, language, delay, open: false });
    this.newestTurn = Math.max(number, this.newestTurn ?? 0);
  },
  "turn.revised"({ turn: number, text, speaker, t }) {
    const turn = this.turn(number, t);
    turn.text = text ?? turn.text;
    turn.speaker = speaker ?? turn.speaker;
  },
  "response.skipped"({ prompt, turns, reason, t }) {
    const why = reason.replaceAll("_", "-");
    this.notice(`turn ${turns.join(", ")} is not answered by ${prompt}: ${why}`, { t });
  },
  "response.created"(event) {
    this.addResponse(event);
  },
  "response.output_text.delta"(event) {
    this.responseOf(event).text += event.delta;
  },
  "response.output_json.partial"(event) {
    const response = this.responseOf(event);
    response.json = event.value;
    response.text = JSON.stringify(event.value);
  },
  "response.tool_call"(event) {
    const { call_id: id, name } = event;
    this.responseOf(event).tools.push({ id, name, arguments: event.arguments });
  },
  "response.tool_result"(event) {
    const { call_id: id, name, result } = event;
    const { tools } = this.responseOf(event);
    const tool = tools.find((one) => one.id === id);
    if (tool) tool.result = result;
    else tools.push({ id, name, result }); // the call was refused: no tool ran
  },
  "response.done"(event) {
    const response = this.responseOf(event);
    const { status, text, usage, times, request, reason = null, error = null } = event;
    Object.assign(response, { status, text, usage, times, request, reason, error });
    response.supersededBy = event.superseded_by ?? null;
    response.json = event.json ?? response.json;
    const newest = this.newestTurn;
    if (newest !== null && newest > Math.max(0, ...response.turns)) response.overtakenBy = newest;
  },
  "response.played"(event) {
    const { text, characters, interrupted } = event;
    this.responseOf(event).played = { text, characters, interrupted };
  },
  error({ error, t }) {
    this.notice(error.message, { t, tone: "bad" });
  },
};

/** Start again from a snapshot that replaces missed events. */
Model.prototype.resync = function resync(state, reason, t) {
  const seq = this.seq;
  const session = { ...this.session, status: state.status ?? "live" };
  Object.assign(this, new Model(), { seq, session });
  this.changed.add("session");
  this.changed.add("everything");
  const why =
    { slow: "this page was too slow", expired: "older events were removed" }[reason] ?? reason;
  this.notice(`events left out${why ? ` (${why})` : ""}: this is the present state`, { t });
  for (const turn of state.turns ?? []) APPLY["turn.completed"].call(this, turn);
  const open = state.open_turns?.length ? state.open_turns : [state.open_turn];
  for (const turn of open) if (turn) APPLY["turn.updated"].call(this, turn);
  for (const { status, text, played, reason: cause = null, ...known } of state.responses ?? []) {
    const response = this.addResponse(known);
    Object.assign(response, { status, text, reason: cause, played: played ?? null });
  }
};

function isNumber(value) {
  return typeof value === "number";
}

/** Whether a response was slow. */
export function isSlow(response) {
  return (response.times?.end_to_end ?? 0) >= SLOW;
}

/**
 * The stages of a response that is over, left to right: { name, from, to } in milliseconds from
 * the end of speech. A cancelled response lasts from its first token to the end of its call.
 */
export function stages({ times, status }) {
  if (!times) return [];
  const found = [];
  let at = 0;
  const add = (name, length) => {
    if (!isNumber(length) || length <= 0) return;
    found.push({ name, from: at, to: at + length });
    at += length;
  };
  add("end-of-turn", times.end_of_turn_delay);
  add("queue", times.queue);
  add("first-token", times.time_to_first_token);
  const rest = (times.total ?? 0) - (times.time_to_first_token ?? 0);
  add({ cancelled: "cancelled", failed: "failed" }[status] ?? "generation", rest);
  return found;
}
