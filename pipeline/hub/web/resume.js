// Where a subscriber stands in each session, and what it asks for when it (re)connects. Pure:
// no socket, no clock.

const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/** Whether a client closed with `code` should come back; 1006 is a lost connection. */
export function mayReconnect(code) {
  return !FINAL.has(code) && !(code >= 4400 && code < 4500);
}

/** What went wrong, with a close code or an HTTP status where there is one. */
export class PipelineError extends Error {
  constructor(message, code = null) {
    super(message);
    this.name = "PipelineError";
    this.code = code;
  }
}

/** Something is missing between what we have and what came: come back with `commands()`. */
export class Gap extends Error {}

export class Resume {
  #session;
  #afterSeq;
  #events;
  #places = new Map(); // session id → { seq, epoch, ended }
  #met = false;

  /** `session` is an id or "*"; `place`, { seq, epoch }, is where an earlier visit ended. */
  constructor(session, { afterSeq = null, events = [], place = null } = {}) {
    this.#session = session;
    this.#afterSeq = afterSeq;
    this.#events = events;
    if (place) this.#places.set(session, { ...place, ended: false });
  }

  /** The one session that is followed has ended. */
  get over() {
    return this.#places.get(this.#session)?.ended ?? false;
  }

  /** Whether a session is followed that owes us a heartbeat. */
  get expectsHeartbeats() {
    return [...this.#places.values()].some((place) => !place.ended);
  }

  /** The newest `{ seq, epoch }` of a session, or null. */
  place(session) {
    const place = this.#places.get(session);
    return place ? { seq: place.seq, epoch: place.epoch } : null;
  }

  /** What to send on a new connection. */
  commands() {
    const events = this.#events.length ? { events: this.#events } : {};
    const commands = [...this.#places].map(([session_id, { seq, epoch }]) => ({
      type: "session.subscribe",
      session_id,
      after_seq: seq,
      epoch,
      ...events,
    }));
    const everything = this.#session === "*";
    if (everything || commands.length === 0) {
      // Who was here before knows every session of that time; the others are new.
      const afterSeq = everything && this.#met ? 0 : this.#afterSeq;
      const from = afterSeq === null ? {} : { after_seq: afterSeq };
      commands.push({ type: "session.subscribe", session_id: this.#session, ...from, ...events });
    }
    this.#met = true;
    return commands;
  }

  /**
   * Note `event` and return whether it is news. Throws `Gap` when one is missing before it, and
   * `PipelineError` when the server refuses what was asked.
   */
  accept(event) {
    if (event.type === "heartbeat") return this.#beat(event);
    if (event.type === "error" && !event.seq) return this.#told(event);
    const { session_id, seq, epoch = 0 } = event;
    const place = this.#places.get(session_id);
    const isResync = event.type === "session.resync";
    if (place && !isResync) {
      if (seq <= place.seq) return false;
      const first = event.from_seq ?? seq;
      if (first !== place.seq + 1) throw new Gap(`${first} does not follow ${place.seq}`);
    }
    const ended = event.type === "session.ended" || (isResync && event.state.status === "ended");
    this.#places.set(session_id, { seq: seq ?? 0, epoch, ended });
    return true;
  }

  #beat({ session_id, head, epoch = 0 }) {
    const place = this.#places.get(session_id);
    if (place && head > place.seq && this.#events.length === 0) {
      throw new Gap(`${head} is out, ${place.seq} was the last here`);
    }
    this.#places.set(session_id, { seq: head, epoch, ended: place?.ended ?? false });
    return false;
  }

  /** Take in an error that has no place in a session. */
  #told({ session_id, error }) {
    if (error.type !== "invalid_request") return true; // the session's, not of what was asked
    this.#places.delete(session_id);
    if (this.#session !== "*") throw new PipelineError(error.message, error.code ?? null);
    return false;
  }
}
