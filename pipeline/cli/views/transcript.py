"""SessionTranscript of a session, from its events, as subtitles or Markdown. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from msgspec import Struct

from pipeline.cli.views.wording import clock
from pipeline.protocol.events import (
    ResponseCreated,
    ResponseDone,
    ResponsePlayed,
    ServerEvent,
    SessionCreated,
    TurnCompleted,
    TurnRevisedEvent,
    TurnUpdated,
    UnknownEvent,
    WordSpoken,
    encode,
)
from pipeline.protocol.summary import turn_start

CUE = 84  #: characters per subtitle: two lines
PER_CHARACTER = 60  #: milliseconds per character of text without word times


class TranscriptTurn(Struct):
    """One ended turn, as last revised."""

    number: int
    text: str
    speaker: str | None
    start: int  #: milliseconds on the session's audio clock
    end: int  #: milliseconds
    words: Sequence[WordSpoken]  #: empty without times, or when the text was revised


class TranscriptResponse(Struct):
    """One ended response of a session."""

    prompt: str
    turns: Sequence[int]
    done: ResponseDone
    played: ResponsePlayed | None = None  #: what the caller heard, if the client reported it


class SessionTranscript(Struct):
    """Turns and responses of a whole session."""

    session_id: str
    source: str = ""
    started: str = ""  #: wall clock, ISO 8601
    said: list[TranscriptTurn | TranscriptResponse] = []

    @property
    def turns(self) -> Sequence[TranscriptTurn]:
        return [one for one in self.said if isinstance(one, TranscriptTurn)]


def transcript_of(
    session_id: str, events: Iterable[ServerEvent | UnknownEvent]
) -> SessionTranscript:
    """Return the transcript of ``events``, which are in order."""
    transcript = SessionTranscript(session_id)
    begun: dict[int, int] = {}  # time of each turn's first event
    turns: dict[int, TranscriptTurn] = {}
    responses = _Responses()
    for event in events:
        match event:
            case SessionCreated():
                transcript.source, transcript.started = event.source, event.ts
            case TurnUpdated():
                begun.setdefault(event.turn, event.t)
            case TurnCompleted():
                turns[event.turn] = _turn(event, begun)
                transcript.said.append(turns[event.turn])
            case TurnRevisedEvent() if event.turn in turns:
                _revise(turns[event.turn], event)
            case ResponseCreated() | ResponsePlayed() | ResponseDone():
                transcript.said += responses.take(event)
            case _:
                pass
    return transcript


def _turn(event: TurnCompleted, begun: dict[int, int]) -> TranscriptTurn:
    words = event.words
    end = words[-1].end if words else max(event.t, 0)
    start = turn_start(event, begun.get(event.turn))
    if end <= start:
        end = start + PER_CHARACTER * max(len(event.text), 10)
    return TranscriptTurn(event.turn, event.text, event.speaker, start, end, words)


def _revise(turn: TranscriptTurn, event: TurnRevisedEvent) -> None:
    if event.text is not None:
        turn.text, turn.words = event.text, ()
    turn.speaker = event.speaker or turn.speaker


class _Responses:
    """Responses of a session by id, put together from their events."""

    def __init__(self) -> None:
        self._created: dict[str, ResponseCreated] = {}
        self._played: dict[str, ResponsePlayed] = {}
        self._ended: dict[str, TranscriptResponse] = {}

    def take(
        self, event: ResponseCreated | ResponsePlayed | ResponseDone
    ) -> Sequence[TranscriptResponse]:
        """Take the next event; return the response that it ends, if it ends one."""
        key = event.response_id
        match event:
            case ResponseCreated():
                self._created[key] = event
            case ResponsePlayed():  # before the end, or behind it
                self._played[key] = event
                if key in self._ended:
                    self._ended[key].played = event
            case ResponseDone():
                created = self._created.get(key)
                prompt, turns = (created.prompt, created.turns) if created else ("", ())
                ended = TranscriptResponse(prompt, turns, event, self._played.get(key))
                self._ended[key] = ended
                return [ended]
        return []


# --- subtitles -------------------------------------------------------------------------------


class Cue(Struct, frozen=True):
    """One subtitle."""

    start: int  #: milliseconds
    end: int  #: milliseconds
    text: str
    speaker: str | None


def cues(transcript: SessionTranscript) -> Iterator[Cue]:
    """Yield the subtitles of every turn, each of a readable length."""
    for turn in transcript.turns:
        timed = turn.words or _spread(turn)
        while timed:
            count = _fitting(timed)
            text = " ".join(word.text for word in timed[:count])
            yield Cue(timed[0].start, timed[count - 1].end, text, turn.speaker)
            timed = timed[count:]


def _spread(turn: TranscriptTurn) -> Sequence[WordSpoken]:
    """Return the words of a turn, with its duration divided among them by length."""
    texts = turn.text.split()
    total = sum(map(len, texts))
    words: list[WordSpoken] = []
    at, start = 0, turn.start
    for text in texts:
        at += len(text)
        end = turn.start + (turn.end - turn.start) * at // total
        words.append(WordSpoken(text, start, end))
        start = end
    return words


def _fitting(words: Sequence[WordSpoken]) -> int:
    """Return how many of ``words`` one subtitle holds; at least one."""
    length = -1
    for count, word in enumerate(words):
        length += 1 + len(word.text)
        if length > CUE:
            return max(count, 1)
    return len(words)


def srt(transcript: SessionTranscript) -> str:
    """Return SubRip subtitles."""
    blocks = [
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{_named(cue)}\n"
        for number, cue in enumerate(cues(transcript), 1)
    ]
    return "\n".join(blocks)


def _named(cue: Cue) -> str:
    return f"{cue.speaker}: {cue.text}" if cue.speaker else cue.text


def vtt(transcript: SessionTranscript) -> str:
    """Return WebVTT subtitles (W3C WebVTT: speakers are voice spans)."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript):
        voice = f"<v {escape(cue.speaker, quote=False)}>" if cue.speaker else ""
        text = escape(cue.text, quote=False)
        blocks.append(f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def _stamp(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


# --- Markdown --------------------------------------------------------------------------------


def markdown(transcript: SessionTranscript) -> str:
    """Return turns as paragraphs and responses as quotes, in the order of events."""
    title = [f"# Session {transcript.session_id}"]
    if transcript.source:
        title.append(f"{transcript.source}, {transcript.started}")
    said = [
        _paragraph(one) if isinstance(one, TranscriptTurn) else _quoted(one)
        for one in transcript.said
    ]
    return "\n\n".join((*title, *said)) + "\n"


def _paragraph(turn: TranscriptTurn) -> str:
    who = f" {turn.speaker}" if turn.speaker else ""
    return f"**{clock(turn.start)}{who}** {turn.text}"


def _quoted(answer: TranscriptResponse) -> str:
    done = answer.done
    to = ", ".join(map(str, answer.turns)) or "the session"
    how = "" if done.status == "completed" else f" ({done.reason or done.status})"
    text = done.text.strip() or "(no text)"
    played = answer.played
    if played is not None and played.characters < len(done.text):
        how += f" (the caller heard {played.characters} of {len(done.text)} characters)"
        text = played.text.strip() or "(nothing)"
    elif done.json is not None:
        text = encode(done.json).decode()  # the parsed value, without the model's formatting
    return f"*{answer.prompt} to {to}{how}:*\n\n" + "\n".join(
        f"> {line}".rstrip() for line in text.splitlines()
    )
