"""What the families share: loading, whole or in parts, letting parts go, sampling's frame, saving a LoRA.

A GPU too small for everything at once is used in turns: load without the transformer, encode, free the text encoders,
load the transformer, train. Previews are then drawn from conditions encoded in the first turn.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, final

import diffusers
import torch
import transformers
from huggingface_hub import errors
from PIL import Image
from safetensors import SafetensorError

from flenlib.content import Allowed
from flenlib.dataset.images import fit
from flenlib.models import lora, lora_file, placement
from flenlib.models.batch import Batch, Encoded
from flenlib.models.families.architecture import Architecture, Inputs
from flenlib.models.start import Start


class Family(Architecture):
    """One loaded pipeline with five verbs: load, encode, predict, sample, save.

    A subclass fills in its `Architecture`; of the verbs it has predict, ``_encode``, and ``_draw``, which samples with
    a pipeline. ``conditions`` are what ``sample`` takes in place of a text. Every text is one that `flenlib.content`
    has allowed; ``encode`` and ``sample`` refuse any other.
    """

    revision = "main"
    """The revision of the hub's repository that it was loaded from."""

    def __init__(self, pipeline: Any, source: str, precision: str, offload: str, device: torch.device) -> None:
        self.pipeline = pipeline
        self.source = source
        self.precision = precision
        self.offload = offload
        self.device = device
        self.dtype = placement.pick_dtype(precision, device)
        self.facts = placement.pipeline_facts(source)
        self.resolution: int = self.facts.get("resolution", self.native)
        self.multiple: int = 2 * pipeline.vae_scale_factor
        self.loras: list[lora.Stacked] = []

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt, at about ``resolution`` squared pixels; ``references`` says if it has any.

        Cropped to a coarse grid of sizes, so that pictures of like shape make batches.
        """
        return fit(picture, resolution)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        precision: str = "fp32",
        offload: str = "none",
        device: str = "auto",
        transformer: bool = True,
        revision: str = "main",
    ) -> Self:
        """Load a pipeline from a hub id or a folder; the same call for the published models and the mini ones.

        Weights are read from safetensors only: a pickle can run code. ``revision`` is of a hub id.
        Without the ``transformer`` the result can encode, and can predict and sample after ``load_transformer``; its
        text encoders are then not quantised where they fit (see ``placement.place``).
        Raises RuntimeError in one sentence for files that are missing or damaged.
        """
        where = placement.pick_device(device)
        placement.check_offload(offload, precision)
        placement.make_current(where)
        dtype = placement.pick_dtype(precision, where)
        with reading(str(source)):
            parts = cls.own_parts(str(source), revision) | _hub(revision)
            pipeline = cls.pipeline_class.from_pretrained(str(source), transformer=None, dtype=dtype, **parts)
        pipeline.set_progress_bar_config(disable=True)
        family = cls(pipeline, str(source), precision, offload, where)
        family.revision = revision
        loaded = [name for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)]
        family._place(loaded, alone=offload == "model" or not transformer)
        if transformer:
            family.load_transformer()
        return family

    @classmethod
    def own_parts(cls, source: str, revision: str) -> dict[str, Any]:
        """Return the pipeline's parts that ``from_pretrained`` cannot make by itself."""
        return {}

    def load_transformer(self) -> None:
        """Load the transformer at the family's precision and offload; nothing happens when it is there already.

        Raises RuntimeError in one sentence for missing or damaged files.
        """
        if self.pipeline.transformer is not None:
            return
        placement.make_current(self.device)
        with reading(self.source):
            where = {"subfolder": "transformer"} | _hub(self.revision)
            model = self.transformer_class.from_pretrained(self.source, dtype=self.dtype, **where)
        self.pipeline.register_modules(transformer=model)
        self._place(["transformer"])

    @final
    @torch.no_grad()
    def encode(
        self, *, image: Image.Image | None = None, text: Allowed | None = None, references: Sequence[Image.Image] = ()
    ) -> Encoded:
        """Encode a picture, a text with its reference pictures, or both, into what ``predict`` reads, on the CPU.

        Raises TypeError for a text the gate has not allowed, ValueError for references this family cannot take, and
        RuntimeError for a text after ``free_encoders``.
        """
        self.check_references(len(references))
        return self._encode(image, None if text is None else allowed(text), references)

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Return what ``encode`` does."""
        raise NotImplementedError

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, (B, tokens, channels), float32.

        ``timesteps`` are (B,) in 0..1. Raises ValueError for a batch of pictures of different sizes.
        """
        raise NotImplementedError

    def conditions(self, text: Allowed, references: Sequence[Image.Image] = ()) -> Encoded:
        """Encode what ``sample`` needs in place of a text once the text encoders are freed."""
        return self.encode(text=text, references=references)

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what a text is encoded to; ``references`` says if it has any."""
        raise NotImplementedError

    @final
    def sample(
        self,
        text: Allowed,
        *,
        seed: int,
        steps: int,
        guidance: float | None = None,
        width: int | None = None,
        height: int | None = None,
        references: Sequence[Image.Image] = (),
        conditions: Encoded | None = None,
        start: Start | None = None,
        control: Image.Image | None = None,
    ) -> Image.Image:
        """Draw one RGB picture of a text; one seed gives one picture on every device, up to rounding.

        ``references`` are what an editor changes. ``conditions`` replace the text, which is then not read. With
        ``start`` it is drawn over a picture, or within a mask; ``control`` is a picture of edges, depth or a pose.
        Raises TypeError for a text the gate has not allowed, ValueError for what this family does not support,
        RuntimeError for a text after ``free_encoders``.
        """
        allowed(text)
        self.check_references(len(references))
        self._check(references, start, control)
        if start is not None and not start.strength:
            return start.picture
        if conditions is None:
            self._need_encoders()
        pipeline, (wide, high) = self._pipeline(references, start, control), self._size(references, start)
        how: Inputs = {"width": width or wide, "height": height or high, "num_inference_steps": steps}
        how |= {} if start is None else start.inputs()
        how |= {} if control is None else {"control_image": control}
        how["generator"] = torch.Generator("cpu").manual_seed(seed)
        guidance = self.guidance if guidance is None else guidance
        drawn = self._draw(pipeline, text, guidance, references, conditions, how)
        if pipeline is not self.pipeline:
            self.pipeline.maybe_free_model_hooks()
        return drawn if start is None else start.finish(drawn)

    def _draw(
        self,
        pipeline: diffusers.DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        """Return what a pipeline draws; ``how`` are its arguments that every family's pipelines have."""
        raise NotImplementedError

    def _check(self, references: Sequence[Image.Image], start: Start | None, control: Image.Image | None) -> None:
        if start is not None and control is not None:
            raise ValueError("a start picture and a control picture cannot be sampled with together; give one of them")
        asked = [] if start is None else ["start" if start.mask is None else "mask"]
        for name in [*asked, *([] if control is None else ["control"])]:
            if name not in self.supports:
                known = f"only {' and '.join(self.supports)}" if self.supports else "nothing but a text and references"
                raise ValueError(f"the {self.name} family cannot sample with a {name} picture; it takes {known}")

    def _size(self, references: Sequence[Image.Image], start: Start | None) -> tuple[int, int]:
        """Return the width and height of a picture where none are asked for."""
        return (self.resolution, self.resolution) if start is None else start.size(self.multiple)

    def _pipeline(
        self, references: Sequence[Image.Image], start: Start | None, control: Image.Image | None
    ) -> diffusers.DiffusionPipeline:
        """Return the pipeline that draws: the family's own, or another of the same parts."""
        if start is None and control is None:
            return self.pipeline
        name = "control" if start is None else "start" if start.mask is None else "mask"
        return self._of_same_parts(self.supports[name])

    def _of_same_parts(self, kind: type[diffusers.DiffusionPipeline]) -> Any:
        names, own = inspect.signature(kind.__init__).parameters, self.pipeline
        pipeline = kind(**{name: part for name, part in {**own.config, **own.components}.items() if name in names})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def free_encoders(self) -> None:
        """Let the text encoders go, to make room for the transformer; nothing happens when they are gone already.

        Pictures can still be encoded; texts cannot, and ``sample`` needs ``conditions`` made before.
        """
        if not self.can_encode_text:
            return
        self.pipeline.register_modules(**dict.fromkeys(self.encoders))
        self._place([])
        collect()

    def reload(self, transformer: bool = True) -> None:
        """Load everything anew, without any LoRA: as before ``free_encoders``; also without the ``transformer``."""
        self.pipeline, self.loras = None, []
        collect()
        options = {"precision": self.precision, "offload": self.offload, "device": str(self.device)}
        options |= {"revision": self.revision}
        self.pipeline = type(self).load(self.source, **options, transformer=transformer).pipeline

    def free(self) -> None:
        """Give back the memory it takes, on the GPU too; it cannot be used afterwards."""
        self.pipeline = None
        collect()

    @property
    def can_encode_text(self) -> bool:
        """Whether the text encoders are still there."""
        return getattr(self.pipeline, self.encoders[0]) is not None

    @property
    def transformer(self) -> diffusers.ModelMixin:
        """The part that is trained. Raises RuntimeError before it is loaded."""
        if self.pipeline.transformer is None:
            raise RuntimeError(f"this {self.name} was loaded without its transformer; call load_transformer() first")
        return self.pipeline.transformer

    def save(self, path: str | Path, *, metadata: dict[str, str]) -> Path:
        """Write the attached trainable LoRA, all of it or nothing (see ``lora_file.write``); return the path."""
        return lora_file.write(self, path, metadata)

    def _need_encoders(self) -> None:
        if not self.can_encode_text:
            raise RuntimeError(f"this {self.name}'s text encoders were freed; give conditions=, made before they were")

    def _place(self, parts: Sequence[str], alone: bool = False) -> None:
        placement.place(self.pipeline, parts, type(self), self.precision, self.offload, self.device, alone)


def allowed(text: Allowed) -> Allowed:
    """Return a text that `flenlib.content.allow` has passed. Raises TypeError for any other, without repeating it."""
    if not isinstance(text, Allowed):
        raise TypeError(
            f"a text reaches a model only through the content gate and this one is a {type(text).__name__}; give what "
            "flenlib.content.allow(character, text) returns"
        )
    return text


def _hub(revision: str) -> dict[str, Any]:
    """Return how weights are fetched and read."""
    return {"revision": revision, "use_safetensors": True}


def collect() -> None:
    """Give back memory that nothing refers to any more, on the GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Read weights, quietly when they are on disk, and turn what is wrong with them into one sentence."""
    try:
        with quiet(Path(source).is_dir()):
            yield
    except (OSError, errors.HfHubHTTPError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        name = placement.pipeline_facts(source).get("name", source)
        raise RuntimeError(f"{name} cannot be loaded from {source}: {reason}") from error


@contextmanager
def quiet(really: bool = True) -> Iterator[None]:
    """Keep diffusers and transformers from printing progress bars and warnings about optional parts while loading."""
    if not really:
        yield
        return
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()
