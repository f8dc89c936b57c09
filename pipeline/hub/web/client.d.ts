// The types of client.js, made by scripts/generate_types.py: change them there.

// --- server → client -------------------------------------------------------------------------

/** What every event has that has a place in its session. */
export interface Envelope {
  /** from 1, without a gap */
  seq: number;
  session_id: string;
  /** names the history; greater when another process continues it */
  epoch: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts: string;
  from_seq?: number | null;
}

/** Start of a session; its first event. */
export interface SessionCreated extends Envelope {
  type: "session.created";
  source: string;
  stt: Engine;
  llm: Engine;
  prompts: string[];
}

/** Engine of speech-to-text or of the language model. */
export interface Engine {
  /** assemblyai, local, custom, or none */
  name: string;
  url: string;
  model?: string | null;
}

/** Change of a session's engines or prompts. */
export interface SessionUpdated extends Envelope {
  type: "session.updated";
  stt?: Engine | null;
  llm?: Engine | null;
  prompts?: string[] | null;
}

/** End of a session; its last event. */
export interface SessionEnded extends Envelope {
  type: "session.ended";
  /** source_ended, idle, limit (also one that stopped requests), shutdown, error */
  reason: string;
  totals: Totals;
}

/** Totals of a session, for `session.ended`. */
export interface Totals {
  turns: number;
  responses: number;
  completed: number;
  cancelled: number;
  incomplete: number;
  failed: number;
  /** calls started before the end of their turn */
  speculative: number;
  adopted: number;
  discarded: number;
  input_tokens: number;
  output_tokens: number;
  /** output tokens of cancelled and discarded calls */
  wasted_tokens: number;
  /** the part of the counts above that is estimated */
  estimated_tokens: number;
  cost?: number;
  audio_seconds: number;
}

/** Loss of the connection to speech-to-text; audio is buffered. */
export interface SttInterrupted extends Envelope {
  type: "stt.interrupted";
  cause: string;
  /** the one that was lost, as in the settings */
  engine?: string | null;
  /** of the channel, if channels are transcribed separately */
  speaker?: string | null;
}

/** Reconnection to speech-to-text, perhaps with another engine. */
export interface SttResumed extends Envelope {
  type: "stt.resumed";
  /** seconds of audio sent again */
  replayed: number;
  /** the one that goes on, as in the settings */
  engine?: string | null;
  /** seconds on the audio clock */
  lost_from?: number | null;
  lost_to?: number | null;
  /** of the channel, if channels are transcribed separately */
  speaker?: string | null;
}

/** Loss of the source's connection; the session waits for its return. */
export interface SourceInterrupted extends Envelope {
  type: "source.interrupted";
}

/** Return of the source. The audio clock has not advanced without it. */
export interface SourceResumed extends Envelope {
  type: "source.resumed";
  /** seconds without a source; what it has not sent since is lost */
  away: number;
}

/** Keys that the caller pressed, as they came. */
export interface Dtmf extends Envelope {
  type: "dtmf";
  digits: string;
}

/** Start of speech. */
export interface SpeechStartedEvent extends Envelope {
  type: "speech.started";
  /** if channels are transcribed separately */
  speaker?: string | null;
}

/** Partial text of an open turn; replaces the previous partial. */
export interface TurnUpdated extends Envelope {
  type: "turn.updated";
  turn: number;
  text: string;
  speaker?: string | null;
}

/** End of a turn, with its final text. */
export interface TurnCompleted extends Envelope {
  type: "turn.completed";
  turn: number;
  text: string;
  /** milliseconds; null for a text turn */
  end_of_turn_delay: number | null;
  speaker?: string | null;
  language?: string | null;
  words?: WordSpoken[];
  /** milliseconds on the audio clock; null without word times */
  start?: number | null;
  /** milliseconds */
  end?: number | null;
}

/** Recognised word. */
export interface WordSpoken {
  text: string;
  /** milliseconds */
  start: number;
  /** milliseconds */
  end: number;
  confidence?: number;
  speaker?: string | null;
}

/** Correction of an ended turn's text or speaker. */
export interface TurnRevisedEvent extends Envelope {
  type: "turn.revised";
  turn: number;
  text?: string | null;
  speaker?: string | null;
}

/** Wait of turns for quota; a response to them follows, or a failed one. */
export interface ResponseWaiting extends Envelope {
  type: "response.waiting";
  prompt: string;
  turns: number[];
  /** quota: the model's server, or `requests_per_minute`, allows no request now */
  reason: string;
  /** expected end of the wait: wall clock, ISO 8601 */
  until?: string | null;
}

/** Turns that a prompt does not answer: they met a response that was generated or played. */
export interface ResponseSkipped extends Envelope {
  type: "response.skipped";
  prompt: string;
  turns: number[];
  reason: "back_channel" | "limit_reached" | "too_short";
}

/** Start of a response: its request was sent to the model. */
export interface ResponseCreated extends Envelope {
  type: "response.created";
  response_id: string;
  prompt: string;
  turns: number[];
  model: string;
  speculative: boolean;
  supersedes?: string | null;
  /** of the `response.create` that requested it */
  client_id?: string | null;
}

/** Piece of a response's text, to append to the previous pieces. */
export interface ResponseDelta extends Envelope {
  type: "response.output_text.delta";
  response_id: string;
  delta: string;
}

/** Complete sentence of a response, ready for speech synthesis. */
export interface ResponseSentence extends Envelope {
  type: "response.output_text.sentence";
  response_id: string;
  index: number;
  text: string;
  start?: number;
  /** one past its last character */
  end?: number;
}

/** JSON object of a response so far. */
export interface ResponseJsonPartial extends Envelope {
  type: "response.output_json.partial";
  response_id: string;
  value: unknown;
}

/** Tool call of a response. */
export interface ResponseToolCall extends Envelope {
  type: "response.tool_call";
  response_id: string;
  call_id: string;
  name: string;
  arguments: unknown;
  /** a client must run the tool and send `tool.result` */
  awaits_result?: boolean;
}

/** Result of a tool call. */
export interface ResponseToolResult extends Envelope {
  type: "response.tool_result";
  response_id: string;
  call_id: string;
  name: string;
  result: unknown;
}

/** End of a response, exactly one per response; only `response.played` may follow. */
export interface ResponseDone extends Envelope {
  type: "response.done";
  response_id: string;
  status: "cancelled" | "completed" | "failed" | "incomplete";
  text: string;
  usage: TokenUsage;
  times: Times;
  request: RequestInfo;
  reason?: string | null;
  superseded_by?: string | null;
  json?: unknown;
  error?: ErrorDetail | null;
}

/** Tokens and cost of a response. */
export interface TokenUsage {
  input_tokens: number;
  output_tokens: number;
  estimated: boolean;
  /** USD; absent if the price is not known */
  cost?: number | null;
}

/** Durations in milliseconds; null if the measured moment did not occur. */
export interface Times {
  /** end of speech → end of turn received */
  end_of_turn_delay: number | null;
  /** → request sent */
  queue: number | null;
  /** → first token received */
  time_to_first_token: number | null;
  /** request sent → first sentence complete */
  first_sentence: number | null;
  /** request sent → end of the reply */
  total: number | null;
  /** end of speech → first text published */
  end_to_end: number | null;
  /** time saved by speculation */
  lead: number;
}

/** Language model call that produced a response. */
export interface RequestInfo {
  id: string | null;
  model: string;
  region: string | null;
}

/** Description of an error. */
export interface ErrorDetail {
  type: string;
  message: string;
  code?: number | string | null;
  param?: string | null;
}

/** Part of a response that the caller heard, by the latest `playback.report`. */
export interface ResponsePlayed extends Envelope {
  type: "response.played";
  response_id: string;
  /** the beginning of the response's text */
  text: string;
  /** its length in code points */
  characters: number;
  /** there was more, or would have been */
  interrupted: boolean;
}

/** Snapshot that replaces the events from `from_seq` to `seq`. */
export interface SessionResync {
  type: "session.resync";
  /** from 1; 0 only in events without a number of their own (heartbeat) */
  seq?: number;
  session_id?: string;
  /** names the history; greater when another process continues it */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  state: SessionState;
  reason?: string | null;
}

/** Snapshot of a session for a subscriber that missed events: turns and open responses. */
export interface SessionState {
  status?: string;
  turns?: TurnCompleted[];
  /** the one updated last */
  open_turn?: TurnUpdated | null;
  /** all of them, if there are several */
  open_turns?: TurnUpdated[];
  responses?: Record<string, unknown>[];
}

/** Newest `seq` of a session, so that a subscriber detects missing events. */
export interface Heartbeat {
  type: "heartbeat";
  /** from 1; 0 only in events without a number of their own (heartbeat) */
  seq?: number;
  session_id?: string;
  /** names the history; greater when another process continues it */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  head: number;
}

/** Audio received so far, sent to the source only, at most once a second. */
export interface AudioAck {
  type: "audio.ack";
  /** from 1; 0 only in events without a number of their own (heartbeat) */
  seq?: number;
  session_id?: string;
  /** names the history; greater when another process continues it */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  /** milliseconds of the source's audio; later audio may have been lost */
  position: number;
}

/** Refused command, or failure outside any response. */
export interface ErrorEvent {
  type: "error";
  /** from 1; 0 only in events without a number of their own (heartbeat) */
  seq?: number;
  session_id?: string;
  /** names the history; greater when another process continues it */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  error: ErrorDetail;
}

export type ServerEvent =
  | SessionCreated
  | SessionUpdated
  | SessionEnded
  | SttInterrupted
  | SttResumed
  | SourceInterrupted
  | SourceResumed
  | Dtmf
  | SpeechStartedEvent
  | TurnUpdated
  | TurnCompleted
  | TurnRevisedEvent
  | ResponseWaiting
  | ResponseSkipped
  | ResponseCreated
  | ResponseDelta
  | ResponseSentence
  | ResponseJsonPartial
  | ResponseToolCall
  | ResponseToolResult
  | ResponseDone
  | ResponsePlayed
  | SessionResync
  | Heartbeat
  | AudioAck
  | ErrorEvent;

// --- client → server -------------------------------------------------------------------------

/** Subscribes to a session's events. */
export interface SubscribeCommand {
  type: "session.subscribe";
  /** or * for every session */
  session_id: string;
  after_seq?: number | null;
  /** of the last event received, if the client kept it */
  epoch?: number | null;
  /** globs of event types; empty: all events */
  events?: string[];
}

/** Starts a session; its audio follows. */
export interface StartCommand {
  type: "session.start";
  /** null: no audio, turns are sent as text */
  audio?: AudioFormat | null;
  session_id?: string | null;
  /** names from the settings; null: all prompts */
  prompts?: string[] | null;
  /** continue the session of that id, even if another source feeds it */
  resume?: boolean;
  /** of a continued session: send the events after this one */
  after_seq?: number | null;
  /** of the last event received, if the client kept it */
  epoch?: number | null;
}

/** Encoding of the client's audio. */
export interface AudioFormat {
  encoding?: "pcm_mulaw" | "pcm_s16le";
  /** hertz, 8000 to 96000 */
  sample_rate?: number;
  channels?: number;
  /** transcribe each channel separately, as one speaker; else mix them */
  separate?: boolean;
  /** names of those speakers, one per channel */
  speakers?: string[];
}

/** Ends the open turn now. */
export interface TurnCommitCommand {
  type: "turn.commit";
}

/** Ends the audio; the session finishes its open turns and ends. */
export interface SessionEndCommand {
  type: "session.end";
  client_id?: string | null;
}

/** Adds a turn as text. */
export interface TurnCreateCommand {
  type: "turn.create";
  text: string;
  speaker?: string | null;
  language?: string | null;
  /** false: a partial; the next `turn.create` replaces it */
  final?: boolean;
  client_id?: string | null;
}

/** Adds keys that the caller pressed; they become a turn, as the settings `dtmf` say. */
export interface DtmfCommand {
  type: "dtmf.create";
  digits: string;
  client_id?: string | null;
}

/** Cancels a response. */
export interface ResponseCancelCommand {
  type: "response.cancel";
  /** null: the source's own session, or the one subscribed to */
  session_id?: string | null;
  /** null: every live response */
  response_id?: string | null;
}

/** Starts a response of a prompt now. */
export interface ResponseCreateCommand {
  type: "response.create";
  /** null: the source's own session, or the one subscribed to */
  session_id?: string | null;
  prompt?: string | null;
  /** also in the `response.created` that it leads to */
  client_id?: string | null;
}

/** Changes settings of a live session. */
export interface SessionUpdateCommand {
  type: "session.update";
  /** null: the source's own session, or the one subscribed to */
  session_id?: string | null;
  stt?: Record<string, unknown>;
  vars?: Record<string, string>;
}

/** Reports the part of a response that was played to the caller. */
export interface PlaybackReportCommand {
  type: "playback.report";
  /** null: the source's own session, or the one subscribed to */
  session_id?: string | null;
  response_id: string;
  text?: string | null;
  /** or the number of characters played, in code points */
  characters?: number | null;
  /** or the milliseconds played */
  duration?: number | null;
}

/** Returns the result of a tool that the client ran. */
export interface ToolResultCommand {
  type: "tool.result";
  /** null: the source's own session, or the one subscribed to */
  session_id?: string | null;
  call_id: string;
  result: unknown;
  client_id?: string | null;
}

export type ClientCommand =
  | SubscribeCommand
  | StartCommand
  | TurnCommitCommand
  | SessionEndCommand
  | TurnCreateCommand
  | DtmfCommand
  | ResponseCancelCommand
  | ResponseCreateCommand
  | SessionUpdateCommand
  | PlaybackReportCommand
  | ToolResultCommand;

export type ControlCommand =
  | ResponseCancelCommand
  | ResponseCreateCommand
  | SessionUpdateCommand
  | PlaybackReportCommand
  | ToolResultCommand;

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
