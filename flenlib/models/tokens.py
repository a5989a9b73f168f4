"""How a model's text encoder counts: its tokenizer alone, without any weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers import AutoTokenizer

from flenlib.dataset.caption_lint import Tokens
from flenlib.models import placement, registry
from flenlib.models.families.base import reading


@cache
def tokens_of(name: str) -> Tokens:
    """Return how the text encoder of a registered name, hub id or folder counts, and how many tokens it reads.

    Raises what `registry.resolve` raises, and RuntimeError in one sentence for a tokenizer that cannot be had.
    """
    model = registry.resolve(name)
    part = model.family.tokenizer
    if not Path(model.source).is_dir():
        registry.fetch(model.source, f"{part}/tokenizer_config.json", name=model.name, revision=model.revision)
    with reading(model.source):
        tokenizer = AutoTokenizer.from_pretrained(model.source, subfolder=part, revision=model.revision)
    limit = placement.pipeline_facts(model.source).get("max_sequence_length", model.family.longest_text)
    return Tokens(lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), limit)
