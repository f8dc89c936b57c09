"""Close codes of the service's errors."""

import pytest

from pipeline import errors
from pipeline.hub.refusals import CLOSE_CODES, disconnecting
from pipeline.protocol.close_codes import Disconnect

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SessionError)
    if kind is not errors.SessionError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_session_error_disconnects_with_a_close_code_of_its_own(
    kind: type[errors.SessionError],
) -> None:
    with pytest.raises(Disconnect, match="200 sessions are open") as refused, disconnecting():
        raise kind("200 sessions are open")
    assert refused.value.code == CLOSE_CODES[kind]


def test_close_codes_of_session_errors_differ() -> None:
    assert len(set(CLOSE_CODES.values())) == len(KINDS)


def test_another_error_passes_unchanged() -> None:
    with pytest.raises(errors.InputError), disconnecting():
        raise errors.InputError("not a session's")
