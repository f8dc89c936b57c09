"""Connection parameters of Streaming v3 and their permitted values. Pure.

Names, ranges and models: AssemblyAI streaming API reference and "Universal-3 Pro Streaming",
2026-11; the list of models: the server's own rejection text, 2026-09-24. The server ignores
unknown names silently, and ends the session on an invalid value of a known one: hence the table.
A name that is not in it is sent all the same: it may be newer than the table.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from pipeline.errors import SettingsError

Kind = Literal["int", "float", "bool", "str", "list", "object"]
Family = Literal["universal-streaming", "universal-3", "other"]

MODELS = (
    "universal-streaming-english",
    "universal-streaming-multilingual",
    "whisper-rt",
    "u3-rt-pro",
    "u3-rt-pro-beta-1",
    "u3-rt-agent",
    "universal-3-5-pro",
    "universal-3-6-pro",
    "universal-3-6",
    "universal-3-7-preview",
    "_universal-3-5-notetaker",
)
#: names in older texts, or similar to a present name, that the server refuses
_STALE_MODELS = {
    "universal-3-pro": "universal-3-5-pro",
    "universal-3-5-pro-realtime": "universal-3-5-pro",
    "u3-pro": "u3-rt-pro",
    "universal-streaming": "universal-streaming-english",
}
#: other names of parameters, mostly older ones; the server accepts either
_RENAMED = {
    "min_end_of_turn_silence_when_confident": "min_turn_silence",
    "noise_suppression_model": "voice_focus",
    "noise_suppression_threshold": "voice_focus_threshold",
    "keyterms": "keyterms_prompt",
    "_customer_support_audio_capture": "customer_support_audio_capture",
}


class Parameter(Struct, frozen=True, kw_only=True):
    """Permitted values of one parameter."""

    kind: Kind
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    limit: int | None = None  #: characters of a text, items of a list
    family: Family | None = None  #: only these models accept it
    live: bool = False  #: may be changed in a running session


_U3: Family = "universal-3"
_US: Family = "universal-streaming"

PARAMETERS: dict[str, Parameter] = {
    "speech_model": Parameter(kind="str"),
    "sample_rate": Parameter(kind="int", low=8000, high=96_000),
    "encoding": Parameter(
        kind="str", choices=("pcm_s16le", "pcm_mulaw", "opus", "ogg_opus", "aac")
    ),
    "token": Parameter(kind="str"),
    "inactivity_timeout": Parameter(kind="int", low=5, high=3600),
    # turns and partials
    "format_turns": Parameter(kind="bool", live=True),  # tolerated by every model
    "end_of_turn_confidence_threshold": Parameter(
        kind="float", low=0, high=1, family=_US, live=True
    ),
    "min_turn_silence": Parameter(kind="int", low=50, high=10_000, live=True),
    "max_turn_silence": Parameter(kind="int", low=50, high=60_000, live=True),
    "vad_threshold": Parameter(kind="float", low=0, high=1, live=True),
    "max_turn_duration": Parameter(kind="int", low=1, high=10_800),  # seconds
    "mode": Parameter(kind="str", choices=("min_latency", "balanced", "max_accuracy"), live=True),
    "interruption_delay": Parameter(kind="int", low=0, high=1000, family=_U3, live=True),
    "continuous_partials": Parameter(kind="bool", family=_U3, live=True),
    "include_partial_turns": Parameter(kind="bool"),
    "turn_left_pad_ms": Parameter(kind="int", low=0, high=10_000, live=True),
    # sent by pipecat 1.14; not in the present reference
    "formatted_finals": Parameter(kind="bool"),
    "word_finalization_max_wait_time": Parameter(kind="int"),
    # context and vocabulary
    "keyterms_prompt": Parameter(kind="list", limit=100, live=True),
    "prompt": Parameter(kind="str", limit=1750, family=_U3, live=True),
    "agent_context": Parameter(kind="str", limit=1750, family=_U3, live=True),
    "previous_context_n_turns": Parameter(kind="int", low=0, high=100, family=_U3),
    "language_codes": Parameter(kind="list", limit=10, family=_U3, live=True),
    "language_code": Parameter(kind="str", family=_U3),
    "language_detection": Parameter(kind="bool"),
    "domain": Parameter(kind="str", choices=("medical-v1",)),
    # speakers, filters, side channels
    "speaker_labels": Parameter(kind="bool"),
    "max_speakers": Parameter(kind="int", low=1, high=10),
    "speaker_labels_revision_interval_ms": Parameter(kind="int", low=0, high=86_400_000),
    "voice_focus": Parameter(kind="str", choices=("near-field", "far-field"), family=_U3),
    "voice_focus_threshold": Parameter(kind="float", low=0, high=1, family=_U3),
    "filter_profanity": Parameter(kind="bool", live=True),
    "redact_pii": Parameter(kind="bool"),
    "redact_pii_policies": Parameter(kind="list"),
    "redact_pii_sub": Parameter(kind="str", choices=("hash", "entity_name")),
    "session_heartbeat": Parameter(kind="bool", live=True),
    "acknowledge_silence": Parameter(kind="bool", family=_U3, live=True),
    "webhook_url": Parameter(kind="str"),
    "webhook_auth_header_name": Parameter(kind="str"),
    "webhook_auth_header_value": Parameter(kind="str"),
    "customer_support_audio_capture": Parameter(kind="bool"),
    "llm_gateway": Parameter(kind="object"),
}

#: ``mode`` of the models that do not know it: the documented presets of Universal-Streaming, which
#: are called aggressive, balanced and conservative there
_STREAMING_MODES: Mapping[str, Mapping[str, float]] = {
    mode: {
        "end_of_turn_confidence_threshold": threshold,
        "min_turn_silence": least,
        "max_turn_silence": most,
    }
    for mode, threshold, least, most in (
        ("min_latency", 0.4, 160, 400),
        ("balanced", 0.4, 400, 1280),
        ("max_accuracy", 0.7, 800, 3600),
    )
}


def family_of(model: str) -> Family:
    """Return the family of a model, by its name."""
    if model.startswith("universal-streaming-"):
        return "universal-streaming"
    if model.lstrip("_").startswith(("u3-", "universal-3")):
        return "universal-3"
    return "other"


def check(parameters: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the parameters under their present names.

    Raises ``SettingsError`` naming the parameter, the value and what it may be.
    """
    checked: dict[str, Any] = {}
    for given, value in parameters.items():
        name = _RENAMED.get(given, given)
        known = PARAMETERS.get(name)
        if known is not None:
            _check_family(name, known, model)
            _check_value(name, known, value)
        elif meant := _meant(name, 0.9):
            raise SettingsError(
                f'stt.parameters: there is no "{name}"; did you mean "{meant}"? A parameter that is'
                " so new that it is not known here goes into stt.extra"
            )
        if name != given and name in parameters:
            continue  # the new name wins, as in the vendor's SDKs
        checked[name] = value
    if "voice_focus_threshold" in checked and "voice_focus" not in checked:
        raise SettingsError("stt.parameters.voice_focus_threshold needs voice_focus, too")
    return _with_mode(checked, model)


def warnings(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a warning for each name that is not known here: the server ignores a wrong one."""
    unknown = [name for name in parameters if _RENAMED.get(name, name) not in PARAMETERS]
    return tuple(
        f'stt.parameters: "{name}" is not known here and is sent as it is'
        + (f'; did you mean "{meant}"?' if (meant := _meant(name, 0.6)) else "")
        for name in unknown
    )


def _with_mode(checked: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the parameters with ``mode`` as its values, for the models that do not know it."""
    if "mode" not in checked or family_of(model) != _US:
        return checked
    rest = {name: value for name, value in checked.items() if name != "mode"}
    return {**_STREAMING_MODES[checked["mode"]], **rest}


def check_model(model: str) -> None:
    """Refuse an empty, outdated or mistyped model; accept an unknown name.

    Raises ``SettingsError``.
    """
    if not model:
        raise SettingsError(f"stt.speech_model is empty; known models: {', '.join(MODELS)}")
    if model in MODELS:
        return
    meant = _STALE_MODELS.get(model) or _typo(model)
    if meant:
        raise SettingsError(f'stt.speech_model "{model}" is no model; did you mean "{meant}"?')


def _typo(model: str) -> str | None:
    """Return the model that was probably meant; other digits are another version."""
    digits = [letter for letter in model if letter.isdigit()]
    for close in difflib.get_close_matches(model, MODELS, n=3, cutoff=0.85):
        if [letter for letter in close if letter.isdigit()] == digits:
            return close
    return None


def check_changes(changes: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Check changes of a running session, which an invalid value would end.

    Raises ``SettingsError``.
    """
    for name in changes:
        known = PARAMETERS.get(_RENAMED.get(name, name))
        if known is None or not known.live:
            live = ", ".join(sorted(key for key, kind in PARAMETERS.items() if kind.live))
            raise SettingsError(
                f'"{name[:100]}" cannot change in a running session; these can: {live}'
            )
    return check(changes, model)


def text_of(value: Any) -> str:
    """Encode one value for the query string: lists and objects as one JSON text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _meant(name: str, cutoff: float) -> str:
    """Return the parameter that was probably meant; empty if none is so similar."""
    return next(iter(difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=cutoff)), "")


def _check_family(name: str, known: Parameter, model: str) -> None:
    family = family_of(model)
    if known.family is None or family in (known.family, "other"):
        return
    takers = "universal-streaming-*" if known.family == _US else "universal-3-* and u3-*"
    raise SettingsError(
        f"stt.parameters.{name} is for the models {takers}, and speech_model is {model}:"
        " remove it or change the model"
    )


def _check_value(name: str, known: Parameter, value: Any) -> None:
    fits, wanted = _fit(known, value)
    if not fits:
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
        raise SettingsError(f"stt.parameters.{name} is {shown}; it must be {wanted}")
    if name == "language_codes" and "multi" in value and len(value) > 1:
        raise SettingsError('stt.parameters.language_codes: "multi" must stand alone')


def _fit(known: Parameter, value: Any) -> tuple[bool, str]:
    """Return whether the value is permitted, and a description of the permitted values."""
    if known.kind == "bool":
        return isinstance(value, bool), "true or false"
    if known.kind in ("int", "float"):
        return _fit_number(known, value)
    if known.kind == "object":
        return isinstance(value, dict), "a table"
    if known.kind == "list":
        return _fit_list(known, value)
    return _fit_text(known, value)


def _fit_number(known: Parameter, value: Any) -> tuple[bool, str]:
    kinds = (int,) if known.kind == "int" else (int, float)
    what = "a whole number" if known.kind == "int" else "a number"
    right = isinstance(value, kinds) and not isinstance(value, bool)
    if known.low is None or known.high is None:
        return right, what
    fits = right and known.low <= value <= known.high
    return fits, f"{what} from {known.low:g} to {known.high:g}"


def _fit_list(known: Parameter, value: Any) -> tuple[bool, str]:
    if not isinstance(value, list | tuple):
        return False, "a list of texts"
    items = cast("Sequence[object]", value)
    texts = all(isinstance(item, str) for item in items)
    if known.limit is None:
        return texts, "a list of texts"
    return texts and len(items) <= known.limit, f"a list of at most {known.limit} texts"


def _fit_text(known: Parameter, value: Any) -> tuple[bool, str]:
    if known.choices:
        return value in known.choices, "one of " + ", ".join(known.choices)
    if known.limit is None:
        return isinstance(value, str), "a text"
    fits = isinstance(value, str) and len(value) <= known.limit
    return fits, f"a text of at most {known.limit} characters"
