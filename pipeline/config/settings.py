"""Settings schema: frozen values of pipeline.toml, environment and flags. Pure."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Policy = Literal["supersede", "queue", "parallel", "conflate"]
Interrupt = Literal["speech", "words", "turn", "never"]
JsonRequest = Literal["auto", "json_schema", "json_object", "tool", "prompt"]
Scope = Literal["ingest", "subscribe", "control", "complete"]

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Usd = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]  #: 0 is any free one
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Utterance = Annotated[str, Meta(min_length=1, max_length=60)]
SttEngine = Annotated[
    str,
    Meta(
        pattern=r"^(auto|assemblyai(/us|/eu)?|local|wss?://.+)$",
        description="auto, assemblyai, assemblyai/us, assemblyai/eu, local, or a ws:// or wss://"
        " address",
    ),
]
NamedSttEngine = Annotated[
    str,
    Meta(
        pattern=r"^(assemblyai(/us|/eu)?|local|wss?://.+)$",
        description="assemblyai, assemblyai/us, assemblyai/eu, local, or a ws:// or wss:// address",
    ),
]
LlmEngine = Annotated[
    str,
    Meta(
        pattern=r"^(auto|assemblyai|in-stream|local|https?://.+)$",
        description="auto, assemblyai, in-stream, local, or an http:// or https:// base address",
    ),
]
TranscriptId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{0,100}$",
        description="a transcript's id: letters, digits, - and _",
    ),
]
WebAddress = Annotated[
    str,
    Meta(pattern=r"^(https?://.+|)$", description="an http:// or https:// address, or empty"),
]
#: as browsers send it: without a path, and without the default port of its scheme
Origin = Annotated[
    str,
    Meta(pattern=r"^https?://[^/\s]+$", description="https://NAME, without a path"),
]
HostName = Annotated[
    str, Meta(pattern=r"^[^/:\s]+$", description="a host name, without scheme and port")
]
#: where a key is stored
SecretSource = Annotated[
    str,
    Meta(
        pattern=r"^(env:.+|file:.+|)$",
        description="env:NAME, file:PATH, or empty for none; never the key itself",
        extra={"secret": True},
    ),
]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of pipeline.toml; unknown names are refused."""


class Example(Section, frozen=True, kw_only=True):
    """One example exchange, sent before the conversation."""

    user: str
    assistant: str


class Prompt(Section, frozen=True, kw_only=True):
    """A named LLM configuration: messages template, model, policy, output."""

    system: str = ""
    user: str = "{{turn}}"  #: the template of the message that carries a turn
    examples: tuple[Example, ...] = ()
    vars: dict[str, str] = field(default_factory=dict[str, str])
    model: str = ""  #: empty: the LLM engine's default
    siblings: tuple[str, ...] = ()  #: models to use instead while quota or capacity is short
    max_tokens: Positive = 200
    temperature: Temperature | None = None
    stream: bool = True
    # Fields of the request body, by AssemblyAI's names; empty ones are not sent.
    top_p: Share | None = None
    stop: tuple[str, ...] = ()
    reasoning: dict[str, Any] = field(default_factory=dict[str, Any])
    cache_control: dict[str, Any] = field(default_factory=dict[str, Any])
    model_region: Literal["", "global"] = ""  #: global: processed in any region, at a lower price
    post_processing_steps: tuple[dict[str, Any], ...] = ()
    fallbacks: tuple[
        dict[str, Any], ...
    ] = ()  #: on the server: a model, and the parameters that change with it
    fallback_config: dict[str, Any] = field(default_factory=dict[str, Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])  #: passed through in the body
    omit: tuple[str, ...] = ()  #: fields that are not sent, unless extra sets them
    #: a stored transcript, which AssemblyAI's gateway inserts in place of {{ transcript }}
    transcript_id: TranscriptId = ""

    #: names in the tools table, or module:function, or mcp:SERVER[/TOOL]
    tools: tuple[str, ...] = ()
    tool_choice: str = "auto"  #: auto, none, required, or the name of the tool to call first
    tool_steps: Positive = 5  #: rounds of tool calls in one response
    tool_parallel: Positive = 4  #: concurrent calls of one response

    output: Literal["text", "json"] = "text"
    json_schema: dict[str, Any] = field(default_factory=dict[str, Any])  #: for output = "json"
    json_partials: bool = False  #: push response.output_json.partial while the reply streams
    #: further requests after a reply that does not match the schema; an invalid value already
    #: pushed by json_partials stays invalid
    reasks: Count = 1

    policy: Policy = "supersede"
    parallel: Positive = 4  #: concurrent responses at most, with policy parallel
    every_turns: Positive = 1  #: respond every n ended turns
    after_silence: Seconds = 0.0  #: seconds without speech before responding; 0 is at once
    at_end: bool = False  #: respond once, when the session ends
    min_words: Count = 0  #: a shorter turn starts no response
    speaker: str = ""  #: only this speaker's turns start a response
    keyword: str = ""  #: only turns with this word or phrase start a response

    speculate: bool = False  #: start a response at a pause, before the turn has ended
    interrupt: Interrupt = "turn"  #: when speech cancels a running response
    interrupt_words: Positive = 3  #: number of words, with interrupt = "words"
    #: utterances that neither interrupt nor start a response while one is generated or played;
    #: default: the built-in ones of every language. With policy supersede
    back_channels: tuple[Utterance, ...] = ("default",)
    interrupted_mark: str = (
        " [interrupted]"  #: appended to the published text of a cancelled response
    )
    history: Count = 20  #: earlier exchanges in each request; 0 is none
    sentences: bool = False  #: push response.output_text.sentence

    session_tokens: Count = 0  #: tokens of this prompt in a session, then no more requests; 0: any
    session_cost: Usd = 0.0  #: likewise in USD

    first_token_timeout: Seconds = 10.0  #: seconds
    total_timeout: Seconds = 60.0  #: seconds


class ToolSettings(Section, frozen=True, kw_only=True):
    """A tool that prompts can offer to their model."""

    kind: Literal["python", "http", "client"] = "python"
    function: str = ""  #: for kind python: module:function
    url: str = ""  #: for kind http: receives a POST
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: sent to the url
    description: str = ""  #: for the model; empty: the function's docstring
    #: JSON Schema of the arguments; empty: derived from the function's signature
    schema: dict[str, Any] = field(default_factory=dict[str, Any])
    deadline: Annotated[float, Meta(gt=0)] = 10.0  #: seconds per call
    side_effects: bool = False  #: a running call is never cancelled


class McpSettings(Section, frozen=True, kw_only=True):
    """An MCP server whose tools prompts can offer to their model."""

    command: tuple[
        str, ...
    ] = ()  #: starts the server; messages go over its standard input and output
    env: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: for the command
    url: str = ""  #: address of a running server instead: streamable HTTP
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: sent to the url
    connect_timeout: Seconds = 10.0  #: seconds to start, connect and list the tools
    deadline: Annotated[float, Meta(gt=0)] = 10.0  #: seconds per call
    #: whether a running call is never cancelled; by_hint: unless the tool is marked read-only
    side_effects: Literal["by_hint", "always", "never"] = "by_hint"


class SttSettings(Section, frozen=True, kw_only=True):
    """Speech-to-text."""

    #: auto, assemblyai, assemblyai/us, assemblyai/eu, local, or a ws:// or wss:// address
    engine: SttEngine = "auto"
    #: the engines that take over, in order, each from the one before it; with engine auto the
    #: first is the one to begin with
    engines: tuple[NamedSttEngine, ...] = ()
    failover_after: Annotated[float, Meta(gt=0)] = 3.0  #: seconds to connect, with another engine
    region: Literal["default", "us", "eu"] = "default"
    key: SecretSource = "env:ASSEMBLYAI_API_KEY"
    token: SecretSource = ""  #: source of a temporary token, sent instead of the key
    insecure: bool = False  #: allow ws:// to another machine
    speech_model: str = "universal-3-6-pro"
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])  #: further query parameters
    extra: dict[str, Any] = field(default_factory=dict[str, Any])  #: likewise, sent unchecked
    #: the prompt whose answers are sent to speech-to-text as context; auto: the first one, if the
    #: caller hears it (policy supersede, text); empty: none
    agent_context: str = "auto"
    channels: Literal["mixed", "separate"] = (
        "mixed"  #: of a recording or microphone with several channels
    )
    speakers: tuple[str, ...] = ()  #: speaker of each channel, if the source names none
    connect_timeout: Seconds = 10.0  #: seconds until Begin
    close_timeout: Seconds = 5.0  #: seconds to wait for the last turn after Terminate
    patience: Seconds = 60.0  #: seconds without a connection before the session fails
    keep_memory: Annotated[float, Meta(ge=1)] = 60.0  #: seconds of audio kept for a resend
    keep_disk: Seconds = 600.0  #: seconds of older audio kept in a file; 0 is none


class FallbackMessage(Section, frozen=True, kw_only=True):
    """One message of a fallback's own request."""

    role: Literal["system", "user", "assistant"]
    content: str


class Fallback(Section, frozen=True, kw_only=True):
    """The next model or server to use when the previous one fails or is unreachable."""

    model: str = ""  #: empty: the model of the request
    engine: str = ""  #: an http:// or https:// base address; empty: the same server
    key: SecretSource = ""  #: for that address; empty: none, or the same key for the same server
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: likewise
    parameters: dict[str, str] = field(default_factory=dict[str, str])  #: as in LlmSettings
    json_mode: JsonRequest = "auto"
    system: str = ""  #: in place of the prompt's system message
    #: in place of the prompt's other messages; {{turn}} is the message that carries the turn
    messages: tuple[FallbackMessage, ...] = ()
    max_tokens: Positive | None = None
    temperature: Temperature | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])  #: further fields of the body
    #: seconds without a first token before the next fallback; 0 is late_after of [llm]
    first_token_timeout: Seconds = 0.0


class LlmSettings(Section, frozen=True, kw_only=True):
    """The language model, for all prompts."""

    #: auto, assemblyai, in-stream, local, or an http:// or https:// base address
    engine: LlmEngine = "auto"
    region: Literal["us", "eu"] = "us"
    key: SecretSource = "env:ASSEMBLYAI_API_KEY"
    #: sent with every request to the engine, for example a proxy's own key
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])
    #: names of parameters at this server, where they are not OpenAI's; empty: not sent
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    json_mode: JsonRequest = "auto"  #: how JSON is requested; auto: by server and model
    insecure: bool = False  #: allow http:// to another machine
    model: str = ""  #: empty: the engine's default
    connections: Positive = 64  #: concurrent requests at most
    connect_timeout: Seconds = 5.0  #: seconds
    stall_timeout: Seconds = 15.0  #: seconds without a token, after the first
    requests_per_minute: Count = 30  #: per model and region; 0 is no limit
    attempts: Positive = 2  #: requests to each model before the next fallback
    fallbacks: tuple[Fallback, ...] = ()  #: used in order, before any text was pushed
    late_after: Seconds = 4.0  #: seconds without a first token before the next fallback
    #: a parameter that the model does not support, by the server's list: refuse, or warn and send
    unsupported: Literal["refuse", "warn"] = "refuse"
    hedge_after: Seconds = 0.0  #: seconds before a second request beside the first; 0: never
    in_stream_after: Seconds = 5.0  #: seconds without an in-stream reply before a direct request


class StoredSettings(Section, frozen=True, kw_only=True):
    """Stored transcripts: recordings transcribed as a whole before the requests."""

    url: WebAddress = ""  #: of the API; empty: AssemblyAI's, in llm.region
    speech_models: tuple[str, ...] = ("universal-3-5-pro", "universal-2")  #: in order
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])  #: of the transcription
    poll: Annotated[float, Meta(ge=0.1)] = 3.0  #: seconds between status requests
    timeout: Seconds = 3600.0  #: seconds to wait for a transcript


class LocalSettings(Section, frozen=True, kw_only=True):
    """The embedded engines."""

    whisper: str = ""  #: a CTranslate2 Whisper folder; empty is the packaged tiny.en
    gguf: str = ""  #: a GGUF file; empty is the packaged SmolLM2-135M-Instruct
    threads: Positive = 2
    end_of_turn_silence: Seconds = 0.5  #: seconds


class TokenSettings(Section, frozen=True, kw_only=True):
    """A static bearer token and what it grants."""

    secret: SecretSource = ""  #: env:NAME or file:PATH, never the token itself
    scopes: tuple[Scope, ...] = ("ingest", "subscribe", "control")
    session: str = "*"  #: or the id of the only session that it grants
    # Of the scope complete; 0 is no limit.
    models: tuple[str, ...] = ()  #: patterns of models that it may request; empty: all
    requests_per_minute: Count = 0
    requests_per_day: Count = 0  #: from 0:00 UTC, as all limits of a day
    tokens_per_minute: Count = 0  #: input and output together
    tokens_per_day: Count = 0
    usd_per_minute: Amount = 0.0
    usd_per_day: Amount = 0.0


class ServeSettings(Section, frozen=True, kw_only=True):
    """``pipeline serve``."""

    host: str = "127.0.0.1"
    port: Port = 8780
    max_sessions: Positive = 200
    max_subscribers: Positive = 2000
    max_per_address: Positive = 100  #: websockets per address, except loopback
    max_per_token: Positive = 1000  #: websockets per token
    max_sessions_per_token: Positive = 100  #: live sessions per token
    requests_per_second: Positive = 500  #: of clients with a token; as many of others
    commands_per_second: Positive = 50  #: per connection
    hosts: tuple[
        HostName, ...
    ] = ()  #: accepted Host names beside loopback's, as a local proxy forwards them
    origins: tuple[Origin, ...] = ()  #: origins of pages that may connect, beside our own
    trusted_proxies: tuple[str, ...] = ()  #: addresses whose X-Forwarded-For is trusted
    drain: Seconds = 10.0  #: seconds for last turns to finish on SIGTERM
    reattach: Seconds = 10.0  #: seconds for a disconnected source to reconnect
    idle: Seconds = 300.0  #: seconds without data from a source before its session ends; 0: never
    log: Literal["text", "json"] = "text"  #: on stderr: text lines, or one JSON object per line
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_text: bool = False  #: the log contains turn and response texts
    otel: bool = False  #: export traces and metrics by OTLP, configured by the OTEL_ variables
    #: by name; without any, every client is accepted, and the server listens on loopback only
    tokens: dict[str, TokenSettings] = field(default_factory=dict[str, TokenSettings])
    #: by name: the first signs short-lived tokens, all are accepted
    signing_keys: dict[str, SecretSource] = field(default_factory=dict[str, str])


class GatewaySettings(Section, frozen=True, kw_only=True):
    """Chat completions over HTTP, by ``pipeline serve`` and ``pipeline gateway``."""

    max_requests: Positive = 1000  #: completions at once, waiting ones included
    first_token_timeout: Annotated[float, Meta(gt=0)] = 60.0  #: seconds
    total_timeout: Annotated[float, Meta(gt=0)] = 600.0  #: seconds


class LimitSettings(Section, frozen=True, kw_only=True):
    """Spending limits of sessions; 0 is no limit."""

    session_minutes: Seconds = 480.0  #: minutes of speech-to-text, summed over channels
    session_tokens: Count = 10_000_000  #: input and output tokens of language models
    session_cost: Usd = 0.0  #: USD, of language model calls whose price is known
    day_minutes: Seconds = 0.0  #: all sessions together, from 0:00 UTC
    day_tokens: Count = 0
    day_cost: Usd = 0.0
    #: when tokens or cost are spent: send no more requests and go on transcribing, or end
    when_spent: Literal["transcribe", "end"] = "transcribe"


class TwilioSettings(Section, frozen=True, kw_only=True):
    """Twilio: with an auth token, requests on its paths must carry a valid signature."""

    auth_token: SecretSource = "env:TWILIO_AUTH_TOKEN"  #: of the Twilio account of the calls
    public_url: str = ""  #: our public address, wss://HOST; empty: wss:// and the Host header


class DtmfSettings(Section, frozen=True, kw_only=True):
    """Keys that a caller presses on a telephone."""

    turn: bool = True  #: numbers become turns; false: keys are published as events only
    pause: Annotated[float, Meta(gt=0)] = 2.0  #: seconds without a key that end a number
    #: the key that ends a number at once; empty: none
    end: Annotated[str, Meta(pattern=r"^[0-9A-D*#]?$", description="one key, or empty")] = "#"


class JournalSettings(Section, frozen=True, kw_only=True):
    """Storage of the events of each session."""

    store: Annotated[str, Meta(min_length=1)] = "memory"  #: memory, or the path of a file
    keep_events: Positive = 100_000  #: per session, in memory
    keep_ended: Seconds = 600.0  #: seconds that an ended session stays readable
    keep_days: Annotated[float, Meta(ge=0)] = 30.0  #: days that an ended session stays in the file
    keep_bytes: Positive = 4 << 30  #: file size; above it the oldest ended sessions are deleted
    sync_always: bool = False  #: survive a power loss too, at about 1 ms per event
    keep_requests: Positive = 100_000  #: calls in the file's request log
    run_requests: bool = True  #: ``run`` keeps a request log in the user's state directory
    request_text: bool = False  #: the request log contains messages and response texts
    record: str = ""  #: directory for recordings of session audio; empty: no recording
    record_bytes: Positive = 32 << 30  #: size of all recordings; above it the oldest are deleted


class WebhookSettings(Section, frozen=True, kw_only=True):
    """A webhook: an address that receives events by POST."""

    url: WebAddress = ""  #: https://, or http:// on this machine
    secret: SecretSource = ""  #: whsec_ and 24 to 64 bytes in base64; signs every POST
    old_secrets: tuple[SecretSource, ...] = ()  #: sign as well, until the receiver has the new one
    events: tuple[str, ...] = (
        "turn.completed",
        "response.done",
        "response.played",
        "session.ended",
    )  #: globs
    #: seconds after each failed attempt; the default is that of the Standard Webhooks specification
    retries: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    timeout: Annotated[float, Meta(gt=0)] = 15.0  #: seconds for a response
    insecure: bool = False  #: allow http:// to another machine


class Settings(Section, frozen=True, kw_only=True):
    """All tables of pipeline.toml."""

    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    stored: StoredSettings = StoredSettings()
    local: LocalSettings = LocalSettings()
    serve: ServeSettings = ServeSettings()
    gateway: GatewaySettings = GatewaySettings()
    limits: LimitSettings = LimitSettings()
    twilio: TwilioSettings = TwilioSettings()
    dtmf: DtmfSettings = DtmfSettings()
    journal: JournalSettings = JournalSettings()
    tools: dict[str, ToolSettings] = field(default_factory=dict[str, ToolSettings])
    mcp: dict[str, McpSettings] = field(default_factory=dict[str, McpSettings])
    webhooks: dict[str, WebhookSettings] = field(default_factory=dict[str, WebhookSettings])
    prompts: dict[str, Prompt] = field(default_factory=dict[str, Prompt])
