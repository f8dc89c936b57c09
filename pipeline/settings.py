"""Everything that can be set: frozen values, from pipeline.toml, environment and flags. Pure."""

from typing import Any, Literal

from msgspec import Struct, field

Policy = Literal["supersede", "queue", "parallel", "conflate"]
Interrupt = Literal["speech", "words", "turn", "never"]


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
    vars: dict[str, str] = field(default_factory=dict)
    model: str = ""  #: empty: the LLM engine's default
    siblings: tuple[str, ...] = ()  #: models to use instead while quota is short
    max_tokens: int = 200
    temperature: float | None = None
    stream: bool = True
    extra: dict[str, Any] = field(default_factory=dict)  #: passed through in the body

    policy: Policy = "supersede"
    parallel: int = 4  #: at most so many at once, with policy parallel
    every_turns: int = 1  #: answer every n ended turns
    after_silence: float = 0.0  #: seconds without speech before answering; 0 is at once
    at_end: bool = False  #: answer once, when the session ends
    min_words: int = 0  #: a shorter turn does not ask for an answer
    speaker: str = ""  #: only this speaker's turns ask for an answer
    keyword: str = ""  #: only turns with this word or phrase ask for an answer

    speculate: bool = False  #: start at a pause, before the turn has ended
    interrupt: Interrupt = "turn"  #: when speech takes a running response away
    interrupt_words: int = 3  #: how many words, with interrupt = "words"
    interrupted_mark: str = " [interrupted]"  #: put behind what was said of a cancelled answer
    history: int = 20  #: exchanges sent along; 0 is none
    sentences: bool = False  #: push response.output_text.sentence

    first_token_timeout: float = 10.0  #: seconds
    total_timeout: float = 60.0  #: seconds


class SttSettings(Section, frozen=True, kw_only=True):
    engine: str = "auto"  #: auto, assemblyai, local, or a ws:// or wss:// address
    region: Literal["default", "us", "eu"] = "default"
    key: str = "env:ASSEMBLYAI_API_KEY"
    speech_model: str = "universal-3-5-pro"
    parameters: dict[str, Any] = field(default_factory=dict)  #: further query parameters
    connect_timeout: float = 10.0  #: seconds until Begin
    close_timeout: float = 5.0  #: seconds to wait for the last turn after Terminate


class LlmSettings(Section, frozen=True, kw_only=True):
    engine: str = "auto"  #: auto, assemblyai, local, or an http:// or https:// base address
    region: Literal["us", "eu"] = "us"
    key: str = "env:ASSEMBLYAI_API_KEY"
    model: str = ""  #: empty: the engine's default
    connections: int = 64  #: at most so many calls in flight
    connect_timeout: float = 5.0  #: seconds
    stall_timeout: float = 15.0  #: seconds without a token, once the first has come
    requests_per_minute: int = 30  #: per model and region; 0 is no limit


class LocalSettings(Section, frozen=True, kw_only=True):
    """The embedded engines."""

    whisper: str = ""  #: a CTranslate2 Whisper folder; empty is the packaged tiny.en
    gguf: str = ""  #: a GGUF file; empty is the packaged SmolLM2-135M-Instruct
    threads: int = 2
    end_of_turn_silence: float = 0.5  #: seconds


class ServeSettings(Section, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8780
    max_sessions: int = 200
    max_subscribers: int = 2000
    drain: float = 10.0  #: seconds for last turns to finish on SIGTERM


class JournalSettings(Section, frozen=True, kw_only=True):
    keep_events: int = 100_000  #: per session, in memory
    keep_ended: float = 600.0  #: seconds an ended session can still be read


class Settings(Section, frozen=True, kw_only=True):
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    local: LocalSettings = LocalSettings()
    serve: ServeSettings = ServeSettings()
    journal: JournalSettings = JournalSettings()
    prompts: dict[str, Prompt] = field(default_factory=dict)
