"""Headers that a request may carry once, in the types of both libraries that read them."""

import pytest
from multidict import CIMultiDict
from websockets.datastructures import Headers

from pipeline.hub.http_requests import SINGLE, HostCheck

CHECK = HostCheck("127.0.0.1")
HOST = ("Host", "127.0.0.1")


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("kind", [Headers, CIMultiDict])
def test_a_header_that_is_sent_twice_is_refused(
    kind: type[Headers] | type[CIMultiDict[str]], name: str
) -> None:
    pairs = [("Host", "127.0.0.1")] if name != "Host" else []
    twice = [*pairs, (name, "127.0.0.1"), (name.lower(), "127.0.0.1")]
    refused = CHECK.refusal(kind(twice))
    assert refused is not None
    assert (refused.status, name in refused.body.decode()) == (400, True)


@pytest.mark.parametrize("origin", ["http://[::1", "http://a]b", "null", "", "://"])
def test_an_origin_that_is_no_address_is_refused(origin: str) -> None:
    refused = CHECK.refusal({"Host": "127.0.0.1", "Origin": origin})
    assert refused is not None
    assert refused.status == 403


def test_other_headers_may_come_several_times() -> None:
    assert (
        CHECK.refusal(Headers([HOST, ("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")])) is None
    )
