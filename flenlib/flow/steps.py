"""The steps of an iteration: each a numbered notebook, the settings it is told, what it reads and what it makes."""

from __future__ import annotations

from dataclasses import dataclass

from flenlib import params


@dataclass(frozen=True)
class Step:
    """One numbered notebook: the sections it is told, and what it reads and makes, as (stage, aspect)."""

    name: str
    sections: tuple[str, ...]
    reads: tuple[tuple[str, str], ...] = ()
    makes: tuple[tuple[str, str], ...] = ()

    @property
    def number(self) -> int:
        """The number the notebook's name starts with."""
        return int(self.name.split("_")[0])


SOURCES = ("source", "pictures")
STEPS = (
    Step("00_check_machine", ("models",)),
    Step("11_curate_source", ("curate",), (("raw", "folder"),), (SOURCES,)),
    Step(
        "12_enrich",
        ("models", "enrich", "review_enriched"),
        (SOURCES, ("editor", "adopted")),
        (("enriched", "measurements"),),
    ),
    Step(
        "13_review_enriched",
        ("review_enriched",),
        (("enriched", "measurements"), ("enriched", "decisions")),
        (("enriched", "labels"), ("enriched", "folders")),
    ),
    Step(
        "14_train_character",
        ("models", "train", "guards"),
        (SOURCES, ("enriched", "labels"), ("pristine", "earlier")),
        (("lora", "this"),),
    ),
    Step("15_generate_synthetic", ("models", "generate"), (("lora", "this"),), (("synthetic", "pictures"),)),
    Step(
        "16_filter_identity",
        ("filter", "guards"),
        (SOURCES, ("synthetic", "pictures")),
        (("synthetic", "measurements"),),
    ),
    Step(
        "17_review_synthetic",
        ("review_synthetic", "guards"),
        (
            SOURCES,
            ("enriched", "labels"),
            ("pristine", "earlier"),
            ("synthetic", "measurements"),
            ("synthetic", "decisions"),
        ),
        (("synthetic", "labels"), ("synthetic", "folders"), ("pristine", "pictures")),
    ),
    Step(
        "18_retrain_and_compare",
        ("models", "retrain", "card", "guards"),
        (SOURCES, ("enriched", "labels"), ("pristine", "earlier"), ("pristine", "pictures"), ("lora", "this")),
        (("lora", "refined"),),
    ),
    Step("31_model_card", ("models", "card"), (SOURCES, ("lora", "this"), ("lora", "refined"), ("lora", "ship"))),
    # The second wheel comes last: it serves the next iteration, and a person who is not through with it loses nothing.
    Step(
        "21_curate_corrections",
        ("models", "corrections"),
        (
            SOURCES,
            ("editor", "adopted"),
            ("enriched", "labels"),
            ("enriched", "corrected"),
            ("corrections", "earlier"),
            ("corrections", "imported"),
            ("corrections", "tried"),
        ),
        (("corrections", "triplets"), ("corrections", "exported")),
    ),
    Step("22_train_editor", ("models", "train_editor"), (("corrections", "triplets"),), (("editor", "this"),)),
    Step(
        "23_compare_editors",
        ("models", "review_enriched", "compare_editors"),
        (SOURCES, ("corrections", "triplets"), ("editor", "adopted"), ("editor", "this")),
        (("editor", "choice"),),
    ),
)


def find_step(number: str | int) -> Step:
    """Return the step of a number such as 12. Raises ValueError naming the numbers there are."""
    for step in STEPS:
        if str(number).split("_")[0].zfill(2) == f"{step.number:02d}":
            return step
    raise ValueError(f"there is no step {number!r}; steps are {', '.join(f'{s.number:02d}' for s in STEPS)}")


def steps_of(settings: params.Iteration) -> tuple[Step, ...]:
    """Return the steps an iteration takes: all, or without the second wheel where ``corrections.hand`` is off."""
    return tuple(s for s in STEPS if settings.corrections.hand != "off" or s.number not in range(21, 24))
