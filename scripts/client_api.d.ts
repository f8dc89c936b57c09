// --- the client ------------------------------------------------------------------------------

/** connecting, live, waiting (to reconnect), paused (the reader is behind), closed */
export type ConnectionState = "connecting" | "live" | "waiting" | "paused" | "closed";

/** Position of a reader in a session. */
export interface Place {
  seq: number;
  epoch: number;
}

export interface ConnectionOptions {
  /**
   * A token, if the server has tokens; or a function that returns one per connection, as signed
   * tokens require. An exception of it during a reconnect counts as a failed attempt, unless it
   * is a PipelineError with a code.
   */
  token?: string | (() => string | Promise<string>);
  /** Seconds of reconnect attempts; 60 unless set. */
  patience?: number;
  /** Seconds without a message, heartbeats included, until the connection counts as lost; 30. */
  silence?: number;
  /** Called with each event; without it, iterate. */
  onEvent?: (event: ServerEvent) => void;
  /** Called with each new state of the connection and its cause. */
  onState?: (state: ConnectionState, cause: string) => void;
}

export interface SubscriptionOptions extends ConnectionOptions {
  /** A session's id, or "*" for all of them, which is the default. */
  session?: string;
  /** 0: all events from the start; absent: future events only. */
  afterSeq?: number | null;
  /** Globs of event types, such as "turn.*"; empty: all events. */
  events?: string[];
  /** Where an earlier subscription to the session ended: continues after it. */
  place?: Place | null;
}

export interface SessionOptions extends ConnectionOptions {
  /** Format of the audio; null if turns are sent as text. 16 kHz 16-bit mono unless set. */
  audio?: Partial<AudioFormat> | null;
  sessionId?: string;
  /** Names of prompts from the server's settings; absent: all of them. */
  prompts?: string[];
  /** Globs of event types; "session.*" is always included. Absent: all events. */
  events?: string[];
}

/** Subscribe to one session, or all of them, at `url` (`ws://host:port`). */
export function connect(url: string | URL, options?: SubscriptionOptions): Subscription;

/** Start a session at `url`, with this client as its source. */
export function openSession(url: string | URL, options?: SessionOptions): Session;

/** Events of one session, or of all, in order; ends with the session. */
export class Subscription implements AsyncIterable<ServerEvent> {
  constructor(url: string | URL, options?: SubscriptionOptions);
  readonly state: ConnectionState;
  /** The newest position received of a session, or null. */
  place(session: string): Place | null;
  /** Send a command to a subscribed session; `session_id` is optional if it is the only one. */
  send(command: ControlCommand): void;
  /** Send the result of a tool call of `session`. */
  toolResult(session: string, callId: string, result: unknown): void;
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<ServerEvent, undefined>;
}

/**
 * A session that this client feeds. It lasts as long as its connection: if that breaks, the
 * server finishes the audio it has received, and the remaining events are still delivered.
 */
export class Session implements AsyncIterable<ServerEvent> {
  constructor(url: string | URL, options?: SessionOptions);
  /** The session's id, once it has started. */
  readonly id: string | null;
  /** Resolves with the session's id once it has started; rejects when it was refused. */
  readonly started: Promise<string>;
  /** Resolves once the session has ended; rejects when its end could not be received. */
  readonly over: Promise<void>;
  /** Bytes of audio that were not sent, because the connection is too slow. */
  readonly dropped: number;
  /** Send audio in the format of `options.audio`; returns false when it was dropped. */
  audio(data: ArrayBuffer | ArrayBufferView<ArrayBuffer>): boolean;
  /** Send `text` as a turn; with `final: false` it is a partial. */
  createTurn(text: string, options?: { speaker?: string; final?: boolean }): void;
  /** End the open turn now. */
  commitTurn(): void;
  /** Start a response of a prompt now; without a name, of every prompt. */
  createResponse(prompt?: string): void;
  /** Cancel a response; without an id, every live one. */
  cancelResponse(responseId?: string): void;
  /** Change speech-to-text parameters or the prompts' variables of the live session. */
  update(changes: { stt?: Record<string, unknown>; vars?: Record<string, string> }): void;
  /** Report the played part of a response. */
  reportPlayback(responseId: string, heard: { text?: string; characters?: number }): void;
  /** Send the result of a tool call. */
  toolResult(callId: string, result: unknown): void;
  /** End the audio: the session finishes its open turns and ends. */
  end(): void;
  /** Send a command; it is queued until the session has started. */
  send(command: Exclude<ClientCommand, SubscribeCommand | StartCommand>): void;
  /** Close the connection and stop receiving events. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<ServerEvent, undefined>;
}

/** Error of the client, with a close code or an HTTP status if there is one. */
export class PipelineError extends Error {
  constructor(message: string, code?: number | string | null);
  readonly code: number | string | null;
}

/** Whether a client closed with `code` should reconnect: 40xx yes, 44xx no. */
export function mayReconnect(code: number): boolean;
