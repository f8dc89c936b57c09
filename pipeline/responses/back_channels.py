"""Back-channels of each language: what a listener says without taking the turn. Pure."""

import re
import unicodedata
from functools import lru_cache

from pipeline.responses.words import is_written_without_spaces

DEFAULT = "default"  #: in the setting ``back_channels``: all that stand below
LONGEST = 60  #: characters; a longer turn is not looked at

#: in the usual spellings of speech-to-text; a repeated letter counts as one, so "mhm" is "mmhmm"
BY_LANGUAGE = {
    "all": (
        "mm, mhm, mm hm, m hm, hm, uh huh, uhuh, uhum, aham, ah, aha, ah ha, oh, uh, um, "
        "er, eh, ha, ok, okay, okey, oke, oké, okej, okei, wow"
    ),
    "en": (
        "yes, yeah, yea, yep, yup, ya, right, sure, i see, got it, gotcha, exactly, true, "
        "okay, of course, alright, all right, fine, cool, great, nice, good, indeed, "
        "absolutely, correct, definitely, that's right, makes sense, understood, "
        "i understand, oh really"
    ),
    "de": (
        "ja, jaja, jo, genau, gut, klar, richtig, stimmt, ach so, achso, verstehe, "
        "alles klar, sicher, eben, in ordnung"
    ),
    "fr": (
        "oui, ouais, d'accord, hum, euh, bien sûr, très bien, je vois, voilà, exact, "
        "exactement, entendu, c'est ça, tout à fait, bon, ah bon"
    ),
    "es": (
        "sí, si, vale, claro, ajá, bueno, ya, entiendo, exacto, de acuerdo, muy bien, "
        "bien, perfecto, así es, está bien, eso es"
    ),
    "it": (
        "sì, si, certo, va bene, esatto, capisco, ho capito, già, d'accordo, bene, giusto, "
        "perfetto, capito, ecco"
    ),
    "pt": (
        "sim, tá, tá bem, tá bom, está bem, está bom, certo, claro, pois, pois é, entendi, "
        "exato, beleza, isso"
    ),
    "nl": "ja, jaja, precies, klopt, goed, juist, inderdaad, zeker, ja hoor, dat klopt",
    "sv": "ja, jo, precis, just det, jaha, visst",
    "da": "ja, jo, præcis, nemlig, netop, jamen",
    "no": "ja, jo, nettopp, akkurat, jaha, riktig",
    "fi": "joo, kyllä, niin, just, aivan, niinpä, selvä",
    "pl": "tak, no tak, dobrze, jasne, rozumiem, właśnie, dokładnie, dobra, racja",
    "cs": "ano, jo, dobře, jasně, přesně, rozumím, no jo",
    "hu": "igen, jó, persze, értem, pontosan",
    "ro": "da, bine, sigur, exact, înțeleg, așa",
    "tr": "evet, tamam, hı hı, hıhı, olur, anladım, peki, tabii, doğru",
    "vi": "vâng, dạ, ừ, ừm, ờ, được, được rồi, đúng, đúng rồi, vâng ạ, dạ vâng",
    "id": "ya, iya, baik, betul, he eh, oh ya, mengerti, benar",
    "tl": "oo, opo, sige, tama",
    "sw": "ndiyo, sawa, ndio",
    "el": "ναι, μάλιστα, εντάξει, ωραία, καλά, μμ, χμ, α, αχά, σωστά, ακριβώς",
    "ru": (
        "да, ага, угу, так, хорошо, понятно, ясно, ладно, окей, верно, ну да, точно, мм, "
        "хм, конечно, понял, поняла, правильно, ну"
    ),
    "uk": "так, ага, угу, добре, зрозуміло, гаразд, звичайно, ясно, точно",
    "bg": "да, добре, ясно, аха, точно, разбирам",
    "he": "כן, אה, אהה, הבנתי, בסדר, אוקיי, אוקי, נכון, סבבה, מממ, אהא, טוב, בטח",
    "ar": (
        "نعم, اه, آه, ايه, ايوه, أيوه, أيوة, طيب, تمام, اوكي, أوكي, حسنا, حسنًا, صح, ماشي, "
        "اها, أها, صحيح, أكيد, فهمت"
    ),
    "fa": "بله, آره, خب, باشه, اوهوم, آها, درسته, فهمیدم, بله بله",
    "ur": "جی, ہاں, جی ہاں, اچھا, ٹھیک, ٹھیک ہے, ہوں, ہمم, درست, بالکل",
    "hi": "हाँ, हां, जी, जी हाँ, जी हां, अच्छा, ठीक, ठीक है, हम्म, हूँ, सही, ओके, ओह, बिल्कुल",
    "bn": "হ্যাঁ, জি, আচ্ছা, ঠিক, ঠিক আছে, হুম, ওকে",
    "ta": "ஆமா, ஆம், ஆமாம், சரி, ம்ம், ஓகே",
    "te": "అవును, సరే, ఊ, ఓకే",
    "zh": (
        "嗯, 恩, 对, 對, 对的, 對的, 好, 好的, 好吧, 是, 是的, 是啊, 行, 哦, 噢, 喔, 啊, "
        "呃, 唔, 明白, 明白了, 知道了, 没错, 沒錯, 了解, 瞭解, 可以, 当然, 當然, 我明白了, "
        "我知道了, 懂了, 我懂了, 嗯哼, 这样啊, 這樣啊, 原来如此, 原來如此"
    ),
    "ja": (
        "うん, はい, ええ, ああ, あー, へえ, へー, ほう, ふーん, ふうん, そう, そうです, "
        "そうですね, そうですか, そうか, なるほど, なるほどね, わかりました, 分かりました, "
        "了解, 了解です, オーケー, オッケー, おー, うーん, んー, たしかに, 確かに, "
        "ですよね, ね, よし"
    ),
    "ko": (
        "네, 네네, 예, 응, 어, 음, 아, 그래, 그래요, 그렇군요, 그렇죠, 맞아, 맞아요, "
        "맞습니다, 알겠어요, 알겠습니다, 오케이, 좋아요, 아하, 흠, 으응, 그쵸, 오"
    ),
    "th": ("ครับ, ค่ะ, คะ, อืม, อือ, ใช่, โอเค, จ้ะ, จ้า, ได้, อ๋อ, เออ, อ้อ, ฮะ, อ่า, เข้าใจ, เข้าใจแล้ว, ดี"),
    "km": "បាទ, ចាស, អឺ, អូខេ",
    "lo": "ເຈົ້າ, ແມ່ນ, ເອີ, ໂອເຄ, ໂດຍ",
    "my": "ဟုတ်ကဲ့, ဟုတ်တယ်, အင်း, အိုကေ",
}
#: letters, but of no script where a sign is a syllable or a word: うん is yes, ううん is no
_REPEATED = re.compile(r"([^\W\d_\u0e00-\u109f\u1780-\u17ff\u3000-\u9fff])\1+")
_QUESTIONS = ("?", "？", "؟")


def is_back_channel(text: str, utterances: tuple[str, ...]) -> bool:
    """Return whether ``text`` consists of ``utterances`` alone, in any order and number.

    ``default`` among them stands for those of every language. A question is no back-channel.
    """
    if len(text) > LONGEST or not utterances or text.rstrip().endswith(_QUESTIONS):
        return False
    return _consists_of(_squeezed(text), _known(utterances))


@lru_cache(maxsize=256)
def _known(utterances: tuple[str, ...]) -> frozenset[str]:
    known = {_squeezed(one) for one in utterances if one != DEFAULT}
    if DEFAULT in utterances:
        known |= _built_in()
    return frozenset(known - {""})


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    return frozenset(
        _squeezed(one) for several in BY_LANGUAGE.values() for one in several.split(", ")
    )


def _squeezed(text: str) -> str:
    """Return the words of ``text`` with single spaces, without case and repeated letters."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    signs = (sign if _is_spoken(sign) else " " for sign in plain)
    return _REPEATED.sub(r"\1", " ".join("".join(signs).split()))


def _is_spoken(sign: str) -> bool:
    return sign.isalnum() or unicodedata.category(sign)[0] == "M"


def _consists_of(text: str, known: frozenset[str]) -> bool:
    """Return whether ``text`` is a sequence of ``known`` texts, each a word or several."""
    reached = [True, *[False] * len(text)]
    for start in range(len(text)):
        if not reached[start]:
            continue
        if text[start] == " ":
            reached[start + 1] = True
            continue
        for end in range(start + 1, len(text) + 1):
            is_end = end == len(text) or text[end] == " "
            if is_end or is_written_without_spaces(text[end - 1]):
                reached[end] = reached[end] or text[start:end] in known
    return bool(text) and reached[-1]
