// A session of our own: what is said to it, and its events.

import { Feed } from "./feed.js";
import { Gap, PipelineError, Resume } from "./resume.js";
import { abandon, address, dial, nextToken, refusal } from "./socket.js";
import { Subscription } from "./subscription.js";

const MOST_BUFFERED = 1 << 20; // bytes on their way to the server; more audio is dropped
const ALWAYS = "session.*"; // of its events, what a session of ours cannot do without
const DEFAULT_AUDIO = { encoding: "pcm_s16le", sample_rate: 16_000, channels: 1 };

/**
 * A session that we feed. It lives as long as its connection: should that break, the server
 * hears out what was said, and the rest of the events is followed to the end.
 */
export class Session {
  #url;
  #options;
  #events;
  #socket = null; // until there is a token
  #closed = false;
  #resume = null; // once there is a session
  #feed;
  #subscription = null;
  #started = Promise.withResolvers();
  #over = Promise.withResolvers();
  #unsent = []; // said before the server had the session
  #refusal = null;

  constructor(url, options = {}) {
    const { audio = DEFAULT_AUDIO, sessionId, prompts } = options;
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
    this.#dial(start);
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
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
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
    this.#closed = true;
    if (this.#socket) abandon(this.#socket);
    this.#subscription?.close();
    this.#finish();
  }

  async #dial(start) {
    const source = address(this.#url, "/v1/ingest/raw");
    if (this.#events.length) source.searchParams.set("events", this.#events.join());
    let token;
    try {
      token = await nextToken(this.#options.token ?? "");
      if (this.#closed) return;
      this.#socket = dial(source, token);
    } catch (error) {
      return this.#finish(error);
    }
    const socket = this.#socket;
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify(start));
    };
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onclose = (end) => this.#hungUp(end, opened, token);
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

  async #hungUp({ code, reason }, opened, token) {
    if (this.#resume?.over) return this.#finish();
    if (this.id !== null) return this.#followToTheEnd();
    const refused = opened ? null : await refusal(address(this.#url, "/v1/ingest/raw"), token);
    const said = this.#refusal?.message ?? (reason || "the connection was lost");
    this.#finish(refused ?? new PipelineError(said, this.#refusal?.code ?? code));
  }

  async #followToTheEnd() {
    if (this.#subscription) return;
    const { token, patience, silence, onState } = this.#options;
    this.#subscription = new Subscription(this.#url, {
      session: this.id,
      place: this.#resume.place(this.id),
      events: this.#events,
      token,
      patience,
      silence,
      onState,
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
