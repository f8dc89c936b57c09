"""Encoded messages to subscribers: text frames, sequence ranges, error events. Pure."""

from pipeline.protocol.events import ErrorDetail, ErrorEvent, Frame, encode

#: types of errors: an invalid or forbidden command; a valid command that the session refused
INVALID, REFUSED = "invalid_request", "command_refused"


def error_text(
    message: str,
    kind: str = INVALID,
    *,
    code: int | str | None = None,
    param: str | None = None,
    session_id: str = "",
) -> bytes:
    """Return an ``error`` event: the client's message was not executed."""
    detail = ErrorDetail(type=kind, message=message, code=code, param=param)
    return encode(ErrorEvent(session_id=session_id, error=detail))


def text_frame(data: bytes) -> bytes:
    """Return ``data`` as one unmasked text frame (RFC 6455 section 5.2), for any subscriber."""
    size = len(data)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + data
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


def covering(frame: Frame, from_seq: int) -> bytes:
    """Return the frame's JSON with ``from_seq`` as the start of its range."""
    if from_seq == frame.seq:
        return frame.data
    head = f'{{"type":"{frame.type}","seq":{frame.seq}'.encode()
    assert frame.data.startswith(head), frame.data[:80]
    return b'%b,"from_seq":%d%b' % (head, from_seq, frame.data[len(head) :])
