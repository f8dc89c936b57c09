// Following sessions: connected, and connected again where it broke.

import { Feed } from "./feed.js";
import { Gap, mayReconnect, PipelineError, Resume } from "./resume.js";
import { abandon, address, dial, nextToken, pause, refusal } from "./socket.js";

const BACKOFF = 250; // milliseconds before the second try, doubled up to BACKOFF_MOST
const BACKOFF_MOST = 5_000;
const PATIENCE = 60; // seconds of trying to come back
const SILENCE = 30; // seconds without even a heartbeat

/** The events of one session, or of all, in order; ends with the session. */
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
  #welcome; // has been let in, so what fails now may pass
  #leaving = new AbortController();

  constructor(url, options = {}) {
    const { session = "*", afterSeq, events, place, token = "", patience = PATIENCE } = options;
    this.#url = address(url, "/v1/events");
    this.#token = token;
    this.#patience = patience * 1000;
    this.#welcome = place !== undefined;
    this.#silence = (options.silence ?? SILENCE) * 1000;
    this.#resume = new Resume(session, { afterSeq, events, place });
    this.#feed = new Feed(options.onEvent);
    this.#onState = options.onState ?? (() => {});
    queueMicrotask(() => this.#run());
  }

  /** connecting, live, waiting (to try again), paused (nobody reads), closed. */
  get state() {
    return this.#state;
  }

  /** The newest `{ seq, epoch }` that was received of a session, or null. */
  place(session) {
    return this.#resume.place(session);
  }

  /** Steer a session that is followed; its `session_id` may be left out where it is the only one. */
  send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new PipelineError("not connected");
    this.#socket.send(JSON.stringify(command));
  }

  /** Return the result of a tool that was called in `session`. */
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

  #say(state, cause = "") {
    this.#state = state;
    this.#onState(state, cause);
  }

  #finish(error = null) {
    if (this.#feed.isOver) return;
    this.#feed.finish(error);
    this.#leaving.abort();
    if (this.#socket) abandon(this.#socket);
    this.#say("closed", error?.message ?? "");
  }

  async #run() {
    try {
      await this.#comeBackAgainAndAgain();
      this.#finish();
    } catch (error) {
      this.#finish(error);
    }
  }

  async #comeBackAgainAndAgain() {
    let most = BACKOFF;
    let since = Date.now(); // when the server was last there
    while (!this.#feed.isOver && !this.#resume.over) {
      const end = await this.#visit();
      if (this.#feed.isOver || this.#resume.over) return;
      if (end.heard) [most, since] = [BACKOFF, Date.now()];
      await this.#check(end, since);
      if (this.#feed.full) {
        this.#say("paused");
        await this.#feed.room();
      } else {
        this.#say("waiting", end.cause);
        await pause(Math.random() * most, this.#leaving.signal);
        most = Math.min(2 * most, BACKOFF_MOST);
      }
    }
  }

  /** Throw when there is no use in coming back. */
  async #check({ code, cause, opened, token }, since) {
    if (!mayReconnect(code)) throw new PipelineError(`closed with ${code}: ${cause}`, code);
    const renewable = typeof this.#token === "function";
    const refused = opened ? null : await refusal(this.#url, token, { renewable });
    if (refused) throw refused;
    if (Date.now() - since > this.#patience) {
      throw new PipelineError(`${this.#url.host} is out of reach: ${cause}`, code);
    }
  }

  /** Be connected once; resolves with how it ended. */
  async #visit() {
    this.#say("connecting");
    let token;
    try {
      token = await nextToken(this.#token);
    } catch (error) {
      const isFinal = error instanceof PipelineError && error.code; // as who makes tokens says
      if (!this.#welcome || isFinal) throw error;
      return { code: 1006, cause: `no token: ${error.message}`, opened: true, heard: false };
    }
    return new Promise((resolve, reject) => {
      if (this.#feed.isOver) return resolve({}); // closed meanwhile
      const socket = (this.#socket = dial(this.#url, token));
      const end = { code: 1006, cause: "the connection was lost", opened: false, heard: false, token };
      let last = Date.now();
      const leave = (changes, done = () => resolve(end)) => {
        clearInterval(watchdog);
        this.#leaving.signal.removeEventListener("abort", left);
        abandon(socket);
        this.#socket = null;
        Object.assign(end, changes);
        done();
      };
      const left = () => leave({});
      this.#leaving.signal.addEventListener("abort", left);
      const watchdog = setInterval(() => {
        const owed = !end.opened || this.#resume.expectsHeartbeats;
        if (owed && Date.now() - last > this.#silence) leave({ cause: "nothing was heard" });
      }, this.#silence / 6);
      socket.onopen = () => {
        end.opened = this.#welcome = true;
        for (const command of this.#resume.commands()) socket.send(JSON.stringify(command));
        this.#say("live");
      };
      socket.onclose = ({ code, reason }) => leave({ code, cause: reason || end.cause });
      socket.onmessage = ({ data }) => {
        last = Date.now();
        end.heard = true;
        try {
          this.#take(JSON.parse(data));
        } catch (error) {
          if (error instanceof Gap) leave({ cause: error.message });
          else leave({}, () => reject(error));
          return;
        }
        if (this.#resume.over || this.#feed.full) leave({});
      };
    });
  }

  #take(event) {
    if (this.#resume.accept(event)) this.#feed.give(event);
  }
}
