"""The flow of both wheels: its steps in order. What runs, what is done, the report and the README's table follow it."""

from __future__ import annotations

from flenlib.flow import artifacts as a
from flenlib.mini.hand import Renderer
from flenlib.params import Iteration
from flenlib.steps import Flow, Step
from flenlib.wheel import progress, results

EDITOR = ("models.editor", "models.editor_loras", "models.editor_mode", "models.precision")
BASE = ("models.generator", "models.precision")
GENERATOR = (*BASE, "models.generator_loras")
JUDGED = ("review_enriched.accept_unmeasured",)
INHERIT = ("guards.previous_only", "guards.deepest", "guards.only_shipped")
EDITOR_WEIGHTS = a.weights("models.editor", "models.editor_loras")
BASE_WEIGHTS = a.weights("models.generator")
GENERATOR_WEIGHTS = a.weights("models.generator", "models.generator_loras")

TRAINING = ("steps", "accumulate", "batch_size", "rank", "targets", "adapter", "optimizer", "ema", "resolution",
            "gradient_checkpointing", "sample_every")  # fmt: skip
SAMPLING = ("steps", "guidance")
PLANNED = {
    "models": ("generator", "editor", "editor_loras", "editor_mode", "precision", "offload", "device"),
    "curate": ("folder", "held_out"),
    "enrich": ("edits_per_source", "kinds", "tries", *SAMPLING),
    "review_enriched": ("reviewer",),
    "train": TRAINING,
    "generate": ("prompts", "seeds_per_prompt", "size", *SAMPLING),
    "review_synthetic": ("reviewer",),
    "retrain": TRAINING,
    "card": ("seeds_per_cell", "size", *SAMPLING),
    "corrections": ("hand", "reviewer", "tries", "held_out_share", *SAMPLING),
    "train_editor": (*TRAINING, "checkpoint_every", "sampling_steps", "guidance"),
    "compare_editors": ("strategies", "community", "edits_per_source", *SAMPLING),
}
"""What decides how long an iteration takes (`flenlib.wheel.work`), and so acts on step 00, by section."""

RENDERER = Renderer()
"""Who knows the right answer, where the mini studio drew the sources."""


def second_wheel(settings: Iteration) -> bool:
    """Say whether the second wheel turns: it does unless ``corrections.hand`` is off."""
    return settings.corrections.hand != "off"


WHEEL = Flow(
    "wheel",
    Iteration,
    (
        Step(
            results.CheckMachine,
            "flenlib.wheel.machine",
            "what this machine can run, and the hours and the money it will take",
            settings=tuple(f"{section}.{field}" for section, fields in PLANNED.items() for field in fields),
        ),
        Step(
            results.CurateSource,
            "flenlib.wheel.curate",
            "1.1 import pictures, reject with reasons, caption",
            settings=("curate", "captions"),
            reads=(a.RAW,),
            makes=(a.SOURCES,),
            hand=RENDERER,
            recipe=2,
        ),
        Step(
            results.Enrich,
            "flenlib.wheel.enrich",
            "1.2 edits, gated by face identity",
            settings=(*EDITOR, *JUDGED, "captions", "enrich"),
            reads=(a.SOURCES, a.ADOPTED, EDITOR_WEIGHTS),
            makes=(a.EDITS,),
            hand=RENDERER,
        ),
        Step(
            results.ReviewEnriched,
            "flenlib.wheel.review",
            "1.3 labels by a person, a file or a policy",
            settings=("review_enriched",),
            reads=(a.EDITS, a.labels_file("review_enriched")),
            asks=(a.EDIT_DECISIONS,),
            makes=(a.EDIT_LABELS, a.EDIT_FOLDERS),
        ),
        Step(
            results.TrainCharacter,
            "flenlib.wheel.train",
            "1.4 a character LoRA from sources and good edits",
            settings=(*BASE, *INHERIT, "guards.real_share", "captions", "train"),
            reads=(a.SOURCES, a.EDIT_LABELS, a.INHERITED, BASE_WEIGHTS),
            makes=(a.LORA,),
        ),
        Step(
            results.GenerateSynthetic,
            "flenlib.wheel.generate",
            "1.5 novel angles, expressions, scenes, poses",
            settings=(*GENERATOR, "captions", "generate"),
            reads=(a.LORA, GENERATOR_WEIGHTS),
            makes=(a.DRAWN,),
        ),
        Step(
            results.FilterIdentity,
            "flenlib.wheel.filter",
            "1.6 kept, dropped, or not measured",
            settings=("filter", "guards.nearest"),
            reads=(a.SOURCES, a.DRAWN),
            makes=(a.MEASURED,),
        ),
        Step(
            results.ReviewSynthetic,
            "flenlib.wheel.select",
            "1.7 the 10-20 best that fill gaps",
            settings=(*INHERIT, "review_synthetic"),
            reads=(
                a.SOURCES,
                a.EDIT_LABELS,
                a.REVIEWED_EDITS,
                a.INHERITED,
                a.MEASURED,
                a.labels_file("review_synthetic"),
            ),
            asks=(a.PICKS,),
            makes=(a.PICK_LABELS, a.PICK_FOLDERS, a.PRISTINE),
        ),
        Step(
            results.RetrainAndCompare,
            "flenlib.wheel.retrain",
            "1.8 a refined LoRA with the pristine ones; compared",
            settings=(*GENERATOR, *INHERIT, "guards.real_share", "guards.diversity", "captions", "retrain", "card"),
            reads=(a.SOURCES, a.EDIT_LABELS, a.INHERITED, a.PRISTINE, a.LORA, GENERATOR_WEIGHTS),
            makes=(a.REFINED,),
        ),
        Step(
            results.ModelCard,
            "flenlib.wheel.card",
            "the 23 standard pictures of the LoRA to use",
            settings=(*GENERATOR, "card"),
            reads=(a.SOURCES, a.LORA, a.REFINED, a.SHIP, GENERATOR_WEIGHTS),
        ),
        # The second wheel comes last: it serves the next iteration, and a person who is not through loses nothing.
        Step(
            results.CurateCorrections,
            "flenlib.wheel.editor.curate",
            "2.1 what review sent back becomes triplets",
            settings=(*EDITOR, "corrections"),
            reads=(
                *(
                    a.SOURCES,
                    a.ADOPTED,
                    a.EDIT_LABELS,
                    a.REVIEWED_EDITS,
                    a.CORRECTED,
                    a.EARLIER_TRIPLETS,
                    a.GIVEN_PAIRS,
                ),
                *(a.labels_file("corrections"), EDITOR_WEIGHTS),
            ),
            asks=(a.TRIED,),
            makes=(a.TRIPLETS, a.EXPORTED),
            wanted=second_wheel,
            hand=RENDERER,
        ),
        Step(
            results.TrainEditor,
            "flenlib.wheel.editor.train",
            "2.2 the editor's own LoRA",
            settings=("models.editor", "models.precision", "train_editor"),
            reads=(a.SOURCES, a.TRIPLETS, a.weights("models.editor")),
            makes=(a.EDITOR_LORA,),
            wanted=second_wheel,
            hand=RENDERER,
            recipe=2,
        ),
        Step(
            results.CompareEditors,
            "flenlib.wheel.editor.compare",
            "2.3 base, published, ours; one is adopted",
            settings=(*EDITOR, *JUDGED, "compare_editors"),
            reads=(
                *(a.SOURCES, a.TRIPLETS, a.ADOPTED, a.EDITOR_LORA),
                *(EDITOR_WEIGHTS, a.weights("compare_editors.community")),
            ),
            makes=(a.CHOICE,),
            wanted=second_wheel,
            hand=RENDERER,
        ),
    ),
    beside=progress.beside,
)
