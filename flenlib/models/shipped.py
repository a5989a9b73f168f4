"""Where the pipelines shipped with the kit are. Importing this loads neither torch nor numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "mini" / "weights"
NAMES = ("mini-flux", "mini-qwen-edit")

_EVERYWHERE = {"precision": "fp32", "offload": "none"}
_POLICY = {"reviewer": "auto"}  # nobody has to sit beside a demo
_LEARNING = {
    "batch_size": 4, "accumulate": 1, "learning_rate": 2e-3, "targets": "all-linear", "optimizer": "adamw",
    "max_grad_norm": 1.0, "gradient_checkpointing": False,
}  # fmt: skip
_CHARACTER = _LEARNING | {"steps": 600, "checkpoint_every": 200, "sample_every": 200, "validate_every": 200}
_DRAWING = {"steps": 16, "guidance": 3.5}
_EDITING = {"steps": 16, "guidance": 2.0}
_STRICT = {"slack": 1.4}  # at 1.75 hardly an edit of the mini studio is sent back
_LEARNT = {"style": "template", "light": "describe"}  # the captions these models have learnt from
MINI_FLUX: dict[str, dict[str, Any]] = {
    "models": _EVERYWHERE,
    "captions": _LEARNT,
    "train": _CHARACTER,
    "generate": _DRAWING | {"seeds_per_prompt": 2},
    "retrain": _CHARACTER,
    "card": _DRAWING,
}
"""The settings mini-flux works with."""
MINI_QWEN_EDIT: dict[str, dict[str, Any]] = MINI_FLUX | {  # as a generator it works with the same
    "enrich": _EDITING | _STRICT,
    "corrections": _EDITING,
    "train_editor": _LEARNING | {
        "steps": 300, "checkpoint_every": 100, "sample_every": 300, "validate_every": 100,
        "sampling_steps": 16, "guidance": 2.0,
    },
    "compare_editors": _EDITING | _STRICT,
}  # fmt: skip
"""The settings mini-qwen-edit works with."""
DEMO: dict[str, dict[str, Any]] = {
    "curate": {"minimum_size": 64},
    "review_enriched": _POLICY,
    "review_synthetic": _POLICY,
    "corrections": _POLICY | {
        "hand": "renderer",  # the mini studio's own: it draws what was asked of this character
        "labels": ["needs_correction", "reject"],
        "minimum": 6,  # about ten edits are sent back, fewer on another processor; 10 is what a person should have
    },
}  # fmt: skip
"""The settings of an iteration in which both models are shipped ones."""


def folder(name: str) -> Path:
    """Return the folder of a shipped pipeline, ``mini-flux`` or ``mini-qwen-edit``.

    Raises ValueError for another name and FileNotFoundError when the weights are not there.
    """
    if name not in NAMES:
        raise ValueError(f"mini pipeline {name!r} is not known; it must be one of {', '.join(NAMES)}")
    path = WEIGHTS / name
    if not (path / "model_index.json").exists():
        raise FileNotFoundError(
            f"{path} holds no pipeline; make it with `python -m flenlib.mini.build --stage assemble`"
        )
    return path
