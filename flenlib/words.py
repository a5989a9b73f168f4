"""The vocabulary the rooms share, each list written once: a type for settings, a tuple to look in. Imports no room."""

from typing import Literal, get_args

Kind = Literal["fictional", "real"]
"""What a character may be; a real person needs consent on record."""
Age = Literal["adult", "minor", "unstated"]
"""What is known of a character's age; ``unstated`` is treated as ``minor``."""
Rating = Literal["general", "mature", "adult"]
"""How sexual a text or a picture is, and the most that a character may be asked for: ``mature`` is suggestive,
``adult`` is explicit."""
Role = Literal["generator", "editor"]
"""What a model is used for: a generator draws from words, an editor changes a picture."""

Label = Literal["good", "needs_correction", "reject"]
SentBack = Literal["needs_correction", "reject"]
"""The labels of pictures that the second wheel may correct."""
Reviewer = Literal["human", "file", "auto"]
"""Who labels: a person in the widget, a CSV file, or a stated policy."""
Hand = Literal["person", "tries", "renderer", "off"]
"""Who corrects what review sent back; ``off`` leaves the second wheel out."""

Edit = Literal["background", "lighting", "style", "camera"]
"""The kinds of edit an editor is asked for."""
EditorMode = Literal["stack", "sequence"]
"""How several LoRAs run on an editor: together by weight, or one after another by kind of edit."""
Strategy = Literal["use", "combine", "train", "hybrid"]
"""What is compared with the base editor: each community LoRA, all of them, ours, ours with them."""
Layout = Literal["ai-toolkit", "musubi-tuner", "diffsynth", "imagefolder"]
"""The layouts in which other trainers read pairs."""

CaptionStyle = Literal["template", "tags", "sentences"]
"""How a caption is written: as the process document's ("photo of ohwx_char person, ..."), as tags that begin with the
trigger, or as sentences."""
Told = Literal["describe", "omit"]
"""Whether captions name a part of what a picture shows; what they omit is learnt under the trigger."""

Precision = Literal["fp32", "bf16", "int8", "nf4"]
PLANNED: tuple[Precision, ...] = ("bf16", "int8", "nf4")
"""The precisions that predictions compare: those a published model is used at."""
Offload = Literal["none", "model", "group"]
Adapter = Literal["lora", "dora", "lokr"]
Targets = Literal["attention", "attention+mlp", "all-linear"]
"""The layers a LoRA is put on; each family says which layers these are in its transformer."""
Optimizer = Literal["adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "prodigy", "schedule_free"]
Schedule = Literal["constant", "cosine", "linear"]
Timesteps = Literal["logit_normal", "uniform", "shifted"]
Focus = Literal["none", "face", "mask", "edit"]
"""Where the loss counts in full: everywhere, on found faces, on mask pictures, where an edit changed the picture."""

RATINGS: tuple[Rating, ...] = get_args(Rating)
ROLES: tuple[Role, ...] = get_args(Role)
LABELS: tuple[Label, ...] = get_args(Label)
EDITS: tuple[Edit, ...] = get_args(Edit)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OFFLOADS: tuple[Offload, ...] = get_args(Offload)
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
EDITOR_MODES: tuple[EditorMode, ...] = get_args(EditorMode)
TARGETS: tuple[Targets, ...] = get_args(Targets)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
TIMESTEPS: tuple[Timesteps, ...] = get_args(Timesteps)
