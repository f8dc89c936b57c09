"""Turn messages of one scripted connection, in the style of either model family. Pure.

Formats follow AssemblyAI's message sequence pages for Universal-Streaming and Universal-3 Pro,
read 2026-11.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.simulator.scenario import (
    EndLine,
    FormattedLine,
    LlmResponseLine,
    PauseLine,
    TimedWord,
    TurnLine,
)

T = TypeVar("T")

WORD = 250  #: milliseconds of a word without a given time
SILENCE = 400  #: milliseconds between the last such word and a pause or an end


class SendText(Struct, frozen=True):
    """Send a text frame."""

    text: str


def send_json(**message: Any) -> SendText:
    return SendText(msgspec.json.encode(message).decode())


class SpokenTurn:
    """State of the open turn: its number, its words and their times."""

    def __init__(self, style: str) -> None:
        self._u3 = style == "u3"
        self._order = 0
        self._ended = False
        self._words: list[TimedWord] = []
        self._spoken = 0  #: milliseconds, where the previous turn ended

    @property
    def is_open(self) -> bool:
        return bool(self._words) and not self._ended

    def turn_message(self, line: TurnLine, audio_ms: float) -> SendText:
        ended = isinstance(line, EndLine | FormattedLine)
        if self._ended and not isinstance(line, FormattedLine):
            self._order, self._ended = self._order + 1, False
            self._spoken = max([self._spoken, *(word.end for word in self._words)])
            self._words = []
        if line.turn_order is not None:
            self._order = line.turn_order
        self._words = self._timed(line, audio_ms)
        message = self._message(line, self._finality(line))
        self._ended = self._ended or ended
        return send_json(**message, **line.extra)

    def flush(self) -> SendText:
        """End the open turn with the words it has."""
        words = (replace(word, word_is_final=True) for word in self._words)
        return self.turn_message(EndLine(words=tuple(words)), 0)

    def llm_response(self, line: LlmResponseLine) -> SendText:
        message = {"role": "assistant", "content": line.text}
        usage = {"input_tokens": 9, "output_tokens": len(line.text.split()), "total_tokens": 0}
        usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
        return send_json(
            type=line.type_name,
            turn_order=self._order if line.turn_order is None else line.turn_order,
            transcript=_text(self._words) if line.transcript is None else line.transcript,
            data={
                "request_id": f"in-stream-{self._order}",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
                "request": {},
                "response_time": 388_000_000,
            },
        )

    def _timed(self, line: TurnLine, audio_ms: float) -> list[TimedWord]:
        """Return the words with times; a word keeps the time of the previous one at its index."""
        if line.words is not None:
            return list(line.words)
        texts = line.text.split()
        if line.start_ms is not None or line.end_ms is not None:
            return _spread(texts, line, audio_ms)
        kept = self._words[: len(texts)]
        begin = kept[-1].end if kept else self._spoken
        new = _placed(texts[len(kept) :], begin, audio_ms, isinstance(line, PauseLine | EndLine))
        return [
            *(
                TimedWord(text, word.start, word.end)
                for text, word in zip(texts, kept, strict=False)
            ),
            *new,
        ]

    def _finality(self, line: TurnLine) -> list[TimedWord]:
        """Mark the words that may change: all of a U3 partial, the last one of a US partial."""
        if line.words is not None or isinstance(line, EndLine | FormattedLine):
            return self._words
        firm = 0 if self._u3 else len(self._words) - (not isinstance(line, PauseLine))
        return [
            TimedWord(word.text, word.start, word.end, word.confidence, i < firm)
            for i, word in enumerate(self._words)
        ]

    def _message(self, line: TurnLine, words: list[TimedWord]) -> dict[str, Any]:
        text = _text(words)
        ended = isinstance(line, EndLine | FormattedLine)
        spoken = text if self._u3 else _text([word for word in words if word.word_is_final])
        if isinstance(line, PauseLine) and line.lag and not self._u3:
            spoken = _text(words[: -line.lag])
        whole = ended if self._u3 else isinstance(line, PauseLine | FormattedLine | EndLine)
        formatted = ended if self._u3 else isinstance(line, FormattedLine)
        return {
            "type": "Turn",
            "turn_order": self._order,
            "turn_is_formatted": _or(line.formatted, formatted),
            "end_of_turn": ended,
            "transcript": _or(line.transcript, spoken),
            "utterance": _or(line.utterance, text if whole else ""),
            "end_of_turn_confidence": _or(line.confidence, 1.0 if ended else 0.0),
            "words": words,
        }


def _placed(texts: list[str], begin: int, audio_ms: float, silent: bool) -> list[TimedWord]:
    """Give new words plausible times: after ``begin``, before now or before a silence.

    Without enough audio for that, the times run beyond the audio received.
    """
    room = audio_ms - begin
    silence = min(SILENCE, room / 2) if silent else 0
    length = WORD if room <= 0 else min(WORD, (room - silence) / max(1, len(texts)))
    first = begin if room <= 0 else audio_ms - silence - length * len(texts)
    return [
        TimedWord(text, int(first + i * length), int(first + (i + 1) * length))
        for i, text in enumerate(texts)
    ]


def _spread(texts: list[str], line: TurnLine, audio_ms: float) -> list[TimedWord]:
    last = audio_ms if line.end_ms is None else line.end_ms
    first = max(0.0, last - WORD * len(texts)) if line.start_ms is None else line.start_ms
    step = (last - first) / max(1, len(texts))
    return [
        TimedWord(text, int(first + i * step), int(first + (i + 1) * step))
        for i, text in enumerate(texts)
    ]


def _text(words: list[TimedWord]) -> str:
    return " ".join(word.text for word in words)


def _or(given: T | None, default: T) -> T:
    return default if given is None else given
