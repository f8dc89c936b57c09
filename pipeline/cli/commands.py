"""Table of commands and the text of ``--help``. Pure.

A command is an async function in the module of the same name, imported on use: printing this
list imports nothing heavy.
"""

import difflib

COMMANDS = {
    "run": "play an audio file, and show its turns and responses",
    "compare": "run one file with several settings, and show times, cost and text side by side",
    "serve": "accept audio and push events over websocket, until stopped",
    "gateway": "serve an OpenAI-compatible address over the language model, without sessions",
    "watch": "show the events of a running server",
    "token": "create a signed token that opens one websocket, for a browser",
    "sessions": "list the sessions in a journal file",
    "export": "print one session: events, subtitles or a transcript",
    "check": "check that keys, files, ports and engines of the settings are usable",
    "models": "list the available language models: regions, prices, supported parameters",
    "requests": "list language model requests, also failed ones, from a file or a server",
    "webhooks": "list pending and failed webhook deliveries, and retry them",
    "config": "print the settings in effect, or their JSON Schema",
    "schema": "print the protocol's AsyncAPI, OpenAPI, JSON Schema or TypeScript document",
    "local": "run only the embedded engines: speech-to-text and a small language model",
    "simulate": "run scripted speech-to-text and language model servers, faults included",
}

#: replacement of ``-`` among the arguments
STANDARD_INPUT = "/dev/stdin"

EXIT_CODES = """\
Exit codes: 0 done; 1 ran, but something failed; 2 usage or settings; 3 a provider refused or
is unreachable; 130, 143 stopped by SIGINT, SIGTERM."""


def overview() -> str:
    """Return the text of ``pipeline --help``."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items())
    return (
        "Live speech to live LLM results: one request per finished turn, superseded ones "
        "cancelled.\n\n"
        "Usage: pipeline COMMAND [--debug] ...\n\n"
        f"{listed}\n\n"
        "pipeline COMMAND --help describes a command, and so does pipeline help COMMAND;"
        " pipeline --version prints the version.\n"
        f"{EXIT_CODES}\n"
    )


def unknown(name: str) -> str:
    """Return the error message for an unknown command ``name``."""
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
    return f"no command {name!r}; {hint}"
