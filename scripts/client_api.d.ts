// --- the client ------------------------------------------------------------------------------

/** connecting, live, waiting (to try again), paused (nobody reads), closed */
export type ConnectionState = "connecting" | "live" | "waiting" | "paused" | "closed";

/** Where a reader stands in a session. */
export interface Place {
  seq: number;
  epoch: number;
}

export interface ConnectionOptions {
  /**
   * A token, where the server has tokens; or a function that gets one for each connection, as
   * signed ones ask for. What it throws while coming back is a failed try, unless it is a
   * PipelineError with a code.
   */
  token?: string | (() => string | Promise<string>);
  /** Seconds of trying to come back; 60 unless set. */
  patience?: number;
  /** Seconds without a word of the server, heartbeats included, until it is taken for lost; 30. */
  silence?: number;
  /** Takes the events; without it, iterate. */
  onEvent?: (event: ServerEvent) => void;
  /** Is told how the connection fares, and why. */
  onState?: (state: ConnectionState, cause: string) => void;
}

export interface SubscriptionOptions extends ConnectionOptions {
  /** A session's id, or "*" for all of them, which is the default. */
  session?: string;
  /** 0 is everything from the start; absent: from now on. */
  afterSeq?: number | null;
  /** Globs of event types, such as "turn.*"; empty is everything. */
  events?: string[];
  /** Where an earlier subscription to the one session ended: begins behind it. */
  place?: Place | null;
}

export interface SessionOptions extends ConnectionOptions {
  /** What will be sent; null where turns come as text. 16 kHz 16-bit mono unless set. */
  audio?: Partial<AudioFormat> | null;
  sessionId?: string;
  /** Names of prompts from the server's settings; absent: all of them. */
  prompts?: string[];
  /** Globs of the event types wanted; "session.*" always come. Absent: everything. */
  events?: string[];
}

/** Follow one session, or all of them, at `url` (`ws://host:port`). */
export function connect(url: string | URL, options?: SubscriptionOptions): Subscription;

/** Begin a session of our own at `url`: what is said to it, and its events. */
export function openSession(url: string | URL, options?: SessionOptions): Session;

/** The events of one session, or of all, in order; ends with the session. */
export class Subscription implements AsyncIterable<ServerEvent> {
  constructor(url: string | URL, options?: SubscriptionOptions);
  readonly state: ConnectionState;
  /** The newest place that was received of a session, or null. */
  place(session: string): Place | null;
  /** Steer a session that is followed; its `session_id` may be left out where it is the only one. */
  send(command: ControlCommand): void;
  /** Return the result of a tool that was called in `session`. */
  toolResult(session: string, callId: string, result: unknown): void;
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<ServerEvent, undefined>;
}

/**
 * A session that we feed. It lives as long as its connection: should that break, the server
 * hears out what was said, and the rest of the events is followed to the end.
 */
export class Session implements AsyncIterable<ServerEvent> {
  constructor(url: string | URL, options?: SessionOptions);
  /** The session's id, once it has begun. */
  readonly id: string | null;
  /** Resolves with the session's id once it has begun; rejects when it was refused. */
  readonly started: Promise<string>;
  /** Resolves once the session is over; rejects when its end could not be heard. */
  readonly over: Promise<void>;
  /** Bytes of audio that were not sent, because the connection is too slow. */
  readonly dropped: number;
  /** Send audio in the format that was announced; returns false when it had to be dropped. */
  audio(data: ArrayBuffer | ArrayBufferView<ArrayBuffer>): boolean;
  /** Take `text` as a turn; with `final: false` it is still being said. */
  createTurn(text: string, options?: { speaker?: string; final?: boolean }): void;
  /** End the open turn now. */
  commitTurn(): void;
  /** Ask a prompt now; every prompt without a name. */
  createResponse(prompt?: string): void;
  /** Call a response off; every live one without an id. */
  cancelResponse(responseId?: string): void;
  /** Change speech-to-text parameters or the prompts' variables as the session runs. */
  update(changes: { stt?: Record<string, unknown>; vars?: Record<string, string> }): void;
  /** Say how much of a response was really heard. */
  reportPlayback(responseId: string, heard: { text?: string; characters?: number }): void;
  /** Return the result of a tool that was called. */
  toolResult(callId: string, result: unknown): void;
  /** No more audio comes: the session is heard out, and ends. */
  end(): void;
  /** Send a command; one that is sent before the session has begun waits for that. */
  send(command: Exclude<ClientCommand, SubscribeCommand | StartCommand>): void;
  /** Hang up, and listen no more. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<ServerEvent, undefined>;
}

/** What went wrong, with a close code or an HTTP status where there is one. */
export class PipelineError extends Error {
  constructor(message: string, code?: number | string | null);
  readonly code: number | string | null;
}

/** Whether a client closed with `code` should come back: 40xx yes, 44xx no. */
export function mayReconnect(code: number): boolean;
