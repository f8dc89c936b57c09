"""Simulated AssemblyAI API for recordings: upload, transcript request, transcript status. Pure.

Formats and statuses: AssemblyAI API reference, "Upload a media file", "Transcribe audio" and "Get
transcript", mid-2026.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.config.validation import Tree, is_table
from pipeline.simulator.scenario_llm import RecordingLine

UPLOAD, TRANSCRIPT = "/v2/upload", "/v2/transcript"
UPLOADED = "http://uploads.invalid/1"

Reply = tuple[int, Tree]


class TranscriptStore:
    """Transcripts of uploaded recordings. Times are seconds on the caller's clock."""

    def __init__(self, lines: Sequence[RecordingLine]) -> None:
        self._lines = lines or (RecordingLine(),)
        self._refusals = [line.fails for line in self._lines]  # still to be made
        self._made: dict[str, tuple[int, float]] = {}  # line and moment, by id

    def text_of(self, key: str) -> str | None:
        """Return the text of a transcript, for the language model; None for an unknown id."""
        return self._lines[self._made[key][0]].text if key in self._made else None

    def answer(self, method: str, path: str, body: Any, now: float) -> Reply | None:
        """Return status and body; None for a path outside this API."""
        match method:
            case "POST" if path == UPLOAD:
                return self._refusal(self._next, "upload") or (200, {"upload_url": UPLOADED})
            case "POST" if path == TRANSCRIPT:
                return self._refusal(self._next, "transcript") or self._create(body, now)
            case "GET" if path.startswith(f"{TRANSCRIPT}/"):
                return self._status_of(path.rpartition("/")[2], now)
            case _:
                return None

    @property
    def _next(self) -> int:
        """Index of the next recording's line; the last line serves all further recordings."""
        return min(len(self._made), len(self._lines) - 1)

    def _refusal(self, index: int, step: str) -> Reply | None:
        line = self._lines[index]
        if line.fails_at != step or not self._refusals[index]:
            return None
        self._refusals[index] -= 1
        return line.status, {"error": line.message}

    def _create(self, body: Any, now: float) -> Reply:
        if not is_table(body) or not body.get("audio_url"):
            return 400, {"error": "audio_url is required"}
        if not body.get("speech_models"):
            return 400, {"error": "speech_models is required"}
        key = self._lines[self._next].id or f"recording-{len(self._made) + 1}"
        self._made[key] = self._next, now
        return 200, self._state(key, now)

    def _status_of(self, key: str, now: float) -> Reply:
        if key not in self._made:
            return 404, {"error": "Transcript lookup error, transcript id not found"}
        return self._refusal(self._made[key][0], "look") or (200, self._state(key, now))

    def _state(self, key: str, now: float) -> Tree:
        index, since = self._made[key]
        line, passed = self._lines[index], (now - since) * 1000
        state: Tree = {"id": key, "audio_url": UPLOADED, "status": "queued"}
        if passed >= line.queued_ms + line.processing_ms:
            if line.error is not None:
                return {**state, "status": "error", "error": line.error}
            return {**state, "status": "completed", "text": line.text, "words": []}
        return {**state, "status": "processing"} if passed >= line.queued_ms else state
