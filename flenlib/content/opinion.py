"""A second opinion on texts that the word lists pass, by a text classifier in a folder on this machine.

Off unless the profile names one. It only ever refuses more: it is never asked about what the rules refuse.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flenlib.content.refusal import refuse
from flenlib.params import SecondOpinion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OVERLAP = 16
"""Tokens that two parts of a text too long for the classifier share."""


def ask(asked: SecondOpinion, text: str, what: str) -> None:
    """Raise Refused, naming the label, for a text of which the classifier says a refused one.

    Raises ValueError for a folder that holds no such classifier, or a label it does not have.
    """
    scores = _scores(asked.folder, text)
    unknown = [label for label in asked.refuse if label not in scores]
    if unknown:
        raise ValueError(
            f"character: 'second_opinion.refuse' names {unknown[0]!r}, and the classifier in {asked.folder} has the "
            f"labels {', '.join(scores)}"
        )
    for label in asked.refuse:
        if scores[label] >= asked.threshold:
            raise refuse(
                f"refused: this {what} is {label!r} to the classifier in {asked.folder}: {scores[label]:.2f}, and from "
                f"{asked.threshold:.2f} on it is refused",
                f"second opinion, {label}",
            )


@lru_cache(maxsize=4096)
def _scores(folder: str, text: str) -> dict[str, float]:
    """Return how sure the classifier is of each label, 0 to 1; of a long text the most over its parts."""
    import torch

    tokenizer, model = _load(folder)
    most = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512) - 2)
    given = tokenizer(
        text, truncation=True, max_length=most, stride=_OVERLAP, return_overflowing_tokens=True, padding=True,
        return_tensors="pt",
    )  # fmt: skip
    given.pop("overflow_to_sample_mapping", None)
    with torch.no_grad():
        logits = model(**given).logits.float()
    several = model.config.problem_type == "multi_label_classification" or logits.shape[1] == 1
    found = (logits.sigmoid() if several else logits.softmax(-1)).amax(0).tolist()
    return {model.config.id2label[number]: score for number, score in enumerate(found)}


@lru_cache(maxsize=2)
def _load(folder: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = Path(folder).expanduser()
    how: dict[str, Any] = {"local_files_only": True}
    try:
        if not path.is_dir():
            raise ValueError("there is no such folder")
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            path, use_safetensors=True, output_loading_info=True, **how
        )
        if loaded["missing_keys"]:  # they would be random
            raise ValueError(f"its weights lack {min(loaded['missing_keys'])}")
        return AutoTokenizer.from_pretrained(path, **how), model.eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"character: 'second_opinion.folder' is {folder!r}, which is no text classifier of transformers with its "
            f"weights in safetensors ({said}); name another, or leave second_opinion out"
        ) from None
