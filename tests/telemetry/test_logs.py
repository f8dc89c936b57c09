"""What a line of the log holds, and what it never does."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from pipeline.runtime.context import RESPONSE, SESSION, within
from pipeline.telemetry.logs import GUARDED, set_up

logger = logging.getLogger("pipeline.test")


@contextmanager
def logging_to(**wanted: Any) -> Generator[StringIO]:
    """Set the log up, and put everything back afterwards."""
    root, out = logging.getLogger(), StringIO()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in GUARDED}
    plain: dict[str, Any] = {"style": "json", "level": "debug", "said": False, "secrets": ()}
    root.handlers = []  # set_up closes those that it finds
    set_up(out=out, **plain | wanted)
    try:
        yield out
    finally:
        logging.captureWarnings(capture=False)
        root.handlers = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def lines(out: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_when_how_bad_who_and_what() -> None:
    with logging_to() as out:
        logger.warning("%d went wrong", 3, extra={"fields": {"code": 4}})
    [line] = lines(out)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "pipeline.test",
        "message": "3 went wrong",
        "code": 4,
    }


def test_it_names_the_session_and_response_that_it_was_written_for() -> None:
    with logging_to() as out:
        with within(SESSION, "s_1"), within(RESPONSE, "r_1"):
            logger.info("inside")
            logger.info("named", extra={"session_id": "s_2", "request_id": "q_1"})
        logger.info("outside")
    inside, named, outside = lines(out)
    assert (inside["session_id"], inside["response_id"]) == ("s_1", "r_1")
    assert (named["session_id"], named["request_id"]) == ("s_2", "q_1")
    assert not {"session_id", "response_id"} & outside.keys()


def test_an_exception_is_a_field_of_its_line() -> None:
    with logging_to() as out:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("failed")
    [line] = lines(out)
    assert line["message"] == "failed"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: two\nlines")


def test_a_secret_is_starred_out_wherever_it_stands_and_however_it_is_spelt() -> None:
    secret = 'se/cr"et'
    with logging_to(secrets=(secret,)) as out:
        logger.info("%s and ?key=%s", secret, "se/cr%22et", extra={"fields": {"deep": [secret]}})
        try:
            raise ValueError(secret)
        except ValueError:
            logger.exception("failed")
    first, second = lines(out)
    assert first["message"] == "*** and ?key=***"
    assert first["deep"] == ["***"]
    assert "se/cr" not in second["exception"]


def test_what_was_said_is_left_out_unless_asked_for() -> None:
    for said, expected in ((False, None), (True, "hello")):
        with logging_to(said=said) as out:
            logger.info("a turn", extra={"said": "hello"})
        [line] = lines(out)
        assert line.get("said") == expected


def test_libraries_that_would_log_headers_are_not_debugged() -> None:
    with logging_to() as out:
        for name in ("websockets.client", "httpx", "httpcore.http11", "asyncio"):
            logging.getLogger(name).debug("> Authorization: secret")
            logging.getLogger(name).warning("trouble")
    assert [line["message"] for line in lines(out)] == ["trouble"] * 4


def test_for_a_person_it_is_one_line_of_text() -> None:
    with logging_to(style="text", level="info", said=True) as out:
        logger.debug("not this")
        logger.info("a turn", extra={"session_id": "s_1", "fields": {"turn": 1}, "said": "Oh no."})
    assert out.getvalue() == 'info: a turn session_id=s_1 turn=1 said="Oh no."\n'
