// A client of the push protocol without dependencies: browsers, and Node 22 or newer.
//
//   import { connect, openSession } from "./client.js";
//
//   for await (const event of connect("ws://127.0.0.1:8780", { session: "s_1", afterSeq: 0 })) …
//
//   const session = openSession("ws://127.0.0.1:8780", { audio: null });
//   session.createTurn("What time is it?");
//   for await (const event of session) …
//
// A lost connection is taken up where it broke: no event is missed, none comes twice.

import { Gap, mayReconnect, PipelineError, Resume } from "./resume.js";

export { mayReconnect, PipelineError, Resume };

const BACKOFF = 250; // milliseconds before the second try, doubled up to BACKOFF_MOST
const BACKOFF_MOST = 5_000;
const PATIENCE = 60; // seconds of trying to come back
const SILENCE = 30_000; // milliseconds without even a heartbeat
const INBOX = 5_000; // events that wait for their reader; then the connection waits, too
const MOST_BUFFERED = 1 << 20; // bytes on their way to the server; more audio is dropped
const SUBPROTOCOL = "pipeline"; // offered beside the token: browsers cannot set headers
const ALWAYS = "session.*"; // of its events, what a session of ours cannot do without
const DEFAULT_AUDIO = { encoding: "pcm_s16le", sample_rate: 16_000, channels: 1 };

/** Follow one session, or all of them, at `url` (ws://host:port). */
export function connect(url, options = {}) {
  return new Subscription(url, options);
}

/** Begin a session of our own at `url`: what is said to it, and its events. */
export function openSession(url, options = {}) {
  return new Session(url, options);
}

// --- events on their way to whoever reads them -------------------------------------------------

/** Gives events to a callback, or keeps them until they are iterated over. */
class Feed {
  #onEvent;
  #waiting = []; // events that nobody has asked for yet
  #asking = []; // readers that wait for an event
  #isOver = false;
  #error = null;
  #onRoom = () => {};

  constructor(onEvent) {
    this.#onEvent = onEvent ?? null;
  }

  get full() {
    return this.#waiting.length >= INBOX;
  }

  get isOver() {
    return this.#isOver;
  }

  give(event) {
    if (this.#isOver) return;
    if (this.#onEvent) this.#onEvent(event);
    else if (this.#asking.length) this.#asking.shift().resolve({ value: event, done: false });
    else this.#waiting.push(event);
  }

  /** Nothing more will come; readers get `error` when they have read the rest. */
  finish(error = null) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#error = error;
    this.#onRoom();
    for (const reader of this.#asking.splice(0)) this.#last(reader);
  }

  #last({ resolve, reject }) {
    const error = this.#error;
    this.#error = null; // once
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }

  next() {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length) {
        resolve({ value: this.#waiting.shift(), done: false });
        if (this.#waiting.length <= INBOX / 2) this.#onRoom();
      } else if (this.#isOver) this.#last({ resolve, reject });
      else this.#asking.push({ resolve, reject });
    });
  }

  /** Returns once the reader has caught up a good deal, or wants no more. */
  async room() {
    if (!this.full || this.#isOver) return;
    await new Promise((resolve) => (this.#onRoom = resolve));
    this.#onRoom = () => {};
  }
}

// --- sockets -----------------------------------------------------------------------------------

function address(url, path) {
  const base = new URL(path, url);
  base.protocol = base.protocol.replace("http", "ws");
  return base;
}

function dial(url, token) {
  try {
    return new WebSocket(url, token ? [SUBPROTOCOL, `bearer.${token}`] : []);
  } catch (error) {
    const advice = token ? "; a token is made of letters, digits and !#$%&'*+-.^_`|~" : "";
    throw new PipelineError(`cannot dial ${url}: ${error.message}${advice}`);
  }
}

/** Let go of a socket at once: the other side need not agree. */
function abandon(socket) {
  socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
  if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
  else socket.close();
}

/**
 * Say why the server did not take a websocket, or null where it may yet: a browser does not
 * tell a page the status of a handshake that failed, so it is asked for again without one.
 */
async function refusal(url, token) {
  const plain = new URL(url);
  plain.protocol = plain.protocol.replace("ws", "http");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch(plain, { headers, cache: "no-store" });
    if (![401, 403, 404, 421].includes(answer.status)) return null;
    return new PipelineError((await answer.text()).trim(), answer.status);
  } catch {
    return null; // out of reach, or not of this origin
  }
}

/** Wait, or return early once the browser is online again. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    globalThis.addEventListener?.("online", done);
    signal.addEventListener("abort", done);
  });
}

// --- following ---------------------------------------------------------------------------------

/** The events of one session, or of all, in order; ends with the session. */
export class Subscription {
  #url;
  #token;
  #patience;
  #resume;
  #feed;
  #onState;
  #state = "connecting";
  #socket = null;
  #leaving = new AbortController();

  constructor(url, options = {}) {
    const { session = "*", afterSeq, events, place, token = "", patience = PATIENCE } = options;
    this.#url = address(url, "/v1/events");
    this.#token = token;
    this.#patience = patience * 1000;
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
  async #check({ code, cause, opened }, since) {
    if (!mayReconnect(code)) throw new PipelineError(`closed with ${code}: ${cause}`, code);
    const refused = opened ? null : await refusal(this.#url, this.#token);
    if (refused) throw refused;
    if (Date.now() - since > this.#patience) {
      throw new PipelineError(`${this.#url.host} is out of reach: ${cause}`, code);
    }
  }

  /** Be connected once; resolves with how it ended. */
  #visit() {
    return new Promise((resolve, reject) => {
      this.#say("connecting");
      const socket = (this.#socket = dial(this.#url, this.#token));
      const end = { code: 1006, cause: "the connection was lost", opened: false, heard: false };
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
        if (owed && Date.now() - last > SILENCE) leave({ cause: "nothing was heard" });
      }, SILENCE / 6);
      socket.onopen = () => {
        end.opened = true;
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

// --- a session of our own ----------------------------------------------------------------------

/**
 * A session that we feed. It lives as long as its connection: should that break, the server
 * hears out what was said, and the rest of the events is followed to the end.
 */
export class Session {
  #url;
  #options;
  #events;
  #socket;
  #resume = null; // once there is a session
  #feed;
  #subscription = null;
  #started = Promise.withResolvers();
  #over = Promise.withResolvers();
  #unsent = []; // said before the server had the session
  #refusal = null;

  constructor(url, options = {}) {
    const { audio = DEFAULT_AUDIO, sessionId, prompts, token = "" } = options;
    this.#events = options.events?.length ? [ALWAYS, ...options.events] : [];
    this.#url = url;
    this.#options = options;
    this.#feed = new Feed(options.onEvent);
    this.#started.promise.catch(() => {}); // whoever iterates is told as well
    this.#over.promise.catch(() => {});
    /** The session's id, once it has begun. */
    this.id = null;
    /** Bytes of audio that were not sent, because the connection is too slow. */
    this.dropped = 0;
    const start = { type: "session.start", audio };
    if (sessionId) start.session_id = sessionId;
    if (prompts) start.prompts = prompts;
    const source = address(url, "/v1/ingest/raw");
    if (this.#events.length) source.searchParams.set("events", this.#events.join());
    const socket = (this.#socket = dial(source, token));
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify(start));
    };
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = (end) => this.#closed(end, opened);
  }

  /** Resolves with the session's id once it has begun; rejects when it was refused. */
  get started() {
    return this.#started.promise;
  }

  /** Resolves once the session is over; rejects when its end could not be heard. */
  get over() {
    return this.#over.promise;
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

  // --- what can be said to it ---

  /** Send audio in the format that was announced; returns false when it had to be dropped. */
  audio(data) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.id === null || this.#socket.bufferedAmount > MOST_BUFFERED) {
      this.dropped += data.byteLength;
      return false;
    }
    this.#socket.send(data);
    return true;
  }

  /** Take `text` as a turn; with `final: false` it is still being said. */
  createTurn(text, { speaker, final } = {}) {
    this.send({ type: "turn.create", text, speaker, final });
  }

  /** End the open turn now. */
  commitTurn() {
    this.send({ type: "turn.commit" });
  }

  /** Ask a prompt now; every prompt without a name. */
  createResponse(prompt) {
    this.send({ type: "response.create", prompt });
  }

  /** Call a response off; every live one without an id. */
  cancelResponse(responseId) {
    this.send({ type: "response.cancel", response_id: responseId });
  }

  /** Change `stt` parameters or the prompts' `vars` as the session runs. */
  update({ stt, vars }) {
    this.send({ type: "session.update", stt, vars });
  }

  /** Say how much of a response was really heard: its `text`, or how many `characters`. */
  reportPlayback(responseId, { text, characters }) {
    this.send({ type: "playback.report", response_id: responseId, text, characters });
  }

  /** Return the result of a tool that was called. */
  toolResult(callId, result) {
    this.send({ type: "tool.result", call_id: callId, result });
  }

  /** No more audio comes: the session is heard out, and ends. */
  end() {
    this.send({ type: "session.end" });
  }

  /** Send a command; one that is sent before the session has begun waits for that. */
  send(command) {
    const text = JSON.stringify(command);
    if (this.id === null) this.#unsent.push(text);
    else if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
    else throw new PipelineError(`the connection of session ${this.id} is gone`);
  }

  /** Hang up, and listen no more. */
  close() {
    abandon(this.#socket);
    this.#subscription?.close();
    this.#finish();
  }

  // --- what it says ---

  #take(event) {
    if (event.type === "error" && !event.seq) {
      if (this.id === null) this.#refusal = event.error;
      else this.#feed.give(event); // of a command: the session goes on
      return;
    }
    if (this.#subscription) return; // which brings them all
    this.#resume ??= new Resume(event.session_id, { events: this.#events });
    try {
      if (!this.#resume.accept(event)) return;
    } catch (error) {
      if (error instanceof Gap) return this.#followToTheEnd();
      throw error;
    }
    if (event.type === "session.created") this.#begin(event.session_id);
    this.#feed.give(event);
    if (this.#feed.full) this.#followToTheEnd(); // it waits for its reader; this socket cannot
  }

  #begin(id) {
    this.id = id;
    this.#started.resolve(id);
    for (const text of this.#unsent.splice(0)) this.#socket.send(text);
  }

  async #closed({ code, reason }, opened) {
    if (this.#resume?.over) return this.#finish();
    if (this.id !== null) return this.#followToTheEnd();
    const { token } = this.#options;
    const refused = opened ? null : await refusal(address(this.#url, "/v1/ingest/raw"), token);
    const said = this.#refusal?.message ?? (reason || "the connection was lost");
    this.#finish(refused ?? new PipelineError(said, this.#refusal?.code ?? code));
  }

  async #followToTheEnd() {
    if (this.#subscription) return;
    const { token, patience, onState } = this.#options;
    this.#subscription = new Subscription(this.#url, {
      session: this.id, place: this.#resume.place(this.id), events: this.#events,
      token, patience, onState,
    });
    try {
      for await (const event of this.#subscription) {
        await this.#feed.room();
        this.#feed.give(event);
      }
      this.#finish();
    } catch (error) {
      this.#finish(error);
    }
  }

  #finish(error = null) {
    if (this.id === null) this.#started.reject(error ?? new PipelineError("closed"));
    if (error) this.#over.reject(error);
    else this.#over.resolve();
    this.#feed.finish(error);
  }
}
