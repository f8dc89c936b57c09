"""Clitics of scripts that write them with the word: Korean, Hebrew, Arabic. Pure.

Enough to find a keyword in a transcript, no morphology: a short word keeps its letters, since
they are as likely its own.
"""

import re
from collections.abc import Iterator

_HANGUL = re.compile("[가-힣]")
#: case and topic particles, plural, and the copula with its endings; up to three in a row
_KOREAN = re.compile(
    "(?:들|님|이나|이라도|이라고|이라는|이랑|이든지|이든|이야|이요|이에요|이었|입니다|입니까|인데|인가|인지|예요|"
    "에서|에게|에다|에|한테|께서|께|까지|부터|보다|처럼|마다|마저|조차|밖에|대로|만큼|으로|로|라도|라고|라는|랑|"
    "은|는|이|가|을|를|의|와|과|도|만|나|요|야|든지|든|서){1,3}$"
)
_HEBREW = re.compile("^[והבלכמש]{1,4}")
_ARABIC_FRONT = re.compile("^(?:[وف]?(?:[بك]?ال|لل|[بلكس])|[وف])")
_ARABIC_BACK = re.compile("(?:ها|هما|هم|هن|كما|كم|كن|نا|ني|ه|ك|ي)$")
SHORTEST = 3  #: letters of a Hebrew or Arabic word that may have lost a clitic


def without_clitics(key: str) -> tuple[str, ...]:
    """Return the forms that ``key`` may have without its clitics."""
    if key.isascii():
        return ()
    if _HANGUL.search(key):
        return tuple(_korean(key))
    if "\u0590" <= key[0] <= "\u05ff":
        return tuple(_from_front(key, _HEBREW))
    if "\u0600" <= key[0] <= "\u06ff":
        return tuple(_arabic(key))
    return ()


def _korean(key: str) -> Iterator[str]:
    for end in range(1, len(key)):
        if _KOREAN.fullmatch(key, end):
            yield key[:end]


def _from_front(key: str, clitics: re.Pattern[str]) -> Iterator[str]:
    """Yield what is left behind each length of what the pattern finds at the front."""
    found = clitics.match(key)
    for end in range(1, found.end() + 1) if found else ():
        if len(key) - end >= SHORTEST:
            yield key[end:]


def _arabic(key: str) -> Iterator[str]:
    for form in (key, *_from_front(key, _ARABIC_FRONT)):
        yield form
        shorter = _ARABIC_BACK.sub("", form)
        if shorter != form and len(shorter) >= SHORTEST:
            yield shorter
