"""The commands there are. Pure.

A command lives in the module of its name, as an async function of its name, and is imported
when it is called for: printing this list costs no more than a bare interpreter.
"""

import difflib

COMMANDS = {
    "run": "an audio file in, its turns and the answers to them out",
    "compare": "run one file in several ways, and show times, cost and text side by side",
    "serve": "take audio and push events over websocket, for as long as it runs",
    "watch": "show the events of a running server",
    "token": "make a signed token that opens one websocket, for a browser",
    "sessions": "list the sessions in a journal's file",
    "export": "print one of them: events, subtitles or a transcript",
    "check": "look whether what the settings ask for is there, and answers",
    "models": "list the language models there are: regions, price, what each supports",
    "requests": "list the calls of language models, also failed ones, of a file or a server",
    "webhooks": "list deliveries to webhooks that wait or were given up, and have them tried again",
    "local": "the embedded engines by themselves: speech-to-text and a small language model",
    "simulate": "the same two servers playing a script, faults and all",
}

#: what ``-`` stands for among the arguments
STANDARD_INPUT = "/dev/stdin"

EXIT_CODES = """\
Exit codes: 0 done; 1 ran, but something failed; 2 usage or settings; 3 a provider refused or
is out of reach; 130, 143 stopped by SIGINT, SIGTERM."""


def overview() -> str:
    """Return what ``pipeline --help`` prints."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items())
    return (
        "Live speech to live LLM results: every finished turn asks, what is overtaken is called "
        "off.\n\n"
        "Usage: pipeline COMMAND [--debug] ...\n\n"
        f"{listed}\n\n"
        "pipeline COMMAND --help tells more; pipeline --version tells which this is.\n"
        f"{EXIT_CODES}\n"
    )


def unknown(name: str) -> str:
    """Return what to say when there is no command ``name``."""
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    return f"no command {name!r}; {hint}"
