"""What a refusal is, and its line in the log: the rule, never the text."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("flenlib.content")


class Refused(PermissionError):
    """What may not be drawn or learnt; the sentence says by which rule and never repeats the text."""


def refuse(sentence: str, rule: str) -> Refused:
    """Return the exception to raise, after a line in the log."""
    _LOG.warning("refused by rule %s: %s", rule, sentence)
    return Refused(sentence)
