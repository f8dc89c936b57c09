"""Table of the wire formats of sources, by name in ``/v1/ingest/`` or by path. Pure."""

from collections.abc import Callable, Mapping

from pipeline.ingest.attendee import AttendeeAdapter
from pipeline.ingest.livekit import LiveKitAdapter
from pipeline.ingest.raw import RawAdapter
from pipeline.ingest.recall import RecallAdapter
from pipeline.ingest.relay import RelayAdapter
from pipeline.ingest.telnyx import TelnyxAdapter
from pipeline.ingest.twilio import TwilioAdapter

RELAY = "/v1/relay/twilio"

Format = (
    RawAdapter
    | TwilioAdapter
    | TelnyxAdapter
    | AttendeeAdapter
    | RecallAdapter
    | LiveKitAdapter
    | RelayAdapter
)

ADAPTERS: Mapping[str, Callable[[Mapping[str, str]], Format]] = {
    "raw": RawAdapter,
    "twilio": TwilioAdapter,
    "telnyx": TelnyxAdapter,
    "attendee": AttendeeAdapter,
    "recall": RecallAdapter,
    "livekit": LiveKitAdapter,
    RELAY: RelayAdapter,
}
