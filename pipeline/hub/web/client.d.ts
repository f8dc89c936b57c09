// The types of client.js, made by scripts/generate_types.py: change them there.

// --- server → client -------------------------------------------------------------------------

/** What every event has that has a place in its session. */
export interface Envelope {
  /** from 1, without a gap */
  seq: number;
  session_id: string;
  /** grows when another process takes the session over */
  epoch: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts: string;
  from_seq?: number | null;
}

/** A session has begun: its first event. */
export interface SessionCreated extends Envelope {
  type: "session.created";
  source: string;
  stt: Engine;
  llm: Engine;
  prompts: string[];
}

/** What stands behind speech-to-text or the language model. */
export interface Engine {
  /** assemblyai, local, custom, or none */
  name: string;
  url: string;
  model?: string | null;
}

/** A session goes on with other engines or prompts. */
export interface SessionUpdated extends Envelope {
  type: "session.updated";
  stt?: Engine | null;
  llm?: Engine | null;
  prompts?: string[] | null;
}

/** A session is over: its last event. */
export interface SessionEnded extends Envelope {
  type: "session.ended";
  /** source_ended, idle, limit, client, shutdown, error */
  reason: string;
  totals: Totals;
}

/** Counted over a session, for `session.ended`. */
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
  /** how many of all the above were estimated */
  estimated_tokens: number;
  cost?: number;
  audio_seconds: number;
}

/** Speech-to-text is out of reach; audio is kept. */
export interface SttInterrupted extends Envelope {
  type: "stt.interrupted";
  cause: string;
  /** whose channel, where channels are heard apart */
  speaker?: string | null;
}

/** Speech-to-text is back. */
export interface SttResumed extends Envelope {
  type: "stt.resumed";
  /** seconds of audio sent again */
  replayed: number;
  /** seconds on the audio clock */
  lost_from?: number | null;
  lost_to?: number | null;
  /** whose channel, where channels are heard apart */
  speaker?: string | null;
}

/** Somebody has begun to speak. */
export interface SpeechStartedEvent extends Envelope {
  type: "speech.started";
  /** who, where channels are heard apart */
  speaker?: string | null;
}

/** An open turn as it reads so far; replaces what was there. */
export interface TurnUpdated extends Envelope {
  type: "turn.updated";
  turn: number;
  text: string;
  speaker?: string | null;
}

/** A turn has ended. */
export interface TurnCompleted extends Envelope {
  type: "turn.completed";
  turn: number;
  text: string;
  /** milliseconds; null for a text turn */
  end_of_turn_delay: number | null;
  speaker?: string | null;
  language?: string | null;
  words?: WordSpoken[];
  /** milliseconds on the audio clock; none without word times */
  start?: number | null;
  /** milliseconds */
  end?: number | null;
}

/** One recognised word. */
export interface WordSpoken {
  text: string;
  /** milliseconds */
  start: number;
  /** milliseconds */
  end: number;
  confidence?: number;
  speaker?: string | null;
}

/** A turn that has ended reads differently, or was somebody else's. */
export interface TurnRevisedEvent extends Envelope {
  type: "turn.revised";
  turn: number;
  text?: string | null;
  speaker?: string | null;
}

/** A model has been asked. */
export interface ResponseCreated extends Envelope {
  type: "response.created";
  response_id: string;
  prompt: string;
  turns: number[];
  model: string;
  speculative: boolean;
  supersedes?: string | null;
}

/** A piece of a response, to be put behind the others. */
export interface ResponseDelta extends Envelope {
  type: "response.output_text.delta";
  response_id: string;
  delta: string;
}

/** A whole sentence of a response, ready for speech synthesis. */
export interface ResponseSentence extends Envelope {
  type: "response.output_text.sentence";
  response_id: string;
  index: number;
  text: string;
}

/** The object of a response so far. */
export interface ResponseJsonPartial extends Envelope {
  type: "response.output_json.partial";
  response_id: string;
  value: unknown;
}

/** A response asks for a tool. */
export interface ResponseToolCall extends Envelope {
  type: "response.tool_call";
  response_id: string;
  call_id: string;
  name: string;
  arguments: unknown;
  /** a client is to carry it out and send `tool.result` */
  awaits_result?: boolean;
}

/** What the tool said. */
export interface ResponseToolResult extends Envelope {
  type: "response.tool_result";
  response_id: string;
  call_id: string;
  name: string;
  result: unknown;
}

/** The one ending of a response; no later event names it. */
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

/** What a response cost. */
export interface TokenUsage {
  input_tokens: number;
  output_tokens: number;
  estimated: boolean;
  /** USD; absent where the price is not known */
  cost?: number | null;
}

/** Milliseconds; null where the moment never came (design: section 6). */
export interface Times {
  /** end of speech → end of turn received */
  end_of_turn_delay: number | null;
  /** → request sent */
  queue: number | null;
  /** → first token received */
  time_to_first_token: number | null;
  /** request sent → first sentence whole */
  first_sentence: number | null;
  /** request sent → reply over */
  total: number | null;
  /** end of speech → first text published */
  end_to_end: number | null;
  /** what speculation saved */
  lead: number;
}

/** Which call of which model a response came from. */
export interface RequestInfo {
  id: string | null;
  model: string;
  region: string | null;
}

/** What went wrong. */
export interface ErrorDetail {
  type: string;
  message: string;
  code?: number | string | null;
  param?: string | null;
}

/** What the events between `from_seq` and `seq` add up to. */
export interface SessionResync {
  type: "session.resync";
  /** from 1; 0 only where no place was given (heartbeat) */
  seq?: number;
  session_id?: string;
  /** grows when another process takes the session over */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  state: SessionState;
  reason?: string | null;
}

/** What somebody needs who missed events: ended turns, the open one, open responses. */
export interface SessionState {
  status?: string;
  turns?: TurnCompleted[];
  /** the one that was heard last */
  open_turn?: TurnUpdated | null;
  /** all of them, where there are several */
  open_turns?: TurnUpdated[];
  responses?: Record<string, unknown>[];
}

/** The newest `seq` there is, for a subscriber to notice that it is behind. */
export interface Heartbeat {
  type: "heartbeat";
  /** from 1; 0 only where no place was given (heartbeat) */
  seq?: number;
  session_id?: string;
  /** grows when another process takes the session over */
  epoch?: number;
  /** milliseconds on the session's audio clock */
  t?: number;
  /** wall clock, ISO 8601, UTC */
  ts?: string;
  from_seq?: number | null;
  head: number;
}

/** Something was refused, or failed outside any response. */
export interface ErrorEvent {
  type: "error";
  /** from 1; 0 only where no place was given (heartbeat) */
  seq?: number;
  session_id?: string;
  /** grows when another process takes the session over */
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
  | SpeechStartedEvent
  | TurnUpdated
  | TurnCompleted
  | TurnRevisedEvent
  | ResponseCreated
  | ResponseDelta
  | ResponseSentence
  | ResponseJsonPartial
  | ResponseToolCall
  | ResponseToolResult
  | ResponseDone
  | SessionResync
  | Heartbeat
  | ErrorEvent;

// --- client → server -------------------------------------------------------------------------

/** Send me a session's events. */
export interface SubscribeCommand {
  type: "session.subscribe";
  /** or * for every session */
  session_id: string;
  after_seq?: number | null;
  /** of the last event seen, if the client kept it */
  epoch?: number | null;
  /** globs; empty is everything */
  events?: string[];
}

/** Begin a session; its audio follows. */
export interface StartCommand {
  type: "session.start";
  /** null: no audio, the turns come as text */
  audio?: AudioFormat | null;
  session_id?: string | null;
  /** names from the settings; none is all */
  prompts?: string[] | null;
  /** go on with the session of that id, also where another source feeds it */
  resume?: boolean;
  /** of a session that goes on: send the events after this one */
  after_seq?: number | null;
}

/** How the client's audio is encoded. */
export interface AudioFormat {
  encoding?: "pcm_mulaw" | "pcm_s16le";
  /** hertz, 8000 to 96000 */
  sample_rate?: number;
  channels?: number;
  /** each channel is heard by itself, and is one speaker; else mixed */
  separate?: boolean;
  /** what those are called, one name for each channel */
  speakers?: string[];
}

/** End the open turn now. */
export interface TurnCommitCommand {
  type: "turn.commit";
}

/** The audio is over; hear it out. */
export interface SessionEndCommand {
  type: "session.end";
}

/** Take this text as a turn. */
export interface TurnCreateCommand {
  type: "turn.create";
  text: string;
  speaker?: string | null;
  /** false: still being said; the next `turn.create` replaces it */
  final?: boolean;
}

/** Call a response off. */
export interface ResponseCancelCommand {
  type: "response.cancel";
  /** which one; none is the source's own, or the one followed */
  session_id?: string | null;
  /** none is every live one */
  response_id?: string | null;
}

/** Ask a prompt now. */
export interface ResponseCreateCommand {
  type: "response.create";
  /** which one; none is the source's own, or the one followed */
  session_id?: string | null;
  prompt?: string | null;
}

/** Change the session as it runs. */
export interface SessionUpdateCommand {
  type: "session.update";
  /** which one; none is the source's own, or the one followed */
  session_id?: string | null;
  stt?: Record<string, unknown>;
  vars?: Record<string, string>;
}

/** So much of a response was really heard. */
export interface PlaybackReportCommand {
  type: "playback.report";
  /** which one; none is the source's own, or the one followed */
  session_id?: string | null;
  response_id: string;
  /** what was heard so far, or */
  text?: string | null;
  /** how many characters of it */
  characters?: number | null;
}

/** The result of a tool that the client ran. */
export interface ToolResultCommand {
  type: "tool.result";
  /** which one; none is the source's own, or the one followed */
  session_id?: string | null;
  call_id: string;
  result: unknown;
}

export type ClientCommand =
  | SubscribeCommand
  | StartCommand
  | TurnCommitCommand
  | SessionEndCommand
  | TurnCreateCommand
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
