"""The command line: arguments and signals in, exit code out."""

import sys

from pipeline.cli import commands
from pipeline.runtime.version import VERSION


def main() -> None:
    """Run what the command line asks for and exit with its code."""
    try:
        code = dispatch(sys.argv[1:])
    except KeyboardInterrupt:  # before or after the event loop, where there is nothing to close
        code = 130
    sys.exit(code)


def dispatch(arguments: list[str]) -> int:
    """Return the exit code of the command that ``arguments`` names."""
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    match words:
        case [] | ["-h" | "--help" | "help"]:
            sys.stdout.write(commands.overview())
            return 0
        case ["--version" | "-V" | "version"]:
            sys.stdout.write(f"pipeline {VERSION}\n")
            return 0
        case ["help", name] if name in commands.COMMANDS:
            return dispatch([name, "--help"])
        case ["help", name, *_]:
            sys.stderr.write(f"error: {commands.unknown(name)}\n")
            return 2
        case [name, *rest] if name in commands.COMMANDS:
            from pipeline.cli.runner import start  # heavy: only for a command that is run

            return start(name, rest, debug=debug)
        case _:
            sys.stderr.write(f"error: {commands.unknown(words[0])}\n")
            return 2


if __name__ == "__main__":
    main()
