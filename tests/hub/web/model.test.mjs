// What the console makes of a session's events; run by tests/hub/web/test_client.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { isSlow, Model, stages } from "../../../pipeline/hub/web/model.js";
import { dollars, ending, toolUse } from "../../../pipeline/hub/web/wording.js";

const TIMES = {
  end_of_turn_delay: 500,
  queue: 10,
  time_to_first_token: 300,
  first_sentence: 600,
  total: 800,
  end_to_end: 810,
  lead: 0,
};
const USAGE = { input_tokens: 10, output_tokens: 4, estimated: true };
const REQUEST = { id: "q", model: "m", region: null };

const turn = (number, text) => ({
  type: "turn.completed",
  turn: number,
  text,
  end_of_turn_delay: 500,
});
const created = (id, turns, more = {}) => ({
  type: "response.created",
  response_id: id,
  prompt: "reply",
  turns,
  model: "m",
  speculative: false,
  ...more,
});
const delta = (id, text) => ({ type: "response.output_text.delta", response_id: id, delta: text });
const done = (id, status, text, more = {}) => ({
  type: "response.done",
  response_id: id,
  status,
  text,
  usage: USAGE,
  times: TIMES,
  request: REQUEST,
  ...more,
});

function modelOf(...events) {
  const model = new Model();
  events.forEach((event, i) => model.apply({ seq: i + 1, session_id: "s", t: 100 * i, ...event }));
  return model;
}

test("a partial is replaced until the turn has ended, and a revision replaces that", () => {
  const model = modelOf(
    { type: "turn.updated", turn: 1, text: "book" },
    { type: "turn.updated", turn: 1, text: "book the" },
  );
  const [one] = model.items;
  assert.deepEqual([one.text, one.open], ["book the", true]);
  model.apply({ ...turn(1, "Book the train."), seq: 3 });
  assert.deepEqual([one.text, one.open], ["Book the train.", false]);
  model.apply({ type: "turn.revised", turn: 1, speaker: "B", seq: 4 });
  assert.deepEqual([one.text, one.speaker], ["Book the train.", "B"]);
  assert.equal(model.items.length, 1);
});

test("deltas add up below the newest turn that is answered", () => {
  const model = modelOf(
    turn(1, "a"),
    turn(2, "b"),
    created("r1", [1, 2]),
    delta("r1", "on"),
    delta("r1", "e"),
  );
  assert.equal(model.responses.get("r1").text, "one");
  assert.equal(model.turns.get(2).responses[0].id, "r1");
  assert.equal(model.responses.get("r1").counts.get("response.output_text.delta"), 2);
});

test("what is superseded says by which turn and after how long", () => {
  const model = modelOf(
    turn(1, "a"),
    created("r1", [1]),
    delta("r1", "Gl"),
    turn(2, "b"),
    done("r1", "cancelled", "Gl", { reason: "superseded", superseded_by: "r2" }),
  );
  assert.equal(
    ending(model.responses.get("r1")),
    "superseded by turn 2 after 800 ms · ~4 tokens wasted",
  );
});

test("a tool call is shown with its arguments and its result, a refused call by its result alone", () => {
  const call = (id, order) => ({
    type: "response.tool_call",
    response_id: "r1",
    call_id: id,
    name: "look_up",
    arguments: { order },
  });
  const result = (id, name, value) => ({
    type: "response.tool_result",
    response_id: "r1",
    call_id: id,
    name,
    result: value,
  });
  const model = modelOf(
    turn(1, "a"),
    created("r1", [1]),
    call("c1", 7),
    call("c2", 8),
    result("c2", "look_up", "gone"),
    result("c3", "erase", { error: "there is no tool" }),
  );
  assert.deepEqual(model.responses.get("r1").tools.map(toolUse), [
    'look_up({"order":7})',
    'look_up({"order":8}) said: "gone"',
    'erase failed: {"error":"there is no tool"}',
  ]);
});

test("a response that was played in part says how much the caller heard", () => {
  const played = (characters) => ({
    type: "response.played",
    response_id: "r1",
    text: "Aye 👍.".slice(0, characters),
    characters,
    interrupted: characters < 6,
  });
  const all = [turn(1, "Go."), created("r1", [1]), done("r1", "completed", "Aye 👍.")];
  const [response] = modelOf(...all, played(3)).responses.values();
  assert.equal(ending(response), "the caller heard 3 of 6 characters");
  assert.equal(ending(modelOf(...all, played(6)).responses.get("r1")), "");
});

test("a turn that is not answered says why", () => {
  const skipped = { prompt: "reply", turns: [2], reason: "back_channel" };
  const model = modelOf(turn(2, "Uh-huh."), { type: "response.skipped", ...skipped });
  assert.equal(model.items.at(-1).text, "turn 2 is not answered by reply: back-channel");
});

test("an answer in JSON shows the object so far", () => {
  const partial = (value) => ({ type: "response.output_json.partial", response_id: "r1", value });
  const model = modelOf(
    turn(1, "a"),
    created("r1", [1]),
    partial({ a: "o" }),
    partial({ a: "one" }),
  );
  assert.equal(model.responses.get("r1").text, '{"a":"one"}');
});

test("other endings say what they are", () => {
  const model = modelOf(
    turn(1, "a"),
    created("r1", [1]),
    done("r1", "failed", "", { error: { type: "gateway_error", message: "no such model" } }),
    created("r2", [1]),
    done("r2", "incomplete", "x", { reason: "max_tokens" }),
    created("r3", [1]),
    done("r3", "completed", "x"),
    created("r4", [1]),
    done("r4", "cancelled", "x", { reason: "client" }),
  );
  assert.deepEqual([...model.responses.values()].map(ending), [
    "failed after 800 ms: no such model",
    "incomplete (max_tokens) after 800 ms",
    "",
    "cancelled (client) after 800 ms · ~4 tokens wasted",
  ]);
});

test("the stages stand one behind the other, up to the end of the call", () => {
  const lengths = (status, times) =>
    stages({ status, times }).map(({ name, from, to }) => [name, from, to]);
  assert.deepEqual(lengths("completed", TIMES), [
    ["end-of-turn", 0, 500],
    ["queue", 500, 510],
    ["first-token", 510, 810],
    ["generation", 810, 1310],
  ]);
  const early = { ...TIMES, time_to_first_token: null };
  assert.deepEqual(lengths("cancelled", early).at(-1), ["cancelled", 510, 1310]);
  assert.deepEqual(lengths("in_progress", null), []);
});

test("a response is slow from one second on, end to end", () => {
  const slow = (end_to_end) => isSlow({ times: { ...TIMES, end_to_end } });
  assert.deepEqual([999, 1000, null].map(slow), [false, true, false]);
});

test("the figures count what was wasted", () => {
  const model = modelOf(
    turn(1, "a"),
    created("r1", [1]),
    done("r1", "completed", "x"),
    created("r2", [1]),
    done("r2", "cancelled", "x", { reason: "superseded" }),
    created("r3", [1]),
  );
  const { responses, live, cancelled, input, output, wasted, endToEnd } = model.figures();
  assert.deepEqual([responses, live, cancelled, input, output, wasted], [3, 1, 1, 20, 8, 4]);
  assert.deepEqual(endToEnd, [810], "of the answer that was not superseded");
  assert.equal(model.figures().cost, null);
  model.apply({ ...done("r3", "completed", "x", { usage: { ...USAGE, cost: 0.00012 } }), seq: 9 });
  assert.equal(dollars(model.figures().cost), "$0.000120");
});

test("after a resync stands what it says, and it goes on from there", () => {
  const model = modelOf(turn(1, "lost"), created("r1", [1]), delta("r1", "x"));
  const state = {
    status: "live",
    turns: [turn(1, "a"), turn(2, "b")],
    open_turn: { type: "turn.updated", turn: 3, text: "and" },
    responses: [
      { response_id: "r1", prompt: "reply", turns: [1], status: "completed", text: "done" },
      { response_id: "r2", prompt: "reply", turns: [2], status: "in_progress", text: "On" },
    ],
  };
  model.apply({ type: "session.resync", seq: 90, from_seq: 4, state, reason: "slow" });
  model.apply({ ...delta("r2", "e"), seq: 91 });
  assert.deepEqual(
    model.items.map((item) => item.text),
    ["events left out (this page was too slow): this is the present state", "a", "b", "and"],
  );
  assert.deepEqual(
    [...model.responses.values()].map(({ text }) => text),
    ["done", "One"],
  );
  assert.equal(model.seq, 91);
});

test("a response that answers no turn of its own stands below the newest", () => {
  const model = modelOf(turn(1, "a"), created("r1", []));
  assert.equal(model.turns.get(1).responses.length, 1);
});

test("what happens to speech-to-text stands between the turns", () => {
  const model = modelOf(
    turn(1, "a"),
    { type: "stt.interrupted", cause: "reset" },
    { type: "stt.resumed", replayed: 1.24, lost_from: 2, lost_to: 3.5, speaker: "Ada" },
  );
  assert.deepEqual(
    model.items.slice(1).map(({ text, tone }) => [text, tone]),
    [
      ["speech-to-text is unreachable: reset; audio is buffered", "warn"],
      ["speech-to-text of Ada is connected again: 1.2 s of audio sent again, 1.5 s are lost", "bad"],
    ],
  );
});
