"""Everything that can be set: frozen values, from pipeline.toml, environment and flags. Pure."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Policy = Literal["supersede", "queue", "parallel", "conflate"]
Interrupt = Literal["speech", "words", "turn", "never"]
Scope = Literal["ingest", "subscribe", "control"]

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]  #: 0 is any free one
Share = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
SttEngine = Annotated[
    str,
    Meta(
        pattern=r"^(auto|assemblyai|local|wss?://.+)$",
        description="auto, assemblyai, local, or a ws:// or wss:// address",
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
#: as browsers write it: without a path, and without the port that the scheme has anyway
Origin = Annotated[
    str,
    Meta(pattern=r"^https?://[^/\s]+$", description="https://NAME, without anything behind it"),
]
HostName = Annotated[
    str, Meta(pattern=r"^[^/:\s]+$", description="a host name, without scheme and port")
]
#: where a key is to be found
SecretSource = Annotated[
    str,
    Meta(
        pattern=r"^(env:.+|file:.+|)$",
        description="env:NAME, file:PATH, or empty for none; never the key itself",
        extra={"secret": True},
    ),
]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of pipeline.toml; a name it does not list is refused."""


class Example(Section, frozen=True, kw_only=True):
    """One exchange shown to the model before the conversation."""

    user: str
    assistant: str


class Prompt(Section, frozen=True, kw_only=True):
    """A named LLM configuration: messages template, model, policy, output."""

    system: str = ""
    user: str = "{{turn}}"  #: the template of the message that carries a turn
    examples: tuple[Example, ...] = ()
    vars: dict[str, str] = field(default_factory=dict[str, str])
    model: str = ""  #: empty: the LLM engine's default
    siblings: tuple[str, ...] = ()  #: models to use instead while quota or room is short
    max_tokens: Positive = 200
    temperature: Temperature | None = None
    stream: bool = True
    # Fields of the request body, by AssemblyAI's names; what is empty is not sent.
    top_p: Share | None = None
    stop: tuple[str, ...] = ()
    reasoning: dict[str, Any] = field(default_factory=dict[str, Any])
    cache_control: dict[str, Any] = field(default_factory=dict[str, Any])
    model_region: Literal["", "global"] = ""  #: global: answered anywhere, for less
    post_processing_steps: tuple[dict[str, Any], ...] = ()
    fallbacks: tuple[dict[str, Any], ...] = ()  #: on the server: a model, and what changes with it
    fallback_config: dict[str, Any] = field(default_factory=dict[str, Any])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])  #: passed through in the body
    #: a stored transcript, which AssemblyAI's gateway puts where {{ transcript }} stands
    transcript_id: TranscriptId = ""

    #: by their names in the tools table, or module:function, or mcp:SERVER[/TOOL]
    tools: tuple[str, ...] = ()
    tool_choice: str = "auto"  #: auto, none, required, or the name of the one to be called first
    tool_steps: Positive = 5  #: rounds of tool calls in one answer
    tool_parallel: Positive = 4  #: calls of one answer that run at once

    output: Literal["text", "json"] = "text"
    json_schema: dict[str, Any] = field(default_factory=dict[str, Any])  #: of output = "json"
    json_partials: bool = False  #: push response.output_json.partial while it streams
    #: how often a reply that does not fit is asked for again; a wrong value that json_partials
    #: has shown already stays wrong
    reasks: Count = 1

    policy: Policy = "supersede"
    parallel: Positive = 4  #: at most so many at once, with policy parallel
    every_turns: Positive = 1  #: answer every n ended turns
    after_silence: Seconds = 0.0  #: seconds without speech before answering; 0 is at once
    at_end: bool = False  #: answer once, when the session ends
    min_words: Count = 0  #: a shorter turn does not ask for an answer
    speaker: str = ""  #: only this speaker's turns ask for an answer
    keyword: str = ""  #: only turns with this word or phrase ask for an answer

    speculate: bool = False  #: start at a pause, before the turn has ended
    interrupt: Interrupt = "turn"  #: when speech takes a running response away
    interrupt_words: Positive = 3  #: how many words, with interrupt = "words"
    interrupted_mark: str = " [interrupted]"  #: put behind what was said of a cancelled answer
    history: Count = 20  #: exchanges sent along; 0 is none
    sentences: bool = False  #: push response.output_text.sentence

    first_token_timeout: Seconds = 10.0  #: seconds
    total_timeout: Seconds = 60.0  #: seconds


class ToolSettings(Section, frozen=True, kw_only=True):
    """A tool that prompts may offer to their model."""

    kind: Literal["python", "http", "client"] = "python"
    function: str = ""  #: of kind python: module:function
    url: str = ""  #: of kind http: asked by POST
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: sent to the url
    description: str = ""  #: for the model; empty: the function's own
    #: JSON Schema of the arguments; empty: the function's own
    schema: dict[str, Any] = field(default_factory=dict[str, Any])
    deadline: Annotated[float, Meta(gt=0)] = 10.0  #: seconds that a call may take
    side_effects: bool = False  #: a call that has begun is never called off


class McpSettings(Section, frozen=True, kw_only=True):
    """An MCP server whose tools prompts may offer to their model."""

    command: tuple[str, ...] = ()  #: starts it; spoken to over its standard input and output
    env: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: for the command
    url: str = ""  #: or where it is: streamable HTTP
    headers: dict[str, SecretSource] = field(default_factory=dict[str, str])  #: sent to the url
    connect_timeout: Seconds = 10.0  #: seconds to start, connect and list the tools
    deadline: Annotated[float, Meta(gt=0)] = 10.0  #: seconds that a call may take
    #: whether a call that has begun is never called off; by_hint: unless the tool only reads
    side_effects: Literal["by_hint", "always", "never"] = "by_hint"


class SttSettings(Section, frozen=True, kw_only=True):
    """Speech-to-text."""

    engine: SttEngine = "auto"  #: auto, assemblyai, local, or a ws:// or wss:// address
    region: Literal["default", "us", "eu"] = "default"
    key: SecretSource = "env:ASSEMBLYAI_API_KEY"
    token: SecretSource = ""  #: of a temporary token, which then goes there in place of the key
    insecure: bool = False  #: ws:// to another machine, too
    speech_model: str = "universal-3-5-pro"
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])  #: further query parameters
    channels: Literal["mixed", "separate"] = "mixed"  #: of a recording or microphone with several
    speakers: tuple[str, ...] = ()  #: who is on each channel, where the source does not say
    connect_timeout: Seconds = 10.0  #: seconds until Begin
    close_timeout: Seconds = 5.0  #: seconds to wait for the last turn after Terminate
    patience: Seconds = 60.0  #: seconds without a connection before the session is given up
    keep_memory: Annotated[float, Meta(ge=1)] = 60.0  #: seconds of audio, to be sent again
    keep_disk: Seconds = 600.0  #: seconds of older audio, in a file; 0 is none


class Fallback(Section, frozen=True, kw_only=True):
    """Whom to ask when the one before fails, or is out of reach."""

    model: str = ""  #: empty: the one that was asked for
    engine: str = ""  #: an http:// or https:// base address; empty: the same server
    key: SecretSource = ""  #: for that address; empty: none, or for the same server its own


class LlmSettings(Section, frozen=True, kw_only=True):
    """The language model, whatever the prompt."""

    #: auto, assemblyai, in-stream, local, or an http:// or https:// base address
    engine: LlmEngine = "auto"
    region: Literal["us", "eu"] = "us"
    key: SecretSource = "env:ASSEMBLYAI_API_KEY"
    insecure: bool = False  #: http:// to another machine, too
    model: str = ""  #: empty: the engine's default
    connections: Positive = 64  #: at most so many calls in flight
    connect_timeout: Seconds = 5.0  #: seconds
    stall_timeout: Seconds = 15.0  #: seconds without a token, once the first has come
    requests_per_minute: Count = 30  #: per model and region; 0 is no limit
    attempts: Positive = 2  #: how often each model is asked before the next one is
    fallbacks: tuple[Fallback, ...] = ()  #: asked in order, before anything was pushed
    late_after: Seconds = 4.0  #: seconds without a first token, then the next fallback is asked
    #: a parameter that the model does not support, by the server's list: not sent, or only told
    unsupported: Literal["refuse", "warn"] = "refuse"
    hedge_after: Seconds = 0.0  #: seconds, then the next is asked beside the first; 0: never
    in_stream_after: Seconds = 5.0  #: seconds without an in-stream answer, then we ask ourselves


class StoredSettings(Section, frozen=True, kw_only=True):
    """Recordings that are transcribed as a whole, to be asked about afterwards."""

    url: WebAddress = ""  #: of the API; empty: AssemblyAI's, of llm.region
    speech_models: tuple[str, ...] = ("universal-3-5-pro", "universal-2")  #: in order
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])  #: of the transcription
    poll: Annotated[float, Meta(ge=0.1)] = 3.0  #: seconds between two looks whether it is ready
    timeout: Seconds = 3600.0  #: seconds to wait for a transcript


class LocalSettings(Section, frozen=True, kw_only=True):
    """The embedded engines."""

    whisper: str = ""  #: a CTranslate2 Whisper folder; empty is the packaged tiny.en
    gguf: str = ""  #: a GGUF file; empty is the packaged SmolLM2-135M-Instruct
    threads: Positive = 2
    end_of_turn_silence: Seconds = 0.5  #: seconds


class TokenSettings(Section, frozen=True, kw_only=True):
    """Somebody who may come in, by a bearer token."""

    secret: SecretSource = ""  #: env:NAME or file:PATH, never the token itself
    scopes: tuple[Scope, ...] = ("ingest", "subscribe", "control")
    session: str = "*"  #: or the one session it is for


class ServeSettings(Section, frozen=True, kw_only=True):
    """``pipeline serve``."""

    host: str = "127.0.0.1"
    port: Port = 8780
    max_sessions: Positive = 200
    max_subscribers: Positive = 2000
    max_per_address: Positive = 100  #: websockets of one address, this machine's own aside
    max_per_token: Positive = 1000  #: websockets of one token
    max_sessions_per_token: Positive = 100  #: live at once
    requests_per_second: Positive = 500  #: of all together, handshakes included
    commands_per_second: Positive = 50  #: of one connection
    hosts: tuple[
        HostName, ...
    ] = ()  #: names of ours beside loopback's: a proxy here passes them on
    origins: tuple[Origin, ...] = ()  #: whose pages' browsers may come in, beside our own
    trusted_proxies: tuple[str, ...] = ()  #: addresses whose X-Forwarded-For is believed
    drain: Seconds = 10.0  #: seconds for last turns to finish on SIGTERM
    reattach: Seconds = 10.0  #: seconds for a source that was cut off to come back
    idle: Seconds = 300.0  #: seconds in which a source may send nothing; 0 is for ever
    log: Literal["text", "json"] = "text"  #: on stderr: lines, or a JSON object a line
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_text: bool = False  #: the log holds what was said and answered, too
    otel: bool = False  #: traces and metrics go out by OTLP, as the OTEL_ variables say
    #: by name; with none everybody may come in, and we listen on loopback only
    tokens: dict[str, TokenSettings] = field(default_factory=dict[str, TokenSettings])
    #: by name: the first signs short-lived tokens, all are accepted
    signing_keys: dict[str, SecretSource] = field(default_factory=dict[str, str])


class LimitSettings(Section, frozen=True, kw_only=True):
    """What sessions may spend; one that has is ended. 0 is no limit."""

    session_minutes: Seconds = 480.0  #: minutes of speech-to-text, every channel counted
    session_tokens: Count = 10_000_000  #: into and out of language models
    day_minutes: Seconds = 0.0  #: all sessions together, from 0:00 UTC
    day_tokens: Count = 0


class TwilioSettings(Section, frozen=True, kw_only=True):
    """Who may call the paths for Twilio: with a token, whoever signs with it."""

    auth_token: SecretSource = "env:TWILIO_AUTH_TOKEN"  #: of the account that the calls are of
    public_url: str = ""  #: how Twilio reaches us, wss://HOST; empty: wss:// and the Host header


class JournalSettings(Section, frozen=True, kw_only=True):
    """What is kept of the events of each session."""

    store: Annotated[str, Meta(min_length=1)] = "memory"  #: memory, or the path of a file
    keep_events: Positive = 100_000  #: per session, in memory
    keep_ended: Seconds = 600.0  #: seconds an ended session can still be read
    keep_days: Annotated[float, Meta(ge=0)] = 30.0  #: an ended session stays in the file
    keep_bytes: Positive = 4 << 30  #: of the file, then the oldest ended sessions go
    sync_always: bool = False  #: survive a power loss too, at about 1 ms an event
    keep_requests: Positive = 100_000  #: calls in the file's request log
    request_text: bool = False  #: the request log holds what was asked and answered, too
    record: str = ""  #: the directory that the audio of sessions is recorded in; empty: it is not
    record_bytes: Positive = 32 << 30  #: of all recordings, then the oldest go


class WebhookSettings(Section, frozen=True, kw_only=True):
    """Somebody who is told of events by POST."""

    url: WebAddress = ""  #: https://, or http:// on this machine
    secret: SecretSource = ""  #: of whsec_ and 24 to 64 bytes in base64; signs every POST
    old_secrets: tuple[SecretSource, ...] = ()  #: sign as well, until the receiver has the new one
    events: tuple[str, ...] = ("turn.completed", "response.done", "session.ended")  #: globs
    #: seconds after each failed try; by default as the Standard Webhooks specification has it
    retries: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    timeout: Annotated[float, Meta(gt=0)] = 15.0  #: seconds for an answer
    insecure: bool = False  #: http:// elsewhere, too


class Settings(Section, frozen=True, kw_only=True):
    """The whole of pipeline.toml."""

    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    stored: StoredSettings = StoredSettings()
    local: LocalSettings = LocalSettings()
    serve: ServeSettings = ServeSettings()
    limits: LimitSettings = LimitSettings()
    twilio: TwilioSettings = TwilioSettings()
    journal: JournalSettings = JournalSettings()
    tools: dict[str, ToolSettings] = field(default_factory=dict[str, ToolSettings])
    mcp: dict[str, McpSettings] = field(default_factory=dict[str, McpSettings])
    webhooks: dict[str, WebhookSettings] = field(default_factory=dict[str, WebhookSettings])
    prompts: dict[str, Prompt] = field(default_factory=dict[str, Prompt])
