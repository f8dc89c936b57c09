"""Endpoint of AssemblyAI's Streaming v3: address and checked parameters. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec.structs import replace

from pipeline.config.settings import SttSettings
from pipeline.errors import SettingsError, SttError
from pipeline.interfaces.stt_protocol import BYTES_PER_SAMPLE, Capabilities, SttEndpoint
from pipeline.runtime.hosts import is_assemblyai, is_loopback
from pipeline.stt.assemblyai.close_codes import of_handshake
from pipeline.stt.assemblyai.parameters import (
    PARAMETERS,
    Family,
    check,
    check_changes,
    check_model,
    family_of,
    text_of,
    warnings,
)
from pipeline.stt.assemblyai.protocol import StreamProtocol

PATH = "/v3/ws"
HOSTS = {
    "default": "streaming.assemblyai.com",
    "us": "streaming.us.assemblyai.com",
    "eu": "streaming.eu.assemblyai.com",
}
#: times real time: the vendor processes at most about 1.25x, and may close with 3007 when it
#: gets audio faster (AssemblyAI docs, common session errors, 2026-03)
VENDOR_PACE = 1.25
VENDOR_RUN_UP = 0.5  #: seconds of published audio that a resend starts with: it costs time there
#: seconds, the same where audio may be sent at any pace: a voice detector that has just begun
#: opens a segment elsewhere, and the recogniser then finds other words
RUN_UP = 2.0


class AssemblyAIEndpoint(SttEndpoint, frozen=True, kw_only=True):
    """One Streaming v3 server: AssemblyAI's own, or another that speaks its protocol."""

    @property
    def family(self) -> Family:
        return family_of(self.model)

    def protocol(self) -> StreamProtocol:
        """Return the state machine of a new connection."""
        return StreamProtocol(self)

    def check_update(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``changes`` under their present names. Raises ``SettingsError``."""
        return check_changes(changes, self.model)

    def updated(self, changes: Mapping[str, Any]) -> "AssemblyAIEndpoint":
        """Return the endpoint for the connections after ``changes``, which were checked."""
        url = urlsplit(self.url)
        values = {name: text_of(value) for name, value in changes.items()}
        query = dict(parse_qsl(url.query)) | values
        return replace(
            self,
            url=urlunsplit(url._replace(query=urlencode(query))),
            parameters=self.parameters | dict(changes),
            capabilities=_capabilities(self.parameters | dict(changes), self.model),
        )

    def handshake_error(self, status: int, body: str) -> SttError:
        """Return the error for an HTTP response in place of a websocket."""
        return of_handshake(status, self.host, body, key_given=bool(self.headers))


def endpoint_for(
    settings: SttSettings, key: str | None = None, url_override: str | None = None
) -> AssemblyAIEndpoint:
    """Return the endpoint that the settings describe; ``url_override`` is another address.

    Raises ``SettingsError`` for a value that the server would refuse or silently ignore.
    """
    address = url_override or (settings.engine if "://" in settings.engine else "")
    url = urlsplit(address or f"wss://{HOSTS[settings.region]}{PATH}")
    _check_address(url.scheme, url.hostname, address)
    host = str(url.hostname)
    loopback = is_loopback(host)
    vendor = is_assemblyai(host)
    if vendor and url.scheme != "wss":
        raise SettingsError(f"{host} must be reached with wss://, or the key travels in clear")
    query = _query(settings, vendor=vendor)
    rate, encoding = query["sample_rate"], query["encoding"]
    if encoding not in BYTES_PER_SAMPLE:
        raise SettingsError(
            f'stt.parameters.encoding is "{encoding}", but audio is sent uncompressed:'
            " pcm_s16le or pcm_mulaw"
        )
    path = url.path if url.path.strip("/") else PATH
    given = dict(parse_qsl(url.query)) | {name: text_of(value) for name, value in query.items()}
    return AssemblyAIEndpoint(
        url=urlunsplit((url.scheme, url.netloc, path, urlencode(given), "")),
        host=url.netloc.rpartition("@")[2],
        headers={} if key is None or "token" in query else {"Authorization": key},
        model=query["speech_model"],
        parameters=query,
        capabilities=_capabilities(query, query["speech_model"]),
        warnings=warnings(settings.parameters),
        sample_rate=rate,
        encoding=encoding,
        connect_timeout=settings.connect_timeout,
        close_timeout=settings.close_timeout,
        patience=settings.patience,
        keep_memory=settings.keep_memory,
        keep_disk=settings.keep_disk,
        pace=VENDOR_PACE if vendor else 0.0,
        run_up=VENDOR_RUN_UP if vendor else RUN_UP,
        loopback=loopback,
    )


def _query(settings: SttSettings, *, vendor: bool) -> dict[str, Any]:
    model = settings.parameters.get("speech_model", settings.speech_model)
    if vendor:
        check_model(str(model))
    audio = {"speech_model": str(model), "sample_rate": 16_000, "encoding": "pcm_s16le"}
    watch = {"session_heartbeat": True}  # detects half-open connections
    known = [name for name in settings.extra if name in PARAMETERS]
    if known:
        raise SettingsError(f"stt.extra: {known[0]} is known: put it into stt.parameters")
    return audio | watch | check(settings.parameters, str(model)) | settings.extra


def _capabilities(query: Mapping[str, Any], model: str) -> Capabilities:
    redacted = query.get("redact_pii") is True  # which needs the whole turn
    return Capabilities(
        partials=query.get("include_partial_turns") is not False and not redacted,
        turn_silence=query.get("max_turn_silence", 0) / 1000,
        agent_context=family_of(model) == "universal-3",
    )


def _check_address(scheme: str, host: str | None, address: str) -> None:
    if scheme not in ("ws", "wss") or not host:
        raise SettingsError(
            f'stt.engine "{address}" is no address; it looks like ws://127.0.0.1:8080/v3/ws'
        )
