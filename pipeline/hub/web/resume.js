// Position of a subscriber in each session, and its commands after a (re)connect. Pure: no
// socket, no clock.

const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/** Whether a client closed with `code` should reconnect; 1006 is a lost connection. */
export function mayReconnect(code) {
  return !FINAL.has(code) && !(code >= 4400 && code < 4500);
}

/** Error of the client, with a close code or an HTTP status if there is one. */
export class PipelineError extends Error {
  constructor(message, code = null) {
    super(message);
    this.name = "PipelineError";
    this.code = code;
  }
}

/** Missing events before the one received: reconnect and send `commands()`. */
export class Gap extends Error {}

export class Resume {
  #session;
  #afterSeq;
  #events;
  #positions = new Map(); // session id → { seq, epoch, ended }
  #hasConnected = false;

  /** `session` is an id or "*"; `place`, { seq, epoch }, is where an earlier subscription ended. */
  constructor(session, { afterSeq = null, events = [], place = null } = {}) {
    this.#session = session;
    this.#afterSeq = afterSeq;
    this.#events = events;
    if (place) this.#positions.set(session, { ...place, ended: false });
  }

  /** Whether the one session subscribed to has ended. */
  get over() {
    return this.#positions.get(this.#session)?.ended ?? false;
  }

  /** Whether heartbeats are expected: a subscribed session is live. */
  get expectsHeartbeats() {
    return [...this.#positions.values()].some((place) => !place.ended);
  }

  /** The newest `{ seq, epoch }` of a session, or null. */
  place(session) {
    const place = this.#positions.get(session);
    return place ? { seq: place.seq, epoch: place.epoch } : null;
  }

  /** The commands to send on a new connection. */
  commands() {
    const events = this.#events.length ? { events: this.#events } : {};
    const commands = [...this.#positions].map(([session_id, { seq, epoch }]) => ({
      type: "session.subscribe",
      session_id,
      after_seq: seq,
      epoch,
      ...events,
    }));
    const everything = this.#session === "*";
    if (everything || commands.length === 0) {
      // After a first connection every session of that time has a position; others are new.
      const afterSeq = everything && this.#hasConnected ? 0 : this.#afterSeq;
      const from = afterSeq === null ? {} : { after_seq: afterSeq };
      commands.push({ type: "session.subscribe", session_id: this.#session, ...from, ...events });
    }
    this.#hasConnected = true;
    return commands;
  }

  /**
   * Record `event` and return whether it is new. Throws `Gap` when an event is missing before it,
   * and `PipelineError` when the server refuses the subscription.
   */
  accept(event) {
    if (event.type === "heartbeat") return this.#acceptHeartbeat(event);
    if (event.type === "error" && !event.seq) return this.#acceptError(event);
    const { session_id, seq, epoch = 0 } = event;
    const place = this.#positions.get(session_id);
    const isResync = event.type === "session.resync";
    if (place && !isResync) {
      const sameEpoch = epoch === place.epoch;
      if (sameEpoch && seq <= place.seq) return false;
      const first = event.from_seq ?? seq;
      // Number 1 under another epoch begins another history: the id was used again.
      if (first !== place.seq + 1 && (sameEpoch || first !== 1)) {
        throw new Gap(`${first} does not follow ${place.seq}`);
      }
    }
    const ended = event.type === "session.ended" || (isResync && event.state.status === "ended");
    this.#positions.set(session_id, { seq: seq ?? 0, epoch, ended });
    return true;
  }

  #acceptHeartbeat({ session_id, head, epoch = 0 }) {
    const place = this.#positions.get(session_id);
    const isMissing = place && head > place.seq && this.#events.length === 0;
    const isOther = place && head < place.seq && epoch !== place.epoch;
    if (isMissing || isOther) {
      throw new Gap(`newest event ${head}, last received ${place.seq}`);
    }
    this.#positions.set(session_id, { seq: head, epoch, ended: place?.ended ?? false });
    return false;
  }

  /** Handle an error event that has no number in a session. */
  #acceptError({ session_id, error }) {
    if (error.type !== "invalid_request") return true; // an error of the session, not of the subscription
    this.#positions.delete(session_id);
    if (this.#session !== "*") throw new PipelineError(error.message, error.code ?? null);
    return false;
  }
}
