"""llama.cpp in this process, by xllamacpp."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import xllamacpp

Piece = dict[str, Any]

#: prompt tokens per batch: a call can be stopped between batches
_BATCH = 128


class EngineRefused(Exception):
    """Refusal by the engine, with its message."""


class Llama:
    """The language model. Blocking and thread-safe; ``slots`` concurrent calls, others wait."""

    def __init__(self, gguf: Path, *, threads: int, slots: int, context: int) -> None:
        packaged = gguf.name.startswith("SmolLM2-135M-Instruct")
        self.name = "smollm2-135m-instruct" if packaged else gguf.stem.lower()
        self.slots = slots
        self.context = context  #: tokens, of one slot
        params = cast("Any", xllamacpp).CommonParams()
        params.model.path = str(gguf)
        params.model_alias = {self.name}
        params.n_parallel = slots
        params.n_ctx = context * slots
        params.n_batch = params.n_ubatch = _BATCH
        # One thread generates, all of them process prompts: on busy cores the threads of one
        # token wait for each other, and the recogniser always runs at the same time.
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = threads
        params.cpuparams.poll = params.cpuparams_batch.poll = 0  # sleep, do not spin
        params.warmup = False  # the prefill of the system prompt warms it up
        params.fit_params = False
        params.cache_ram_mib = 0
        params.verbosity = 0
        # It always listens on a port of its own, which stays unpublished, with a random key.
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [secrets.token_urlsafe(32)]
        params.ui = False
        params.endpoint_slots = False
        self._engine = cast("Any", xllamacpp).Server(params)

    def prefill(self, beginning: list[dict[str, str]]) -> None:
        """Process the beginning of conversations in every slot, so that it is cached."""
        messages = [*beginning, {"role": "user", "content": "Hello."}]
        for slot in range(self.slots):
            self.complete({"messages": messages, "max_tokens": 1, "id_slot": slot})

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the whole reply."""
        answer: object = self._call({**body, "cache_prompt": True}, None)
        if not isinstance(answer, dict):
            raise EngineRefused("the engine returned no reply")
        return _checked(cast("dict[str, Any]", answer))

    def stream(self, body: dict[str, Any], on_piece: Callable[[Piece], bool]) -> None:
        """Call ``on_piece`` with each piece, prompt progress included, until it returns True."""
        refused: list[EngineRefused] = []  # the engine ignores exceptions in its callback

        def each(piece: object) -> bool:
            try:
                return on_piece(_checked(cast("Piece", piece)))
            except EngineRefused as error:
                refused.append(error)
                return True

        asked = {**body, "cache_prompt": True, "stream": True, "return_progress": True}
        self._call(asked, each)
        if refused:
            raise refused[0]

    def _call(self, body: dict[str, Any], each: Callable[[object], bool] | None) -> object:
        try:
            return self._engine.handle_chat_completions(body, each)
        except (RuntimeError, ValueError) as error:
            raise EngineRefused(str(error)) from error


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the reply. Raises ``EngineRefused`` if it is an error."""
    error: Any = answer.get("error")
    if error is None:
        return answer
    text = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        text = f"model context limit exceeded: {text}"
    raise EngineRefused(text)
