"""Counts, rates, and the client address behind proxies."""

from typing import Any

import pytest

from pipeline.config.settings import ServeSettings
from pipeline.errors import SettingsError
from pipeline.hub.auth.admission import Admission
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.limits import (
    ConnectionCounter,
    RateLimiter,
    counting_name,
    is_within,
    networks,
)
from pipeline.hub.auth.tokens import Access
from pipeline.protocol.close_codes import CloseCode, Disconnect

PROXIES = networks(["10.0.0.0/8", "fd00::1"])


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = RateLimiter(rate=2, burst=4)
    assert [bucket.take(100.0) for _ in range(5)] == [True] * 4 + [False]
    assert [bucket.take(100.5), bucket.take(100.5), bucket.take(101.0)] == [True, False, True]
    assert sum(bucket.take(200.0) for _ in range(10)) == 4


def test_the_last_place_is_given_and_given_again_when_it_is_left() -> None:
    crowd = ConnectionCounter(2, "{most} of {name}")
    leave = crowd.enter("a")
    with crowd.counting("a"):
        with pytest.raises(Disconnect, match="2 of a") as refused:
            crowd.enter("a")
        assert refused.value.code == CloseCode.LIMIT
        crowd.enter("b")()
    leave()
    crowd.enter("a")()
    assert not len(crowd)  # nothing is kept of who has left


def test_who_has_no_name_is_not_counted() -> None:
    crowd = ConnectionCounter(1, "")
    for _ in range(3):
        crowd.enter("")


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # from no proxy of ours
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (
            "10.0.0.1",
            "1.2.3.4, 198.51.100.1",
            "198.51.100.1",
        ),  # the first one is the client's claim
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, rubbish", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1", ""),
        ("fd00::1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", ""),
        ("::1", "", ""),
        ("", "198.51.100.1", ""),
    ],
)
def test_an_address_is_whose_the_last_known_proxy_says(
    peer: str, forwarded: str, counted: str
) -> None:
    assert counting_name(peer, forwarded, PROXIES) == counted
    assert is_within(peer, PROXIES) == (peer in ("10.0.0.1", "fd00::1"))


def reception(access: Access | None = None, **settings: Any) -> Admission:
    return Admission(access, {"/v1/events"}, set(), ServeSettings(**settings))


def test_one_address_cannot_have_every_place() -> None:
    desk = reception(max_per_address=2)
    first = desk.enter(Grant(), "203.0.113.7", "198.51.100.1", now=0)
    desk.enter(Grant(), "203.0.113.7", "198.51.100.2", now=0)
    for spoofed in ("", "198.51.100.3"):
        with pytest.raises(
            Disconnect, match=r"2 websockets are open from 203\.0\.113\.7"
        ) as refused:
            desk.enter(Grant(), "203.0.113.7", spoofed, now=0)
        assert refused.value.code == CloseCode.LIMIT
    desk.enter(Grant(), "203.0.113.8", "", now=0)
    first.close()
    desk.enter(Grant(), "203.0.113.7", "", now=0)


def test_connections_that_say_nothing_count_too_but_not_those_of_a_proxy() -> None:
    desk = reception(max_per_address=2, trusted_proxies=("10.0.0.1",))
    for _ in range(2 + 32):
        desk.count_connection("203.0.113.7")
    with pytest.raises(Disconnect):
        desk.count_connection("203.0.113.7")
    for _ in range(1000):
        desk.count_connection("10.0.0.1")


def test_more_than_so_many_requests_a_second_are_put_off_but_no_health_check() -> None:
    desk = reception(requests_per_second=10)
    for _ in range(40):
        request(desk, "/v1/events")
    with pytest.raises(Disconnect) as refused:
        request(desk, "/v1/events")
    assert refused.value.code == CloseCode.LATER
    request(desk, "/healthz")
    request(desk, "/v1/events", clock=0.1)


def test_clients_without_a_token_do_not_use_up_the_rate_of_the_others() -> None:
    access = Access({"secret": Grant(holder="one")})
    desk = reception(access, requests_per_second=10)
    codes: list[int] = []
    for token in [""] * 50 + ["guess"] * 50:
        with pytest.raises(Disconnect) as refused:
            request(desk, "/v1/events", token)
        codes.append(refused.value.code)
    assert codes == [CloseCode.UNAUTHORIZED] * 40 + [CloseCode.LATER] * 60
    assert request(desk, "/v1/events", "secret").holder == "one"


def request(desk: Admission, path: str, token: str = "", *, clock: float = 0) -> Grant:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return desk.admit(path, "", headers, now=1e9, clock=clock)


def test_a_proxy_that_is_no_address_is_named() -> None:
    with pytest.raises(SettingsError, match=r"serve\.trusted_proxies: 'nginx' does not appear"):
        reception(trusted_proxies=("nginx",))
