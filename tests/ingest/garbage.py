"""Invalid messages, and the check that an adapter refuses them."""

import json
from typing import Any

from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.interfaces.ingest import Adapter

#: JSON of any shape, with words of the formats sprinkled in
_words = st.sampled_from(
    ["event", "type", "start", "media", "stop", "dtmf", "payload", "chunk", "data", "buffer",
     "trigger", "streamSid", "stream_id", "sequenceNumber", "tracks", "prompt", "interrupt",
     "setup", "voicePrompt", "customParameters", "media_format", "sample_rate", "inbound", "1"]
)  # fmt: skip
_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | _words
)
_json = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_words | st.text(), inner, max_size=5)
    ),
    max_leaves=12,
)

garbage: st.SearchStrategy[bytes | str] = st.one_of(
    st.binary(max_size=200), st.text(max_size=200), _json.map(json.dumps)
)


def complaint(adapter: Adapter, message: bytes | str) -> str | None:
    """Feed ``message``; return the error message, if any."""
    try:
        adapter.receive(message)
    except InputError as error:
        return str(error)
    return None


def altered(message: dict[str, Any], path: tuple[str, ...], value: object) -> str:
    """Return ``message`` as JSON with another ``value`` at ``path``."""
    copy: Any = json.loads(json.dumps(message))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(copy)
