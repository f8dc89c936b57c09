"""What the replies of a prompt must look like: JSON, asked for as each model understands it."""

from msgspec.structs import replace

from pipeline.completions import CompletionRequest, JsonMode, JsonReader, Verdict
from pipeline.gateway.partial import PartialJson
from pipeline.gateway.reply import Invalid, Structured, Valid


class JsonForm:
    """Asks for JSON in the way that the model understands. Satisfies ``completions.Form``."""

    def __init__(self, structured: Structured, mode: JsonMode, *, beside_tools: bool) -> None:
        """``beside_tools``: others are offered, to which a forced call would leave no room."""
        self._structured = structured
        self._beside_tools = beside_tools
        self._mode: JsonMode = self._fitting(mode)

    def ask(self, request: CompletionRequest) -> CompletionRequest:
        asked = self._structured.ask(request, self._mode)
        return replace(asked, recast=self._recast)

    def _recast(self, request: CompletionRequest, mode: JsonMode) -> CompletionRequest:
        return self._structured.recast(request, self._mode, self._fitting(mode))

    def _fitting(self, mode: JsonMode) -> JsonMode:
        return "prompt" if mode == "tool" and self._beside_tools else mode

    def reader(self) -> PartialJson:
        return self._structured.reader()

    def judge(self, text: str, reader: JsonReader) -> Verdict:
        shown = reader if isinstance(reader, PartialJson) else None
        match self._structured.judge(text, shown):
            case Valid(value):
                return Verdict(value)
            case Invalid(error):
                return Verdict(error=error)

    def ask_again(
        self, request: CompletionRequest, text: str, error: str, tries: int
    ) -> CompletionRequest | None:
        return self._structured.reask(request, Invalid(error, text), tries)
