// Session with this client as its source: commands and audio out, events in.

import { Feed } from "./feed.js";
import { Gap, PipelineError, Resume } from "./resume.js";
import { abandon, address, dial, nextToken, refusal } from "./socket.js";
import { Subscription } from "./subscription.js";

const MAX_BUFFERED = 1 << 20; // bytes in the send buffer; more audio is dropped
const REQUIRED_EVENTS = "session.*"; // events that a session needs to work
const DEFAULT_AUDIO = { encoding: "pcm_s16le", sample_rate: 16_000, channels: 1 };

/**
 * A session that this client feeds. It lasts as long as its connection: if that breaks, the
 * server finishes the audio it has received, and the remaining events are still delivered.
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
  #unsent = []; // commands sent before the session has started
  #refusal = null;

  constructor(url, options = {}) {
    const { audio = DEFAULT_AUDIO, sessionId, prompts } = options;
    this.#events = options.events?.length ? [REQUIRED_EVENTS, ...options.events] : [];
    this.#url = url;
    this.#options = options;
    this.#feed = new Feed(options.onEvent);
    this.#started.promise.catch(() => {}); // iteration reports the error as well
    this.#over.promise.catch(() => {});
    /** The session's id, once it has started. */
    this.id = null;
    /** Bytes of audio that were not sent, because the connection is too slow. */
    this.dropped = 0;
    const start = { type: "session.start", audio };
    if (sessionId) start.session_id = sessionId;
    if (prompts) start.prompts = prompts;
    this.#dial(start);
  }

  /** Resolves with the session's id once it has started; rejects when it was refused. */
  get started() {
    return this.#started.promise;
  }

  /** Resolves once the session has ended; rejects when its end could not be received. */
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

  // --- commands ---

  /** Send audio in the format of `options.audio`; returns false when it was dropped. */
  audio(data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    if (this.id === null || this.#socket.bufferedAmount > MAX_BUFFERED) {
      this.dropped += data.byteLength;
      return false;
    }
    this.#socket.send(data);
    return true;
  }

  /** Send `text` as a turn; with `final: false` it is a partial. */
  createTurn(text, { speaker, final } = {}) {
    this.send({ type: "turn.create", text, speaker, final });
  }

  /** End the open turn now. */
  commitTurn() {
    this.send({ type: "turn.commit" });
  }

  /** Start a response of a prompt now; without a name, of every prompt. */
  createResponse(prompt) {
    this.send({ type: "response.create", prompt });
  }

  /** Cancel a response; without an id, every live one. */
  cancelResponse(responseId) {
    this.send({ type: "response.cancel", response_id: responseId });
  }

  /** Change `stt` parameters or the prompts' `vars` of the live session. */
  update({ stt, vars }) {
    this.send({ type: "session.update", stt, vars });
  }

  /** Report the played part of a response: its `text`, or the number of `characters`. */
  reportPlayback(responseId, { text, characters }) {
    this.send({ type: "playback.report", response_id: responseId, text, characters });
  }

  /** Send the result of a tool call. */
  toolResult(callId, result) {
    this.send({ type: "tool.result", call_id: callId, result });
  }

  /** End the audio: the session finishes its open turns and ends. */
  end() {
    this.send({ type: "session.end" });
  }

  /** Send a command; it is queued until the session has started. */
  send(command) {
    const text = JSON.stringify(command);
    if (this.id === null) this.#unsent.push(text);
    else if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
    else throw new PipelineError(`the connection of session ${this.id} is gone`);
  }

  /** Close the connection and stop receiving events. */
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
    socket.onclose = (end) => this.#onClosed(end, opened, token);
  }

  // --- events ---

  #take(event) {
    if (event.type === "error" && !event.seq) {
      if (this.id === null) this.#refusal = event.error;
      else this.#feed.push(event); // refers to a command: the session continues
      return;
    }
    if (event.type === "audio.ack") return; // a page does not keep what it has sent
    if (this.#subscription) return; // which delivers all events
    this.#resume ??= new Resume(event.session_id, { events: this.#events });
    try {
      if (!this.#resume.accept(event)) return;
    } catch (error) {
      if (error instanceof Gap) return this.#followUntilEnd();
      throw error;
    }
    if (event.type === "session.created") this.#begin(event.session_id);
    this.#feed.push(event);
    // A subscription can pause for its reader; this socket cannot.
    if (this.#feed.full) this.#followUntilEnd();
  }

  #begin(id) {
    this.id = id;
    this.#started.resolve(id);
    for (const text of this.#unsent.splice(0)) this.#socket.send(text);
  }

  async #onClosed({ code, reason }, opened, token) {
    if (this.#resume?.over) return this.#finish();
    if (this.id !== null) return this.#followUntilEnd();
    const refused = opened ? null : await refusal(address(this.#url, "/v1/ingest/raw"), token);
    const message = this.#refusal?.message ?? (reason || "the connection was lost");
    this.#finish(refused ?? new PipelineError(message, this.#refusal?.code ?? code));
  }

  async #followUntilEnd() {
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
        this.#feed.push(event);
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
