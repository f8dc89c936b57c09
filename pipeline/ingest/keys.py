"""Keys of a telephone, checked. Pure."""

import re

from pipeline.errors import InputError
from pipeline.protocol.commands import DtmfCommand

KEYS = re.compile(r"[0-9A-D*#]{1,64}")


def keys(digits: str, name: str) -> DtmfCommand:
    """Return the command for the field ``name``. Raises ``InputError``."""
    digits = digits.strip().upper()
    if not KEYS.fullmatch(digits):
        raise InputError(f"{name} is {digits[:20]!r}; keys are 0 to 9, A to D, * and #")
    return DtmfCommand(digits=digits)
