"""Signed tokens: validity, expiry, single use, and forgeries."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.hub.auth import signed_tokens
from pipeline.hub.auth.grants import Grant
from pipeline.hub.auth.signed_tokens import CLOCK_SKEW, MAX_LIFETIME, Signing
from pipeline.hub.auth.token_endpoint import narrowed, requested_token
from pipeline.protocol.close_codes import CloseCode, Disconnect

OLD, NEW, THEIRS = "o" * 32, "n" * 32, "t" * 32
START = 1_000_000.0  #: seconds since 1970
SIGNING = Signing({"new": NEW, "old": OLD}, since=START)
GRANT = Grant(frozenset({"subscribe"}), "s1", holder="backend/alice", lasts=90)
TOKEN = SIGNING.sign(GRANT, seconds=60, now=START, jti="once")
CLAIMS = jwt.decode(TOKEN, options={"verify_signature": False})
#: what everybody may know of a pair of keys
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALq\n-----END PUBLIC KEY-----"


def forged(kid: object = "new", key: str = NEW, alg: str = "HS256", **claims: Any) -> str:
    """A token like ours, but for what is given; None leaves a claim out."""
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return by_hand({"alg": alg, "typ": "JWT", "kid": kid}, said, key)


def by_hand(header: object, claims: object, key: str) -> str:
    """What no library would sign."""
    parts = [_base64(json.dumps(part).encode()) for part in (header, claims)]
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(".".join(parts).encode(), key.encode()) if key else b""
    return ".".join([*parts, _base64(signature)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(token: str, now: float = START, signing: Signing = SIGNING) -> str:
    with pytest.raises(Disconnect) as refused:
        signing.read(token, now=now)
    assert refused.value.code == CloseCode.UNAUTHORIZED
    return str(refused.value)


def test_a_token_says_what_it_was_made_for() -> None:
    grant = SIGNING.read(TOKEN, now=START)
    assert grant.scopes == GRANT.scopes
    assert (grant.session_id, grant.holder) == ("s1", "backend/alice")
    assert (grant.lasts, grant.lifetime, grant.jti) == (90, 60, "once")


def test_the_first_key_signs_and_one_that_is_on_its_way_out_still_opens() -> None:
    assert jwt.get_unverified_header(TOKEN) == {"alg": "HS256", "kid": "new", "typ": "JWT"}
    SIGNING.read(forged(kid="old", key=OLD), now=START)
    after = Signing({"new": NEW}, since=START)
    assert "not valid on this server" in refusal(forged(kid="old", key=OLD), signing=after)


@pytest.mark.parametrize(
    "token",
    [
        by_hand({"alg": "none", "kid": "new"}, CLAIMS, ""),
        by_hand({"alg": "None", "kid": "new"}, CLAIMS, NEW),
        forged(alg="RS256"),
        forged(alg="RS256", key=PUBLIC),
        forged(alg="HS512"),
        forged(alg="EdDSA"),
        forged(key=THEIRS),
        forged(key=OLD),
        forged(kid="old"),
        forged(kid="theirs", key=THEIRS),
        forged(kid="../../dev/null", key=""),
        forged(kid=None),
        forged(kid=["new"]),
        forged(kid={"new": 1}),
        forged(aud="elsewhere"),
        forged(aud=None),
        forged(exp=None),
        forged(iat=None),
        forged(jti=None),
        forged(jti=""),
        forged(jti="x" * 65),
        forged(scope=None),
        forged(sid=7),
        forged(exp="never"),
        TOKEN[:-1],
        TOKEN.rpartition(".")[0],
        TOKEN.rpartition(".")[0] + ".",
        TOKEN + "." + TOKEN,
        by_hand({"alg": "HS256", "kid": "new", "jwk": {"kty": "oct", "k": "dDA"}}, CLAIMS, "t0"),
        by_hand({"alg": "HS256", "kid": "new", "crit": ["exp"]}, CLAIMS, NEW),
        by_hand({"alg": "HS256", "kid": "new"}, CLAIMS | {"pad": "x" * 3000}, NEW),
        by_hand([], CLAIMS, NEW),
        by_hand({"alg": "HS256", "kid": "new"}, [], NEW),
        "..",
        "a.b.c",
        _base64(b"[" * 1400) + ".b.c",
        _base64(b"\xff\xfe{") + ".b.c",
        "\ud800.b.c",
        "ä.b.c",
    ],
)
def test_a_forgery_is_no_token_of_ours(token: str) -> None:
    assert refusal(token) == "this token is not valid on this server"


@given(
    st.integers(0, len(TOKEN) - 1),
    st.sampled_from(["cut", "drop", "flip", "double", "swap"]),
    st.characters(),
)
@example(len(TOKEN) - 1, "flip", "A")
def test_a_mutilated_token_is_invalid(place: int, how: str, letter: str) -> None:
    changed: dict[str, Callable[[], str]] = {
        "cut": lambda: TOKEN[:place],
        "drop": lambda: TOKEN[:place] + TOKEN[place + 1 :],
        "flip": lambda: TOKEN[:place] + letter + TOKEN[place + 1 :],
        "double": lambda: TOKEN[:place] + TOKEN[place] + TOKEN[place:],
        "swap": lambda: TOKEN[place:] + TOKEN[:place],
    }
    token = changed[how]()
    try:
        grant = SIGNING.read(token, now=START)
    except Disconnect:
        return
    # Base64 ignores two bits of a signature's last letter: another spelling of the same token,
    # with the same jti, so it cannot be used a second time.
    assert grant == SIGNING.read(TOKEN, now=START)
    assert token[:-1] == TOKEN[:-1]


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_judged_without_a_fault(text: str) -> None:
    with pytest.raises(Disconnect):
        SIGNING.read(text, now=START)


@pytest.mark.parametrize(
    ("late", "good"),
    [
        (-CLOCK_SKEW, True),
        (0, True),
        (60 + CLOCK_SKEW - 1, True),
        (-CLOCK_SKEW - 1, False),
        (60 + CLOCK_SKEW, False),
    ],
)
def test_a_clock_may_be_thirty_seconds_off_and_no_more(late: float, *, good: bool) -> None:
    if good:
        assert SIGNING.read(TOKEN, now=START + late).jti
    else:
        assert ("expired" if late > 0 else "check the clocks") in refusal(TOKEN, START + late)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": START + MAX_LIFETIME + 1}, "for more than 600 s"),
        ({"exp": float("inf")}, "for more than 600 s"),
        ({"exp": float("nan")}, "for more than 600 s"),
        ({"exp": START}, "or for no time"),
        ({"iat": START - 1}, "before the server started"),
        ({"nbf": START + 31}, "not valid yet"),
        ({"scope": "subscribe root"}, "unknown scopes"),
        ({"scope": " "}, "unknown scopes"),
    ],
)
def test_even_a_good_signature_opens_nothing_for_longer_or_more(
    claims: dict[str, Any], said: str
) -> None:
    assert said in refusal(forged(**claims))


def test_a_token_opens_one_connection_and_is_forgotten_when_it_has_expired() -> None:
    signing = Signing({"new": NEW})
    for now in (START, START + 60 + CLOCK_SKEW):
        token = signing.sign(GRANT, seconds=60, now=now, jti="once")
        grant = signing.read(token, now=now)
        signing.use(grant, now=now)
        assert "used already" in refusal(token, now, signing)
        with pytest.raises(Disconnect, match="used already"):
            signing.use(grant, now=now)
    assert repr(signing) == "<Signing: 1 keys, 1 tokens used>"


def test_a_used_token_stays_used_when_the_clock_is_set_forward_and_back() -> None:
    signing = Signing({"new": NEW})
    used = signing.sign(GRANT, seconds=60, now=START, jti="one")
    signing.use(signing.read(used, now=START), now=START)
    ahead = signing.sign(GRANT, seconds=60, now=START + 1e9, jti="two")
    signing.read(ahead, now=START + 1e9)  # for a moment the clock is far ahead
    assert "expired" in refusal(used, START + 1, signing)
    later = signing.sign(GRANT, seconds=60, now=START + 1, jti="three")
    assert signing.read(later, now=START + 1).jti == "three"


def test_a_token_of_the_second_before_the_start_is_refused() -> None:
    before = Signing({"new": NEW}).sign(GRANT, seconds=60, now=START + 0.2, jti="used")
    after = Signing({"new": NEW}, since=START + 0.7)
    assert "before the server started" in refusal(before, START + 0.8, after)
    own = after.sign(GRANT, seconds=60, now=START + 0.7, jti="new")
    assert after.read(own, now=START + 0.7).jti == "new"


def test_what_is_remembered_is_bounded_and_no_token_opens_twice_for_want_of_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signed_tokens, "MAX_USED", 3)
    signing = Signing({"new": NEW})
    grants = [Grant(jti=str(number), expires=START + number) for number in range(4)]
    for grant in grants[:3]:
        signing.use(grant, now=START)
    with pytest.raises(Disconnect) as full:
        signing.use(grants[3], now=START)
    assert full.value.code == CloseCode.LATER
    signing.use(grants[3], now=START + CLOCK_SKEW)


OWN = Grant(frozenset({"ingest", "subscribe"}), holder="backend")


def test_a_token_for_another_is_never_for_more_than_ones_own() -> None:
    wish = requested_token({"scope": "subscribe", "session_id": "s1", "subject": "alice"})
    assert narrowed(OWN, wish) == Grant(frozenset({"subscribe"}), "s1", holder="backend/alice")
    for own, fields in (
        (OWN, {"scope": "subscribe control"}),
        (Grant(session_id="s1"), {"session_id": "s2"}),
        (Grant(session_id="s1"), {"session_id": "*"}),
    ):
        with pytest.raises(Disconnect) as refused:
            narrowed(own, requested_token(fields))
        assert refused.value.code == CloseCode.FORBIDDEN
    assert narrowed(Grant(session_id="s1"), requested_token({})).session_id == "s1"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scope": "root"}, "scope: expected some of control, ingest, subscribe"),
        ({"scope": ""}, "scope: expected"),
        ({"expires": "0"}, "expires: expected 1 to 600 seconds; got 0"),
        ({"expires": "601"}, "expires: expected 1 to 600"),
        ({"expires": "-1"}, "expires: expected a whole number"),
        ({"expires": "1e1"}, "expires: expected a whole number"),
        ({"max_session": "86401"}, "max_session: expected 0 to 86400"),
        ({"session_id": "x" * 65}, "session_id: at most 64"),
        ({"session_id": ""}, "session_id: is empty"),
        ({"subject": "x" * 65}, "subject: at most 64"),
        ({"expire": "1"}, "unknown field 'expire'; expected"),
    ],
)
def test_a_wish_that_cannot_be_is_named(fields: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        requested_token(fields)
    assert said in str(refused.value)
