"""Community LoRAs for Qwen-Image-Edit: what each is for, how it is asked, and how one is named in the settings.

A LoRA to use is written ``name:0.8`` (one of KNOWN), ``name=path:0.8`` (that one, from a file or folder of your own),
``path:0.8``, a folder with one .safetensors in it, or a hub id. Facts are from the model cards as they stood in
November 2026, where they could be read; what is not known says so. Imports no torch.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flenlib.dataset.prompts import edit_prompt
from flenlib.project import from_base

ADOPTED = "adopted"
"""In place of a LoRA: what step 2.3 of the iteration before chose."""

FINISH, ALWAYS = "finish", "always"
"""What a LoRA may be for besides a kind of edit: a pass of its own after the edit, or every pass (speed)."""

UNREAD = "not known here; read its page"
UNSTATED = "not stated on its page as read"

LIGHTNING = (
    ("use_dynamic_shifting", True), ("shift", 1.0), ("base_shift", math.log(3)), ("max_shift", math.log(3)),
    ("shift_terminal", None),
)  # fmt: skip
"""The scheduler's settings these LoRAs were distilled with, in place of the editor's own: a shift of 3 at any size
(github.com/ModelTC/Qwen-Image-Lightning, generate_with_diffusers.py)."""


@dataclass(frozen=True)
class Community:
    """One published LoRA; ``phrase`` is the instruction it was trained on, with ``{edit}`` for the kit's own."""

    name: str
    repository: str
    file: str
    purpose: str
    kinds: tuple[str, ...]  # none: for use by hand, ``needs`` says why
    phrase: str = "{edit}"
    strength: float = 1.0
    needs: str = ""
    licence: str = UNREAD
    base: str = "qwen-image-edit-2509"
    steps: int = 0  # sampling steps it was distilled to, at guidance 1; 0: any
    beside: str = ""  # a kind of LoRA its page asks for beside it
    scheduler: tuple[tuple[str, float | bool | None], ...] = ()
    revision: str = "main"

    @property
    def hub(self) -> str:
        """What `flenlib.models.registry.lora_file` downloads: repository, revision and file."""
        pinned = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repository}{pinned}/{self.file}" if self.file else f"{self.repository}{pinned}"

    @property
    def page(self) -> str:
        """Its page on the hub."""
        return f"https://huggingface.co/{self.repository}"


def _lightning(steps: int) -> Community:
    file = f"Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-{steps}steps-V1.0-bf16.safetensors"
    return Community(
        f"lightning-{steps}", "lightx2v/Qwen-Image-Lightning", file, f"{steps} sampling steps instead of 40", (ALWAYS,),
        needs=f"steps {steps} and guidance 1", licence="Apache-2.0", steps=steps, scheduler=LIGHTNING,
    )  # fmt: skip


KNOWN = {
    lora.name: lora
    for lora in (
        Community(
            "multiple-angles", "dx8152/Qwen-Edit-2509-Multiple-angles", "镜头转换.safetensors",
            "moves the camera around the subject", ("camera",), "{camera}", beside="lightning",
        ),
        Community(
            "multiple-angles-2511", "fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA", "",
            "96 camera positions", ("camera",), "<sks> {view}", 0.9, licence="Apache-2.0", base="qwen-image-edit-2511",
        ),
        Community(
            "relight", "dx8152/Qwen-Image-Edit-2509-Relight", "Qwen-Edit-Relight.safetensors",
            "lights the picture anew", ("lighting",), "重新照明, {edit}", licence=UNSTATED, beside="lightning",
        ),
        Community(
            "neutral-light", "djessica/QE-2509-Relight", "", "takes the light off a portrait, before it is edited", (),
            UNREAD, needs="its trigger phrase and file, which are not known here",
        ),
        Community(
            "multi-angle-lighting", "dx8152/Qwen-Edit-2509-Multi-Angle-Lighting", "多角度灯光-251116.safetensors",
            "light from one of ten directions (LIGHT_FROM)", (), "使用图2的亮度贴图对图1重新照明(光源来自{from})",
            needs="a brightness map as second picture, which the enrichment plan does not give",
        ),
        Community(
            "light-restoration", "dx8152/Qwen-Image-Edit-2509-Light_restoration", "移除光影.safetensors",
            "takes light and shadow off, before or after another edit", (FINISH,),
            "移除光影,使用柔和光线(无明显光斑和阴影)对图片进行重新照明",
        ),
        Community(
            "skin", "tlennon-ie/qwen-edit-skin", "qwen-edit-skin_1.1_000002750.safetensors",
            "natural skin instead of a waxy one", (FINISH,),
            "make the subjects skin details more prominent and natural",
        ),
        Community(
            "next-scene", "lovis93/next-scene-qwen-image-lora-2509", "next-scene_lora-v2-3000.safetensors",
            "the same person in another place, as the next shot of a film", ("background",), "Next Scene: {edit}",
            0.75, licence="MIT",
        ),
        Community(
            "consistency", "weiqiang1978/Consistance_Edit_Lora", "", "keeps what was not to change where it was", (),
            needs="a workflow that does not show the picture to the text encoder, which the editor here always does",
        ),
        Community(
            "face-to-portrait", "DiffSynth-Studio/Qwen-Image-Edit-F2P", "",
            "a portrait of the person whose face is given, the face preserved", (), UNREAD,
            needs="the face alone, cropped, in place of the picture", licence="Apache-2.0", base="qwen-image-edit",
        ),
        Community(
            "face-mask", "TsienDragon/qwen-image-edit-lora-face-segmentation", "pytorch_lora_weights.safetensors",
            "draws a mask of the face, to check an edit by", (), UNREAD,
            needs="something that reads a mask: it makes no edit", base="qwen-image-edit",
        ),
        Community(
            "photo-to-anime", "autoweeb/Qwen-Image-Edit-2509-Photo-to-Anime",
            "Qwen-Image-Edit-2509-Photo-to-Anime_000001000.safetensors", "style transfer: a photo drawn as anime", (),
            UNREAD, needs="a plan that asks for anime, which the styles here do not include", licence="MIT",
        ),
        _lightning(4),
        _lightning(8),
    )
}  # fmt: skip

BASES = {lora.base for lora in KNOWN.values()}
"""The editors these LoRAs were made for."""

CAMERA = {
    "slightly left": "将镜头向左旋转45度 Rotate the camera 45 degrees to the left.",
    "slightly right": "将镜头向右旋转45度 Rotate the camera 45 degrees to the right.",
    "lower": "将相机切换到仰视视角 Turn the camera to a worm's-eye view.",
    "higher": "将镜头转为俯视 Turn the camera to a top-down view.",
    "closer": "将镜头转为特写镜头 Turn the camera to a close-up.",
    "wider": "将镜头转为广角镜头 Turn the camera to a wide-angle lens.",
}
"""The camera grammar of multiple-angles: the kit's words for a camera edit, and the LoRA's. It took any degrees."""

AZIMUTHS = {
    "front": "front view",
    "half-left": "front-left quarter view",
    "half-right": "front-right quarter view",
    "profile-left": "left side view",
    "profile-right": "right side view",
    "back": "back view",
}
"""The camera grammar of multiple-angles-2511: absolute views, by the angle an edit is to show."""
ELEVATIONS = {"lower": "low-angle shot", "higher": "high-angle shot"}
DISTANCES = {"closer": "close-up", "wider": "wide shot"}
_FROM_FRONT = {"slightly left": "half-left", "slightly right": "half-right"}

LIGHT_FROM = {
    "front": "前方", "front left": "左前方", "left": "左方", "back left": "左后方", "back": "后方",
    "back right": "右后方", "right": "右方", "front right": "右前方", "above": "上方", "below": "下方",
}  # fmt: skip
"""The ten directions of multi-angle-lighting, for use by hand."""


def view(value: str, angle: str = "") -> str:
    """Return a camera edit as multiple-angles-2511 is asked for it: azimuth, elevation, distance.

    ``angle`` is the one the edit is to show; where it is not known, the source is taken to be seen from the front.
    """
    azimuth = AZIMUTHS[angle or _FROM_FRONT.get(value, "front")]
    return f"{azimuth} {ELEVATIONS.get(value, 'eye-level shot')} {DISTANCES.get(value, 'medium shot')}"


@dataclass(frozen=True)
class Use:
    """One LoRA of a settings file: where it is, how strongly, for which edits, and how it is asked."""

    text: str
    path: Path | str  # a local file, or what `flenlib.models.registry.lora_file` downloads
    weight: float
    kinds: tuple[str, ...] = ()  # none: for every kind of edit
    phrase: str = "{edit}"
    name: str = ""  # of the entry of KNOWN it is

    def prompt(self, kind: str, value: str, angle: str = "") -> str:
        """Return the instruction for an edit, such as ``("camera", "slightly left")``, in this LoRA's words.

        ``angle`` is the one the picture is to show, for LoRAs whose views are absolute.
        """
        plain = edit_prompt(kind, value)
        words = {"edit": plain, "camera": CAMERA.get(value, plain)}
        return self.phrase.format(**words, view=view(value, angle) if kind == "camera" else "")

    def serves(self, kind: str) -> bool:
        """Say whether it draws edits of a kind, and not only before or after them."""
        return not self.kinds or kind in self.kinds


def parse(text: str, editor: str = "") -> Use:
    """Return the LoRA an entry of the settings means, for an editor of a name (empty: whichever).

    Raises ValueError for an unknown name (with the nearest), a LoRA made for another base model or for use by hand, and
    a folder without exactly one .safetensors; FileNotFoundError for a path that does not exist.
    """
    name, given, rest = text.strip().partition("=")
    body, weight = split_weight(rest if given else name)
    if body == ADOPTED:
        raise ValueError(f"LoRA {text!r} stands for what step 2.3 chose and belongs into models.editor_loras alone")
    if given or body in KNOWN:
        known = _known(name if given else body, text)
        _check_use(known, editor)
        strength = known.strength if weight is None else weight
        return Use(text, local(body) if given else known.hub, strength, known.kinds, known.phrase, known.name)
    path = from_base(body)
    if "/" not in body and not body.endswith(".safetensors") and not path.exists():
        _known(body, text)  # raises: it is no file and no hub id
    on_hub = "/" in body and not body.startswith(("/", ".", "~")) and not path.exists()
    return Use(text, body if on_hub else local(body), 1.0 if weight is None else weight)


def split_weight(text: str) -> tuple[str, float | None]:
    """Return (what is named, its weight) of ``name:0.8``; None where no weight is written."""
    found = re.fullmatch(r"(.*):([+-]?(?:\d+\.?\d*|\.\d+))", text.strip())
    return (found.group(1).strip(), float(found.group(2))) if found else (text.strip(), None)


def check_sampling(uses: Sequence[Use], steps: int, guidance: float) -> list[str]:
    """Return, a sentence each, what a LoRA's page asks for beside it and these uses have not.

    Raises ValueError for a LoRA that was distilled to other steps, or to no guidance.
    """
    known = [KNOWN[use.name] for use in uses if use.name]
    for lora in known:
        if lora.steps and (steps, guidance) != (lora.steps, 1):
            raise ValueError(
                f"LoRA {lora.name!r} samples in {lora.steps} steps at guidance 1 and the settings say {steps} and "
                f"{guidance:g}: set steps and guidance of this section so, or take it out"
            )
    alone = not any(lora.steps for lora in known)
    return [
        f"the page of {lora.name} asks for a {lora.beside} LoRA beside it" for lora in known if lora.beside and alone
    ]


def local(path: str) -> Path:
    """Return the LoRA file a path means: itself, or the only .safetensors of a folder. Raises as `parse` does."""
    place = from_base(path)
    if place.is_dir():
        files = sorted(place.glob("*.safetensors"))
        if len(files) != 1:
            names = ", ".join(file.name for file in files[:5]) or "none"
            raise ValueError(f"LoRA folder {place} holds {len(files)} .safetensors ({names}); name the file to use")
        return files[0]
    if not place.is_file():
        raise FileNotFoundError(f"LoRA file {place} does not exist")
    return place


def table(names: Sequence[str] = tuple(KNOWN)) -> pd.DataFrame:
    """Return the community LoRAs as a table: what for, for which edits, strength, what it needs, licence, page."""
    rows = [
        {
            "LoRA": lora.name,
            "what for": lora.purpose,
            "edits": ", ".join(lora.kinds) or "by hand",
            "asked as": lora.phrase,
            "strength": lora.strength,
            "needs": lora.needs or (f"a {lora.beside} LoRA beside it" if lora.beside else ""),
            "base": lora.base,
            "licence": lora.licence,
            "page": lora.page,
        }
        for lora in (KNOWN[name] for name in names)
    ]
    return pd.DataFrame(rows).set_index("LoRA")


def _known(name: str, text: str) -> Community:
    if name.strip() in KNOWN:
        return KNOWN[name.strip()]
    close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KNOWN)}"
    raise ValueError(f"LoRA {text!r} is not known; {hint} (a file, a folder or a hub id serves too)")


def _check_use(known: Community, editor: str) -> None:
    if not known.kinds:
        raise ValueError(f"LoRA {known.name!r} cannot be used here: it needs {known.needs}")
    short = editor.rpartition("/")[2].casefold()
    if short in BASES and short != known.base:
        raise ValueError(f"LoRA {known.name!r} was made for {known.base} and the editor is {editor}; leave it out")
