// What a subscriber in JavaScript remembers; run by tests/hub/web/test_client.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Gap, mayReconnect, PipelineError, Resume } from "../../../pipeline/hub/web/resume.js";

const delta = (seq, more = {}) => ({
  type: "response.output_text.delta",
  session_id: "s",
  seq,
  epoch: 1,
  ...more,
});
const heartbeat = (head) => ({ type: "heartbeat", session_id: "s", head, epoch: 1 });
const resync = (from_seq, seq, status = "live") => ({
  type: "session.resync",
  session_id: "s",
  from_seq,
  seq,
  epoch: 1,
  state: { status },
});

function accepted(resume, ...events) {
  return events.filter((event) => resume.accept(event)).map((event) => event.seq);
}

test("an event that came before is not news", () => {
  assert.deepEqual(
    accepted(new Resume("s"), delta(1), delta(2), delta(2), delta(1), delta(3)),
    [1, 2, 3],
  );
});

test("a number left out is a gap", () => {
  const resume = new Resume("s");
  resume.accept(delta(1));
  assert.throws(() => resume.accept(delta(3)), Gap);
});

test("a frame that covers several follows on", () => {
  assert.deepEqual(
    accepted(new Resume("s"), delta(1), delta(5, { from_seq: 2 }), delta(6)),
    [1, 5, 6],
  );
});

test("a heartbeat ahead of what came is a gap, but for who filters", () => {
  const resume = new Resume("s");
  resume.accept(delta(1));
  resume.accept(heartbeat(1));
  assert.throws(() => resume.accept(heartbeat(2)), Gap);
  const picky = new Resume("s", { events: ["turn.*"] });
  assert.deepEqual(accepted(picky, delta(1), heartbeat(7), delta(8)), [1, 8]);
});

test("a resync may go back and is followed by what comes after it", () => {
  assert.deepEqual(accepted(new Resume("s"), delta(9), resync(1, 4), delta(5)), [9, 4, 5]);
});

test("a client that reconnects requests the events after its newest", () => {
  const resume = new Resume("s", { afterSeq: 0 });
  assert.deepEqual(resume.commands(), [
    { type: "session.subscribe", session_id: "s", after_seq: 0 },
  ]);
  resume.accept(delta(1));
  assert.deepEqual(resume.commands(), [
    { type: "session.subscribe", session_id: "s", after_seq: 1, epoch: 1 },
  ]);
});

test("a star comes back to each session, and to the new ones from their start", () => {
  const resume = new Resume("*");
  assert.deepEqual(resume.commands(), [{ type: "session.subscribe", session_id: "*" }]);
  resume.accept(delta(4));
  assert.deepEqual(resume.commands(), [
    { type: "session.subscribe", session_id: "s", after_seq: 4, epoch: 1 },
    { type: "session.subscribe", session_id: "*", after_seq: 0 },
  ]);
});

test("a refusal is thrown with its code, and a session gone is no matter among many", () => {
  const error = { type: "invalid_request", message: "no session", code: 4404 };
  const refusal = { type: "error", session_id: "s", error };
  assert.throws(() => new Resume("s").accept(refusal), PipelineError);
  assert.equal(new Resume("*").accept(refusal), false);
  const degraded = { type: "error", session_id: "s", error: { ...error, type: "journal_error" } };
  assert.equal(new Resume("s").accept(degraded), true);
});

test("it is over with the session's end, also when that is only visible in a resync", () => {
  const resume = new Resume("s");
  assert.equal(resume.over, false);
  resume.accept({ ...delta(1), type: "session.ended" });
  assert.equal(resume.over, true);
  const late = new Resume("s");
  late.accept(resync(1, 9, "ended"));
  assert.equal(late.over, true);
});

test("a place of an earlier visit is where it begins", () => {
  const resume = new Resume("s", { place: { seq: 7, epoch: 2 } });
  assert.deepEqual(resume.commands(), [
    { type: "session.subscribe", session_id: "s", after_seq: 7, epoch: 2 },
  ]);
  assert.throws(() => resume.accept(delta(9)), Gap);
});

test("40xx means come back, 44xx does not", () => {
  for (const code of [1001, 1006, 1011, 1012, 4000, 4008, 4010, 4012, 4013]) {
    assert.ok(mayReconnect(code), `${code}`);
  }
  for (const code of [1000, 1008, 4400, 4401, 4403, 4404, 4409, 4413, 4429]) {
    assert.ok(!mayReconnect(code), `${code}`);
  }
});

test("another process continues the history under its epoch", () => {
  const resume = new Resume("s", { place: { seq: 7, epoch: 1 } });
  assert.equal(resume.accept({ ...delta(8), epoch: 2 }), true);
  assert.deepEqual(resume.place("s"), { seq: 8, epoch: 2 });
});

test("the first event of another history is no duplicate, a later one is a gap", () => {
  const other = (seq) => ({ ...delta(seq), epoch: 2 });
  const resume = new Resume("s", { place: { seq: 7, epoch: 1 } });
  assert.throws(() => resume.accept(other(3)), Gap);
  assert.throws(() => resume.accept({ ...heartbeat(3), epoch: 2 }), Gap);
  assert.equal(resume.accept(other(1)), true);
  assert.equal(resume.accept(other(1)), false);
  assert.deepEqual(resume.place("s"), { seq: 1, epoch: 2 });
});
