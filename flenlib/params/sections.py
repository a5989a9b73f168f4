"""The settings of an iteration: one validated section a step. Knows no files and no models.

A default here is what suits any published model; what a model or its family wants instead is in its own ``settings``
(``flenlib/models``), and ``flenlib.models.settings`` puts the two together.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from flenlib import words
from flenlib.params.captions import Captions
from flenlib.params.character import Character, Section


class Models(Section):
    """Which models run, where, and at which precision."""

    generator: str = Field(default="mini-flux", description="registered name, hub id, or local folder")
    editor: str = Field(default="mini-qwen-edit", description="registered name, hub id or local folder")
    generator_loras: list[str] = Field(
        default=[], description="LoRA files or hub ids under the character's, 'path:0.8'"
    )
    editor_loras: list[str] = Field(
        default=[],
        description="on the editor: 'multiple-angles:0.9', 'path:0.8', hub ids, or 'adopted' (docs/loras.md)",
    )
    editor_mode: words.EditorMode = Field(
        default="stack", description="editor_loras together by weight, or one after another by kind of edit"
    )
    precision: words.Precision = Field(default="bf16", description="of the base weights")
    offload: words.Offload = Field(default="none", description="what is moved off the GPU when idle")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1")


class Curate(Section):
    """Step 1.1."""

    folder: str = Field(default="", description="folder of pictures to import; empty: the mini studio draws twelve")
    minimum_size: int = Field(default=512, gt=0, description="shorter side, pixels")
    minimum_sharpness: float = Field(default=60.0, ge=0, description="variance of the Laplacian on the face")
    minimum_usable: int = Field(default=10, gt=0, description="pictures the step needs to succeed")
    minimum_angles: int = Field(default=2, gt=0, description="different angles the step needs")
    held_out: Literal[0, 2, 3, 4] = Field(default=2, description="pictures kept from training, to measure against")
    expect_face: bool = Field(
        default=True, description="reject a picture without exactly one face, back and profile excepted"
    )
    seed: int = 7


class Enrich(Section):
    """Step 1.2."""

    set_by: ClassVar[words.Role] = "editor"

    edits_per_source: int = Field(
        default=0, ge=0, description="edits drawn of each source; 0: five, or as many as make 50 in all"
    )
    kinds: list[words.Edit] = Field(
        default=[*words.EDITS],
        min_length=1,
        description="kinds of edit, in equal shares",
    )
    tries: int = Field(default=2, gt=0, description="seeds tried before a drifted edit is left to review")
    steps: int = Field(default=40, gt=0, description="sampling steps")
    guidance: float = Field(default=4.0, ge=1, description="true_cfg_scale")
    slack: float = Field(
        default=1.75, gt=0, description="threshold = the sources' own spread x slack x the kind's factor"
    )
    seed: int = 11


class Review(Section):
    """Who labels: the part that every review has."""

    reviewer: words.Reviewer = Field(default="human", description="who labels")
    person: str = Field(default="", description="your name, when several people review")
    file: str = Field(default="", description="CSV of filename,label,reasons when reviewer is file")


class ReviewEnriched(Review):
    """Step 1.3."""

    minimum_good: int = Field(default=30, ge=0, description="good pictures the step needs")
    accept_unmeasured: bool = Field(
        default=True, description="auto: good although no face could be expected, so none measured"
    )
    margin: float = Field(
        default=1.25, gt=1, description="auto: up to threshold x margin is needs_correction, beyond it reject"
    )


class ReviewSynthetic(Review):
    """Step 1.7."""

    select: int = Field(default=12, ge=0, description="pictures picked")
    near_copy: float = Field(default=0.0, ge=0, description="face distance under which a picture adds nothing")


class Phase(Section):
    """A part of a training that draws some kinds of samples only: head and expressions first, then the whole body."""

    kinds: list[str] = Field(
        min_length=1, description="kinds drawn: a record's framing (portrait, standing ...), a folder's concept"
    )
    until: int = Field(default=0, ge=0, description="its last step; 0: the last of the training")


class Train(Section):
    """Steps 1.4 and 1.8: one LoRA."""

    steps: int = Field(default=1500, gt=0, description="optimiser steps")
    batch_size: int = Field(default=1, gt=0, description="of all processes together")
    accumulate: int = Field(default=1, gt=0, description="micro-steps per optimiser step")
    learning_rate: float = Field(default=1e-4, gt=0, description="1 for prodigy")
    warmup: int = Field(default=20, ge=0, description="steps of linear warm-up")
    schedule: words.Schedule = "constant"
    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=16.0, gt=0)
    adapter: words.Adapter = "lora"
    targets: str | list[str] = Field(
        default="attention", description="attention, attention+mlp, all-linear, or a list of layer name endings"
    )
    timesteps: words.Timesteps = "logit_normal"
    optimizer: words.Optimizer = "adamw"
    weight_decay: float = Field(default=1e-2, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    caption_dropout: float = Field(default=0.05, ge=0, le=1)
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the averaged LoRA that is saved; 0 is off")
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")
    compile: bool = Field(default=False, description="torch.compile of the transformer's blocks")
    checkpoint_every: int = Field(default=250, gt=0)
    sample_every: int = Field(default=250, gt=0, description="previews drawn, and measured")
    validate_every: int = Field(default=250, gt=0, description="loss on held-out pictures, at fixed noise and times")
    resolution: list[int] = Field(
        default=[], description="one or several, such as [512, 768, 1024]; empty: the model's own"
    )
    flip: bool = Field(default=False, description="draw mirrored pictures too; a face is not its mirror image")
    focus: words.Focus = Field(
        default="none", description="where the loss counts in full: found faces, mask pictures, what an edit changed"
    )
    unfocused: float = Field(default=0.1, ge=0, lt=1, description="what the loss counts elsewhere")
    phases: list[Phase] = Field(default=[], description="a curriculum; empty: every sample all the time")
    source_repeats: int = Field(default=0, ge=0, description="0: as many as make sources half of what is sampled")
    seed: int = 17

    @field_validator("targets")
    @classmethod
    def _known_preset(cls, value: str | list[str]) -> str | list[str]:
        if not value or (isinstance(value, str) and value not in words.TARGETS):
            raise PydanticCustomError("targets", f"Input should be one of {', '.join(words.TARGETS)}, or a list")
        return value

    @field_validator("resolution", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | str) else value

    @field_validator("resolution")
    @classmethod
    def _sizes(cls, value: list[int]) -> list[int]:
        if any(side < 16 for side in value) or len(set(value)) != len(value):
            raise PydanticCustomError("sizes", "Input should be different sizes of at least 16 pixels")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        ends = [phase.until or self.steps for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[-1] != self.steps):
            raise PydanticCustomError(
                "phases", f"phases should end one after another and the last at step {self.steps}, not at {ends}"
            )
        if self.optimizer == "schedule_free" and (self.schedule != "constant" or self.ema):
            raise PydanticCustomError(
                "schedule_free", "optimizer schedule_free averages by itself: use schedule constant and ema 0 with it"
            )
        return self


class TrainRun(Section):
    """One training outside the notebooks: the content of a file given to ``python -m flenlib.train``."""

    character: Character
    model: str = Field(default="mini-flux", description="registered name, hub id or local folder")
    role: words.Role | Literal[""] = Field(default="", description="what it learns to be; empty: an editor if it can")
    precision: words.Precision = Field(default="bf16", description="of the base weights")
    offload: words.Offload = "none"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:1")
    data: list[str] = Field(
        min_length=1, description="kohya folders (10_name inside), folders with metadata.json or triplets.json"
    )
    held_out: list[str] = Field(default=[], description="the same, never trained on: validation loss, face distance")
    prior: list[str] = Field(default=[], description="kohya folders of the class: what the model should not forget")
    prior_weight: float = Field(default=1.0, gt=0, description="what the loss of a prior picture counts")
    masks: str = Field(default="", description="folder of mask pictures named as their pictures, for focus mask")
    references: list[str] = Field(default=[], description="pictures an editor is given where a sample has none")
    prompts: list[str] = Field(default=[], description="previews; empty: captions of the first samples")
    preview_steps: int = Field(default=28, gt=0)
    preview_guidance: float = Field(default=3.5, ge=0)
    captions: Captions = Captions()
    anyway: bool = Field(default=False, description="train although a caption has a fault that spoils training")
    train: Train = Train()
    output: str = Field(min_length=1, description="folder of the LoRA; its name is the LoRA's")


class TrainEditor(Train):
    """Step 2.2: the editor's own LoRA. The reference picture stays where captions are dropped."""

    set_by: ClassVar[words.Role] = "editor"

    steps: int = Field(default=1000, gt=0, description="optimiser steps")
    rank: int = Field(default=16, gt=0, description="8-16")
    checkpoint_every: int = Field(default=250, gt=0, description="checkpoints are scored on held-out triplets")
    sampling_steps: int = Field(default=40, gt=0, description="of the pictures checkpoints are scored by")
    guidance: float = Field(default=4.0, ge=1, description="true_cfg_scale of these pictures")


class Guards(Section):
    """What keeps wheel 1 from drifting over many turns; docs/process.md gives each one's reason."""

    real_share: float = Field(
        default=0.5, ge=0, lt=1, description="sources' least share of what training draws; 0: off"
    )
    previous_only: bool = Field(default=True, description="pictures an iteration drew feed only the next one")
    deepest: int = Field(default=4, ge=0, description="generations from a real picture that are trained on; 0: any")
    only_shipped: bool = Field(default=True, description="skip pristine pictures whose LoRA failed its shipping check")
    nearest: float = Field(default=0.5, ge=0, description="nearer than this x the sources' own spread: a copy; 0: off")
    diversity: float = Field(default=0.9, ge=0, description="a refined LoRA's least share of diversity; 0: off")


class Corrections(Section):
    """Step 2.1: what review sent back becomes (source, instruction, corrected picture)."""

    set_by: ClassVar[words.Role] = "editor"

    hand: words.Hand = Field(
        default="person", description="who corrects what nobody corrected yet; off: leave wheel 2 out"
    )
    labels: list[words.SentBack] = Field(
        default=["needs_correction"], min_length=1, description="which pictures are corrected"
    )
    reviewer: words.Reviewer = Field(default="human", description="who picks among tries")
    file: str = Field(default="", description="CSV of filename,label,reasons when reviewer is file")
    tries: int = Field(default=4, gt=0, description="pictures tried for each, by improved prompts and seeds")
    steps: int = Field(default=40, gt=0, description="sampling steps of a try")
    guidance: float = Field(default=4.0, ge=1, description="true_cfg_scale of a try")
    positive_share: float = Field(default=0.3, ge=0, lt=1, description="share of what is learnt that is good edits")
    held_out_share: float = Field(
        default=0.15, ge=0, lt=1, description="of corrections, whole sources, kept from training to score checkpoints"
    )
    minimum: int = Field(
        default=10, gt=0, description="corrections the step needs, held-out ones among them; good edits do not count"
    )
    earlier: bool = Field(default=True, description="keep the corrections of the iteration before")
    pairs: list[str | dict[str, str]] = Field(
        default=[], description="folders of pairs to add, or {control: ..., target: ...} (docs/second-wheel.md)"
    )
    pictures: list[str] = Field(default=[], description="other folders that the pictures of pairs may lie in")
    export: list[words.Layout] = Field(default=[], description="layouts to write the pairs in, for other trainers")
    seed: int = 41

    @field_validator("pairs", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        for given in value if isinstance(value, list) else ():
            folders = [given] if isinstance(given, str) else list(given.values()) if isinstance(given, dict) else [None]
            named = not isinstance(given, dict) or given.keys() == {"control", "target"}
            if not (named and all(isinstance(folder, str) and folder for folder in folders)):
                raise PydanticCustomError("pairs", "Input should be folders, or {control: folder, target: folder}")
        return value


class CompareEditors(Section):
    """Step 2.3: which editor the next iteration uses."""

    set_by: ClassVar[words.Role] = "editor"

    strategies: list[words.Strategy] = Field(
        default=["train"], description="beside the base editor: each community LoRA, all of them, ours, ours with them"
    )
    community: list[str] = Field(default=[], description="for use, combine and hybrid: 'multiple-angles:0.9', files")
    mode: words.EditorMode = Field(default="stack", description="how several LoRAs are run")
    weight: float = Field(default=1.0, gt=0, description="of our own LoRA")
    edits_per_source: int = Field(default=3, gt=0)
    kinds: list[words.Edit] = Field(default=[*words.EDITS], min_length=1)
    steps: int = Field(default=40, gt=0, description="sampling steps")
    guidance: float = Field(default=4.0, ge=1, description="true_cfg_scale")
    slack: float = Field(default=1.75, gt=0, description="of the face threshold, as enrich.slack")
    adopt: str = Field(default="auto", description="auto (the stated rule), base, or the name of a compared editor")
    seed: int = 43


class Generate(Section):
    """Step 1.5."""

    prompts: int = Field(default=30, gt=0, description="novel prompts")
    seeds_per_prompt: int = Field(default=4, gt=0)
    steps: int = Field(default=28, gt=0, description="sampling steps")
    guidance: float = Field(default=3.5, ge=0)
    size: int = Field(default=0, ge=0, multiple_of=16, description="side of a picture in pixels; 0: the model's own")
    lora_weight: float = Field(default=1.0, ge=0)
    seed: int = 23


class Filter(Section):
    """Step 1.6."""

    threshold: float = Field(default=0.0, ge=0, description="face distance kept; 0: calibrated on the sources")
    slack: float = Field(default=1.75, gt=0, description="calibrated threshold = the sources' own spread x slack")


class Card(Section):
    """Notebook 31 and step 1.8: how LoRAs are compared."""

    seeds_per_cell: int = Field(default=4, gt=0)
    steps: int = Field(default=28, gt=0, description="sampling steps")
    guidance: float = Field(default=3.5, ge=0)
    size: int = Field(default=0, ge=0, multiple_of=16, description="side of a picture in pixels; 0: the model's own")
    lora_weight: float = Field(default=1.0, ge=0)
    seed: int = 31


class FlowSettings(Section):
    """What the settings of every flow begin with; a flow adds its sections."""

    character: Character
    iteration: str = Field(default="v1", pattern=r"^v[1-9][0-9]{0,2}$", description="v1 to v999")
    anyway: bool = Field(default=False, description="go on although a criterion that blocks does not hold")


class Iteration(FlowSettings):
    """The settings of one turn of the wheel: the content of ``params/<character>/<iteration>.yaml``."""

    models: Models = Models()
    curate: Curate = Curate()
    captions: Captions = Captions()
    enrich: Enrich = Enrich()
    review_enriched: ReviewEnriched = ReviewEnriched()
    train: Train = Train()
    generate: Generate = Generate()
    filter: Filter = Filter()
    review_synthetic: ReviewSynthetic = ReviewSynthetic()
    retrain: Train = Train()
    card: Card = Card()
    guards: Guards = Guards()
    corrections: Corrections = Corrections()
    train_editor: TrainEditor = TrainEditor()
    compare_editors: CompareEditors = CompareEditors()
