"""Where to connect and with what: one frozen value, checked before anything is sent. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.settings import SttSettings
from pipeline.errors import SettingsError
from pipeline.runtime.hosts import is_assemblyai, is_loopback
from pipeline.stt.assemblyai.parameters import Family, check, check_model, family_of, text_of

PATH = "/v3/ws"
HOSTS = {
    "default": "streaming.assemblyai.com",
    "us": "streaming.us.assemblyai.com",
    "eu": "streaming.eu.assemblyai.com",
}
#: times real time: the vendor processes at most about 1.25x, and may close with 3007 when it
#: gets audio faster (AssemblyAI docs, common session errors, 2026-03)
VENDOR_PACE = 1.25
#: seconds of told audio sent again before what is new, where that costs no time: a voice detector
#: that has just begun opens a segment elsewhere, and the recogniser then finds other words
RUN_UP = 2.0
_BYTES_PER_SAMPLE = {"pcm_s16le": 2, "pcm_mulaw": 1}


class SttEndpoint(Struct, frozen=True, kw_only=True):
    """One speech-to-text endpoint and everything it is told when connecting."""

    url: str  #: with the query string; holds the token, if there is one: not for messages
    host: str  #: for messages
    headers: dict[str, str] = {}
    model: str
    parameters: dict[str, Any] = {}
    sample_rate: int = 16_000  #: hertz
    encoding: str = "pcm_s16le"
    connect_timeout: float = 10.0  #: seconds until Begin
    close_timeout: float = 5.0  #: seconds to wait for the last turn after Terminate
    send_timeout: float = 2.0  #: seconds one message may take to leave
    pace: float = 0.0  #: at most so many times real time; 0 is no limit
    loopback: bool = False  #: the server is on this machine
    patience: float = 60.0  #: seconds without a session before it is given up
    keep_memory: float = 60.0  #: seconds of audio kept in memory, to be sent again
    keep_disk: float = 600.0  #: seconds of older audio kept in a file; 0 is none
    #: seconds of told audio that are sent again first: recognisers place the end of a word up to
    #: some tenths too late
    run_up: float = 0.5

    @property
    def family(self) -> Family:
        return family_of(self.model)

    @property
    def partials(self) -> bool:
        """Turns are heard of before they end."""
        hidden = self.parameters.get("redact_pii") is True
        return self.parameters.get("include_partial_turns") is not False and not hidden

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * _BYTES_PER_SAMPLE[self.encoding]


def endpoint_for(
    settings: SttSettings, key: str | None = None, url_override: str | None = None
) -> SttEndpoint:
    """Make the connection that the settings describe; ``url_override`` names another server.

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
    if encoding not in _BYTES_PER_SAMPLE:
        raise SettingsError(
            f'stt.parameters.encoding is "{encoding}", but audio is sent uncompressed:'
            " pcm_s16le or pcm_mulaw"
        )
    path = url.path if url.path.strip("/") else PATH
    kept = dict(parse_qsl(url.query)) | {name: text_of(value) for name, value in query.items()}
    return SttEndpoint(
        url=urlunsplit((url.scheme, url.netloc, path, urlencode(kept), "")),
        host=url.netloc.rpartition("@")[2],
        headers={} if key is None or "token" in query else {"Authorization": key},
        model=query["speech_model"],
        parameters=query,
        sample_rate=rate,
        encoding=encoding,
        connect_timeout=settings.connect_timeout,
        close_timeout=settings.close_timeout,
        patience=settings.patience,
        keep_memory=settings.keep_memory,
        keep_disk=settings.keep_disk,
        pace=VENDOR_PACE if vendor else 0.0,
        run_up=SttEndpoint.run_up if vendor else RUN_UP,
        loopback=loopback,
    )


def changed(connection: SttEndpoint, changes: Mapping[str, Any]) -> SttEndpoint:
    """Return the connection with parameters that were checked and changed while it was open."""
    url = urlsplit(connection.url)
    query = dict(parse_qsl(url.query)) | {name: text_of(value) for name, value in changes.items()}
    return replace(
        connection,
        url=urlunsplit(url._replace(query=urlencode(query))),
        parameters=connection.parameters | dict(changes),
    )


def _query(settings: SttSettings, *, vendor: bool) -> dict[str, Any]:
    model = settings.parameters.get("speech_model", settings.speech_model)
    if vendor:
        check_model(str(model))
    audio = {"speech_model": str(model), "sample_rate": 16_000, "encoding": "pcm_s16le"}
    watch = {"session_heartbeat": True}  # how a half-open connection is found out
    return audio | watch | check(settings.parameters, str(model))


def _check_address(scheme: str, host: str | None, address: str) -> None:
    if scheme not in ("ws", "wss") or not host:
        raise SettingsError(
            f'stt.engine "{address}" is no address; it looks like ws://127.0.0.1:8080/v3/ws'
        )
