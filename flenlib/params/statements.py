"""What a consent statement may say: words that can be read, no placeholder, no refusal, a day that has been."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

_SAYS_NOTHING = re.compile(
    r"(to ?do|tb[dac]|n ?a|none?|null|nil|nobody|no ?one|unknown|anonymous|some(one|body|thing)|any(one|body|thing)|"
    r"every(one|body|thing)|yes|yep|ok(ay)?|true|false|sure|consent(ed)?|given|granted|placeholder|example|tests?(ing)?|"
    r"name|who|what|person|your name|the person|fill me in|fix ?me|pending|later|lorem ipsum|asdf\w*|"
    r"qwert\w*|(?P<same>\w)(?P=same)*)"
)
_REFUSES = re.compile(
    r"\b(no|not|non|never|without|lacks?|lacking|missing|un|didn ?t|did ?nt|doesn ?t|hasn ?t|haven ?t|won ?t|wouldn ?t|"
    r"cannot|can ?t|couldn ?t)\b(\W+\w+){0,3}\W+"
    r"(consent\w*|agree\w*|ask\w*|permi\w+|allow\w*|given|approv\w*|sign\w*)\b"
    r"|\b(consent|permission)\b(\W+\w+){0,2}\W+(not|denied|refused|withheld|missing|pending|unknown|outstanding)\b"
    r"|\b(non ?consensual|unconsented|unauthori[sz]ed|refus(es|ed)|denie[sd]|declin(es|ed)|withdr[ae]wn?|revoked)\b"
)


def _stated(value: str) -> str:
    """Return what a field of a consent statement says; invisible text, placeholders and refusals are errors."""
    shown = "".join(" " if not c.isprintable() else c for c in unicodedata.normalize("NFKC", value).casefold())
    words = " ".join(re.findall(r"[^\W_]+", shown))
    letters = [c for c in words if c.isalpha() and "FILLER" not in unicodedata.name(c, "FILLER")]
    if len(letters) < 2 or _SAYS_NOTHING.fullmatch(words):
        raise PydanticCustomError("stated", "Input should say it in words that can be read, without a placeholder")
    if _REFUSES.search(words):
        raise PydanticCustomError("stated", "Input should be a consent that was given, and this says that none was")
    return value


def _iso(value: Any) -> Any:
    """Return a date that YAML has read already as it was written."""
    return value.isoformat() if type(value) is date else value


def _dated(value: str) -> str:
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value or not date(1900, 1, 1) <= day <= date.today():
        raise PydanticCustomError("dated", "Input should be a day that has been, such as 2026-01-31")
    return value


Stated = Annotated[str, AfterValidator(_stated)]
Day = Annotated[str, BeforeValidator(_iso), AfterValidator(_dated)]
