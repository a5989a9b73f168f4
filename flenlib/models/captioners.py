"""Models that describe pictures, behind one verb: which architectures there are, how they are asked, and loading.

Florence-2, Qwen2.5-VL, Qwen3-VL and LLaVA (JoyCaption) are transformers' own classes; code of a repository is not run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from PIL import Image
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from flenlib.content import Allowed
from flenlib.dataset.files import read_json
from flenlib.models import placement, registry
from flenlib.models.families.base import allowed, collect, reading
from flenlib.models.families.qwen_processor import load_processor
from flenlib.project import from_base

LONGEST = 300
"""Tokens of a description, at most."""
QUESTION = "Write a descriptive caption for this image in a formal tone."
"""JoyCaption's own question (its model card); the Qwen models answer it as well."""
SYSTEM = "You are a helpful image captioner."
"""What JoyCaption was trained with before a question."""
KNOWN = {
    "joycaption": "fancyfeast/llama-joycaption-beta-one-hf-llava",
    "florence-2": "florence-community/Florence-2-large",
    "qwen2.5-vl": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3-vl": "Qwen/Qwen3-VL-8B-Instruct",
}
"""Captioners by name. Microsoft's own repositories of Florence-2 need code of theirs; the community's copy does not."""


PROCESSORS: dict[str, Callable[..., Any]] = {
    "florence2": AutoProcessor.from_pretrained,
    "llava": AutoProcessor.from_pretrained,
    "qwen2_5_vl": load_processor,
    "qwen3_vl": load_processor,
}
"""The architectures, by ``model_type``, and how the processor of each is loaded; Qwen's own needs torchvision."""


@dataclass(frozen=True)
class Found:
    """A captioner that was found and not loaded: where it is, what it is, and how many bytes its weights take."""

    name: str
    source: str
    revision: str
    kind: str
    parameters: int

    def gib(self, precision: str) -> float:
        """Return the GiB its weights take at ``fp32`` or ``bf16``."""
        return self.parameters * (4 if precision == "fp32" else 2) / 2**30


def find(name: str) -> Found:
    """Return the captioner of a name in ``KNOWN``, a hub id (also ``owner/name@commit``) or a folder.

    Only ``config.json`` and the headers of the weights are read. Raises FileNotFoundError or ValueError in one sentence
    for a folder or an architecture that cannot be used, and for weights that are no safetensors, which could run code;
    RuntimeError for what the hub does not give.
    """
    source, _, revision = KNOWN.get(name, name).partition("@")
    folder, revision = from_base(source), revision or "main"
    if folder.is_dir():
        source, config = str(folder), folder / "config.json"
        if not config.is_file():
            raise ValueError(f"{folder} is no captioner: it has no config.json")
    elif not registry.HUB_ID.fullmatch(source):
        raise FileNotFoundError(f"captioner {name!r} is no folder and no hub id; known are {', '.join(KNOWN)}")
    else:
        config = registry.fetch(source, "config.json", revision=revision)
    content = read_json(config, "download or save the captioner again")
    kind = content.get("model_type")
    if kind not in PROCESSORS:
        raise ValueError(f"captioner {name} is a {kind}; the kit loads {', '.join(PROCESSORS)}")
    if "auto_map" in content:
        raise ValueError(f"captioner {name} needs code of its repository, which is not run; use {', '.join(KNOWN)}")
    return Found(name, source, revision, kind, _parameters(name, source, revision))


def _parameters(name: str, source: str, revision: str) -> int:
    """Return how many numbers the weights hold, by the headers of their safetensors files."""
    if Path(source).is_dir():
        files = sorted(Path(source).glob("*.safetensors"))
        if not files:
            raise ValueError(f"captioner {name} has no .safetensors weights, and a pickle can run code; convert them")
        return sum(map(_in_header, files))
    with registry.hub_errors(source, name):
        try:
            found = huggingface_hub.get_safetensors_metadata(source, revision=revision)
        except huggingface_hub.errors.NotASafetensorsRepoError:
            raise ValueError(
                f"captioner {name} has no .safetensors weights, and a pickle can run code; name another"
            ) from None
    return sum(found.parameter_count.values())


def _in_header(path: Path) -> int:
    with reading(str(path)), safe_open(path, "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


class Captioner:
    """One loaded model that describes pictures."""

    def __init__(self, found: Found, model: Any, processor: Any, device: torch.device) -> None:
        self.found, self.model, self.processor, self.device = found, model, processor, device

    @classmethod
    def load(cls, found: Found, precision: str = "bf16", device: str = "auto") -> Captioner:
        """Load a captioner from safetensors. Raises RuntimeError in one sentence for damaged or missing files."""
        where = placement.pick_device(device)
        dtype = placement.pick_dtype(precision, where)
        with reading(found.source):
            processor = PROCESSORS[found.kind](found.source, revision=found.revision)
            model = AutoModelForImageTextToText.from_pretrained(
                found.source, revision=found.revision, dtype=dtype, use_safetensors=True
            )
        return cls(found, model.to(where).eval(), processor, where)

    @torch.inference_mode()
    def describe(self, picture: Image.Image, question: Allowed, longest: int = LONGEST) -> str:
        """Return a description of an RGB picture, at most so many tokens; the same picture gets the same one.

        Raises TypeError for a question the gate has not allowed, and ValueError when nothing is returned.
        """
        prompt = self._prompt(allowed(question))
        inputs = self.processor(text=[prompt], images=[picture], return_tensors="pt").to(self.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        written = self.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        if not self.model.config.is_encoder_decoder:
            written = written[:, inputs["input_ids"].shape[1] :]
        text = " ".join(self.processor.tokenizer.decode(written[0], skip_special_tokens=True).split())
        if not text:
            raise ValueError(f"captioner {self.found.name} returned nothing; describe the picture yourself")
        return text

    def _prompt(self, question: str) -> str:
        """Return a question as the model is asked it: Florence-2's task, or a chat with the picture in it."""
        if self.found.kind == "florence2":
            return "<MORE_DETAILED_CAPTION>"
        said: list[dict[str, Any]] = [{"role": "user", "content": question}]
        if self.found.kind == "llava":
            said.insert(0, {"role": "system", "content": SYSTEM})
        text = self._chat(said)
        if self.processor.image_token not in text:  # JoyCaption's template puts it in by itself
            said[-1]["content"] = [{"type": "image"}, {"type": "text", "text": question}]
            text = self._chat(said)
        return text

    def _chat(self, said: list[dict[str, Any]]) -> str:
        return self.processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)

    def free(self) -> None:
        """Give back the memory it takes."""
        self.model = None
        collect()
