"""The console's files: what is served, what they may not hold, and that all are there."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from websockets.datastructures import Headers

from pipeline.cli.views import wording
from pipeline.hub import static_files
from tests.support.node import NODE

FOLDER = Path(static_files.__file__).parent / "web"
UNSERVED = {"package.json"}


def test_every_file_is_served_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} - UNSERVED == set(static_files.TYPES)
    assert set(static_files.load()) == {"/"} | {
        f"/web/{name}" for name in static_files.TYPES if name != "index.html"
    }


def test_the_page_holds_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page) == []
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [link for link in linked if link not in static_files.load() and link != "#turns"] == []


@pytest.mark.parametrize(
    "name", [name for name in static_files.TYPES if name.endswith((".js", ".css"))]
)
def test_no_file_makes_markup_of_text_or_fetches_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|@import"
    assert re.findall(markup, text) == []
    assert re.findall(r"https?://(?!127\.0\.0\.1)", text) == []


def test_every_element_a_script_asks_for_is_on_the_page() -> None:
    page = (FOLDER / "index.html").read_text("utf-8")
    scripts = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.js"))
    wanted = set(re.findall(r'find\("([\w-]+)"\)', scripts))
    assert wanted
    assert wanted - set(re.findall(r'id="([\w-]+)"', page)) == set()


def test_the_console_words_times_prices_and_tools_as_the_command_line_does() -> None:
    moments = [0, 49, 99, 100, 999, 999.5, 1000, 61_950, 64_200, 3_600_000, 36_061_000]
    prices = [0, 0.0000123, 0.00042, 0.1, 0.999, 1, 12.345]
    results = ["gone", {"error": "no", "n": 1}, {"error": None}, "ö" * 100]
    where = json.dumps((FOLDER / "wording.js").as_uri())
    program = (
        f"import {{ clock, dollars, took, toolUse }} from {where};"
        f"console.log(JSON.stringify([{moments}.map(clock), {moments}.map(took),"
        f" {prices}.map(dollars), {json.dumps(results)}.map("
        f"  (result) => toolUse({{ name: 'look', arguments: {{ n: 7 }}, result }}))]));"
    )
    command = [str(NODE), "--input-type=module", "--eval", program]
    ran = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert json.loads(ran.stdout) == [
        [wording.clock(moment) for moment in moments],
        [wording.duration(moment) for moment in moments],
        [wording.dollars(price) for price in prices],
        [wording.tool_use("look", {"n": 7}, result) for result in results],
    ]


@pytest.mark.parametrize(
    ("headers", "host", "protocol"),
    [
        ({"Host": "127.0.0.1:48585"}, "127.0.0.1:48585", "ws"),
        ({"Host": "[::1]:9000"}, "[::1]:9000", "ws"),
        ({"Host": "speech.example", "X-Forwarded-Proto": "https"}, "speech.example", "wss"),
        ({"Host": "a b/../c"}, "127.0.0.1:8780", "ws"),
        ({"Host": "x" * 300}, "127.0.0.1:8780", "ws"),
        ({}, "127.0.0.1:8780", "ws"),
    ],
)
def test_the_document_names_the_address_by_which_it_was_asked(
    headers: dict[str, str], host: str, protocol: str
) -> None:
    (server,) = json.loads(static_files.asyncapi(headers).body)["servers"].values()
    assert (server["host"], server["protocol"]) == (host, protocol)


def test_the_first_of_several_proxies_says_whether_the_client_used_tls() -> None:
    twice = Headers([("Host", "a"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")])
    for headers in (twice, {"Host": "a", "X-Forwarded-Proto": "https, http"}):
        (server,) = json.loads(static_files.asyncapi(headers).body)["servers"].values()
        assert server["protocol"] == "wss"
