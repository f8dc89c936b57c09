"""Signatures: as the specification has them, and as its own library believes them."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.webhooks.signing import key_of, signatures

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def headers(*secrets: str, body: bytes, message_id: str = "msg_1") -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())  # the library compares it with its own clock
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signatures([key_of(s) for s in secrets], message_id, now, body),
    }


def test_it_is_the_signature_that_the_specifications_libraries_test_for() -> None:
    signed = signatures(
        [key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_library_believes_it() -> None:
    body = '{"text":"Grüße"}'.encode()
    assert Webhook(SECRET).verify(body, headers(SECRET, body=body)) == {"text": "Grüße"}


def test_the_library_does_not_believe_another_body_or_key() -> None:
    signed = headers(SECRET, body=b"{}")
    for secret, body in ((SECRET, b"[]"), (OTHER, b"{}")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, signed)


def test_while_a_secret_is_exchanged_both_are_believed() -> None:
    signed = headers(OTHER, SECRET, body=b"{}")
    assert Webhook(SECRET).verify(b"{}", signed) == Webhook(OTHER).verify(b"{}", signed) == {}


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
        ("whsec_not base64!", "base64"),
        (f"whsec_{b64encode(bytes(23)).decode()}", "23"),
        (f"whsec_{b64encode(bytes(65)).decode()}", "65"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        key_of(secret)
    assert secret not in str(refused.value)
