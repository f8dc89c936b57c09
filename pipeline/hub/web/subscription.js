// Subscription to sessions: reconnects and resumes where the connection broke.

import { Feed } from "./feed.js";
import { Gap, mayReconnect, PipelineError, Resume } from "./resume.js";
import { abandon, address, dial, nextToken, pause, refusal } from "./socket.js";

const BACKOFF = 250; // milliseconds before the second try, doubled up to MAX_BACKOFF
const MAX_BACKOFF = 5_000;
const PATIENCE = 60; // seconds of reconnect attempts
const SILENCE = 30; // seconds without any message, heartbeats included

/** Events of one session, or of all, in order; ends with the session. */
export class Subscription {
  #url;
  #token;
  #patience;
  #silence;
  #resume;
  #feed;
  #onState;
  #state = "connecting";
  #socket = null;
  #wasConnected; // once connected, later failures are retried
  #closing = new AbortController();

  constructor(url, options = {}) {
    const { session = "*", afterSeq, events, place, token = "", patience = PATIENCE } = options;
    this.#url = address(url, "/v1/events");
    this.#token = token;
    this.#patience = patience * 1000;
    this.#wasConnected = place !== undefined;
    this.#silence = (options.silence ?? SILENCE) * 1000;
    this.#resume = new Resume(session, { afterSeq, events, place });
    this.#feed = new Feed(options.onEvent);
    this.#onState = options.onState ?? (() => {});
    queueMicrotask(() => this.#run());
  }

  /** connecting, live, waiting (to reconnect), paused (the reader is behind), closed. */
  get state() {
    return this.#state;
  }

  /** The newest `{ seq, epoch }` that was received of a session, or null. */
  place(session) {
    return this.#resume.place(session);
  }

  /** Send a command to a subscribed session; `session_id` is optional if it is the only one. */
  send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new PipelineError("not connected");
    this.#socket.send(JSON.stringify(command));
  }

  /** Send the result of a tool call of `session`. */
  toolResult(session, callId, result) {
    this.send({ type: "tool.result", session_id: session, call_id: callId, result });
  }

  close() {
    this.#finish();
  }

  [Symbol.asyncIterator]() {
    return {
      next: () => this.#feed.next(),
      return: async () => {
        this.close();
        return { value: undefined, done: true };
      },
    };
  }

  #setState(state, cause = "") {
    this.#state = state;
    this.#onState(state, cause);
  }

  #finish(error = null) {
    if (this.#feed.isOver) return;
    this.#feed.finish(error);
    this.#closing.abort();
    if (this.#socket) abandon(this.#socket);
    this.#setState("closed", error?.message ?? "");
  }

  async #run() {
    try {
      await this.#reconnectLoop();
      this.#finish();
    } catch (error) {
      this.#finish(error);
    }
  }

  async #reconnectLoop() {
    let backoff = BACKOFF;
    let lastContact = Date.now(); // time of the last message
    while (!this.#feed.isOver && !this.#resume.over) {
      const end = await this.#connectOnce();
      if (this.#feed.isOver || this.#resume.over) return;
      if (end.received) [backoff, lastContact] = [BACKOFF, Date.now()];
      await this.#check(end, lastContact);
      if (this.#feed.full) {
        this.#setState("paused");
        await this.#feed.room();
      } else {
        this.#setState("waiting", end.cause);
        await pause(Math.random() * backoff, this.#closing.signal);
        backoff = Math.min(2 * backoff, MAX_BACKOFF);
      }
    }
  }

  /** Throw when reconnecting cannot succeed. */
  async #check({ code, cause, opened, token }, lastContact) {
    if (!mayReconnect(code)) throw new PipelineError(`closed with ${code}: ${cause}`, code);
    const renewable = typeof this.#token === "function";
    const refused = opened ? null : await refusal(this.#url, token, { renewable });
    if (refused) throw refused;
    if (Date.now() - lastContact > this.#patience) {
      throw new PipelineError(`${this.#url.host} is unreachable: ${cause}`, code);
    }
  }

  /** Connect once; resolves with the reason why the connection ended. */
  async #connectOnce() {
    this.#setState("connecting");
    let token;
    try {
      token = await nextToken(this.#token);
    } catch (error) {
      const isFinal = error instanceof PipelineError && error.code; // set by the token function
      if (!this.#wasConnected || isFinal) throw error;
      return { code: 1006, cause: `no token: ${error.message}`, opened: true, received: false };
    }
    return new Promise((resolve, reject) => {
      if (this.#feed.isOver) return resolve({}); // closed meanwhile
      const socket = (this.#socket = dial(this.#url, token));
      const end = { code: 1006, cause: "the connection was lost", opened: false, received: false, token };
      let last = Date.now();
      const finish = (changes, done = () => resolve(end)) => {
        clearInterval(watchdog);
        this.#closing.signal.removeEventListener("abort", abort);
        abandon(socket);
        this.#socket = null;
        Object.assign(end, changes);
        done();
      };
      const abort = () => finish({});
      this.#closing.signal.addEventListener("abort", abort);
      const watchdog = setInterval(() => {
        const expected = !end.opened || this.#resume.expectsHeartbeats;
        if (expected && Date.now() - last > this.#silence) finish({ cause: "no message received" });
      }, this.#silence / 6);
      socket.onopen = () => {
        end.opened = this.#wasConnected = true;
        for (const command of this.#resume.commands()) socket.send(JSON.stringify(command));
        this.#setState("live");
      };
      socket.onclose = ({ code, reason }) => finish({ code, cause: reason || end.cause });
      socket.onmessage = ({ data }) => {
        last = Date.now();
        end.received = true;
        try {
          this.#take(JSON.parse(data));
        } catch (error) {
          if (error instanceof Gap) finish({ cause: error.message });
          else finish({}, () => reject(error));
          return;
        }
        if (this.#resume.over || this.#feed.full) finish({});
      };
    });
  }

  #take(event) {
    if (this.#resume.accept(event)) this.#feed.push(event);
  }
}
