"""One spelling for the many that look alike: compatibility forms, case, invisible characters, marks, look-alikes, leet.

`fold` is Unicode's NFKC_Casefold (Unicode Standard Annex 15, Core Specification 3.13) without marks of accent. `latin`
follows the confusables of Unicode Technical Standard 39, as the package confusable-homoglyphs ships them, and the
names of the characters. Knows letters, not words.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from functools import cache

from confusable_homoglyphs.confusables import confusables_data

COVERED = ("LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC", "DEVANAGARI", "THAI", "CJK", "HIRAGANA", "KATAKANA",
           "HANGUL")  # fmt: skip
"""Scripts that have word lists; the strict rules refuse text in others."""

SYLLABIC = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han and kana, which are written without spaces: each sign is a word of its own here."""

_BLANK = (0x2800, 0x3164, 0xFFA0, 0x115F, 0x1160, 0x17B4, 0x17B5)
_FIRST = dict.fromkeys(_BLANK, " ") | {ord(odd): letter for odd, letter in zip("˛ͺϲϹ", "iicc", strict=True)}
"""Blank signs that count as letters, and letters that folding would make look otherwise."""
_IGNORABLE = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_KEPT_CLASSES = (0, 8, 9, 103, 107)  # vowel signs, dots of kana, viramas, Thai: without them letters are others
_SAME = str.maketrans("أإآٱىةکیہıøæœðþłđħ", "اااايهكيهioaoodldh") | {ord("ß"): "ss", 0x0640: "", 0x2044: "/"}
_NAMED = re.compile(
    r"(?:LATIN (?:SMALL LETTER |CAPITAL LETTER |LETTER )?(?:SMALL CAPITAL |TURNED |REVERSED |INVERTED |SIDEWAYS )*|"
    r"(?:NEGATIVE |CROSSED |TORTOISE SHELL BRACKETED |RAISED |SQUARED |CIRCLED |PARENTHESIZED )+LATIN CAPITAL LETTER |"
    r"REGIONAL INDICATOR SYMBOL LETTER |MODIFIER LETTER (?:SMALL |CAPITAL ))([A-Z])(?: WITH .*)?"
)
_LEET = {"0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b", "9": "g", "@": "a",
         "$": "s", "!": "i", "|": "li", "+": "t", "€": "e", "£": "l", "¥": "y", "(": "c", "<": "c", "¢": "c", "§": "s",
         "µ": "u", "μ": "u", "×": "x", "ø": "o", "ß": "b"}  # fmt: skip
LEET = "".join(_LEET)
_DRAWN = dict(zip("єэпшщцдвᑎᗪᗴᗩᔕ", "eenwwudbndeas", strict=True))
"""Letters that are used for how they look and that the table of Unicode does not pair with these."""


def compatible(text: str) -> str:
    """Return text in Unicode's compatibility forms, as it is written."""
    return unicodedata.normalize("NFKC", text.translate(_FIRST))


def fold(text: str) -> str:
    """Return text without differences of form, case, accents and invisible characters; `fold(fold(x)) == fold(x)`."""
    while (folded := _folded(text)) != text:
        text = folded
    return text


def _folded(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.translate(_FIRST)).casefold()
    shown = "".join(c for c in _IGNORABLE.sub("", parts) if _is_shown(c))
    plain = unicodedata.normalize("NFKC", shown.translate(_SAME)).casefold()
    return plain if plain.isascii() else "".join(map(_sign, plain))


@cache
def _sign(char: str) -> str:
    """Return the letter in a sign that is a picture of one, such as a flag's half or a letter in a disc."""
    named = _NAMED.fullmatch(unicodedata.name(char, "")) if unicodedata.category(char) == "So" else None
    return named[1].lower() if named else char


@cache
def _is_shown(char: str) -> bool:
    kind = unicodedata.category(char)
    if kind[0] == "C":
        return char.isspace()
    return kind != "Me" and (kind != "Mn" or unicodedata.combining(char) in _KEPT_CLASSES)


def latin(word: str) -> str:
    """Return a folded word with each letter that looks like a Latin one as that letter."""
    return word if word.isascii() else "".join(map(_latin, word))


@cache
def _latin(char: str) -> str:
    if char.isascii():
        return char
    alike = [
        fold(other["c"]) for form in (char, char.upper(), char.lower()) for other in confusables_data.get(form, ())
    ]
    for other in alike:
        if other.isascii() and other.isalpha():
            return other
    for other in (char, *alike):
        if other in _DRAWN:
            return _DRAWN[other]
        if len(other) == 1 and (named := _NAMED.fullmatch(unicodedata.name(other, ""))):
            return named[1].lower()
    return char


_CAPITALS = str.maketrans("ΝΗΥΒϒҮІI", "NHYBYYll")


def capitals(text: str) -> str:
    """Return text with capitals that look like other letters than their small forms as those: Greek Ν is N, I is l."""
    plain = compatible(text)
    return re.sub("[ΝΗΥΒϒҮІ]|(?<=[a-z])I", lambda found: found.group().translate(_CAPITALS), plain)


def shaped(word: str) -> set[str]:
    """Return a word with small letters that look like others, or like two others, as those: l and i, rn and m."""
    thin = [at for at, letter in enumerate(word) if letter in "il"][:4]
    found = {word.replace("rn", "m").replace("vv", "w")}
    for letters in itertools.product("il", repeat=len(thin)):
        changed = list(word)
        for at, letter in zip(thin, letters, strict=True):
            changed[at] = letter
        found.add("".join(changed))
    return found


@cache
def _alphabet(first: str, last: str) -> dict[str, str]:
    """Return the letters of an alphabet by the Latin letter, or digit, that each looks like."""
    letters = [chr(code) for code in range(ord(first), ord(last) + 1)]
    return {
        latin(letter): letter for letter in reversed(letters) if latin(letter) != letter and len(latin(letter)) == 1
    }


def native(word: str) -> str:
    """Return a word that mixes Latin and Cyrillic (or Greek) letters in the other alphabet."""
    for first, last in (("а", "я"), ("α", "ω")):
        if any(first <= c <= last for c in word) and re.search("[a-z0-9]", word):
            return "".join((_alphabet(first, last) | {"3": "з", "0": "о", "4": "ч", "6": "б"}).get(c, c) for c in word)
    return word


def unleet(word: str) -> set[str]:
    """Return what a word of letters and digits or signs may stand for; empty where it holds only one of the two."""
    if not any(c in _LEET for c in word) or not any(c.isalpha() for c in word):
        return set()
    choices = [_LEET.get(c, c) for c in word]
    unclear = sum(len(choice) > 1 for choice in choices)
    if unclear > 4:
        choices = [choice[0] for choice in choices]
    return {"".join(letters) for letters in itertools.product(*choices)}


def squeezed(word: str) -> set[str]:
    """Return a word with letters drawn out (nooooo) written once, and twice, and the vowels seldom doubled once."""
    if not (re.search(r"(.)\1\1", word) or (len(word) > 4 and re.search(r"([aiu])\1", word))):
        return set()
    once, twice = re.sub(r"(.)\1{2,}", r"\1", word), re.sub(r"(.)\1{2,}", r"\1\1", word)
    return {once, twice, re.sub(r"([aiu])\1", r"\1", once), re.sub(r"(.)\1+", r"\1", word) if once != word else once}


@cache
def script(char: str) -> str:
    """Return the script of a letter by its name, such as LATIN; "" for anything else."""
    return unicodedata.name(char, "").split(" ")[0] if char.isalpha() else ""
