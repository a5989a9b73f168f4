"""Wheel 1's models by name alone: Qwen-Image, and the editor without references, train, draw and fill the card."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from flenlib import params
from flenlib.dataset.images import open_image, read_provenance
from flenlib.draw.generator import open_generator
from flenlib.judge import card
from flenlib.models import lora
from flenlib.project import open_iteration
from flenlib.wheel import generate
from flenlib.wheel import train as character
from tests.train.common import bits, draw

TRAIN = {"steps": 2, "batch_size": 2, "rank": 2, "warmup": 0, "learning_rate": 1e-2, "checkpoint_every": 1,
         "sample_every": 2, "validate_every": 2, "caption_dropout": 0.5}  # fmt: skip


@pytest.fixture(params=["tiny_qwen_image", "tiny_qwen_edit"])
def models(request):
    return params.Models(generator=str(request.getfixturevalue(request.param)), device="cpu")


def test_a_character_is_trained_drawn_and_carded_on_it(models, tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx", "kind": "fictional", "age": "adult"}, root=tmp_path)
    samples, settings = draw(tmp_path / "pictures", 3), params.check("train", TRAIN)
    generator = open_generator(models, transformer=False)
    result = character.train_character(project, generator, samples, settings, "v1")
    assert result.steps == 2 and np.isfinite(result.log["loss"]).all()
    assert len(list((result.lora.parent / "samples").glob("*.png"))) == 8, "four previews before and after"
    assert all(key.startswith("diffusion_model.transformer_blocks.") for key in load_file(result.lora))
    facts = json.loads((result.lora.parent / "training.json").read_text())["samples"]
    assert all(not sample["references"] for sample in facts)
    generator.free()

    again = open_generator(models, transformer=False)
    (project.outputs / "again").mkdir()
    for stop in (1, None):
        other = character.train_or_set_aside(
            again.family, samples, settings, project.outputs / "again" / "lora", stop_after=stop,
            previews=character.previews(project, settings.seed), cache_folder=project.outputs / "cache",
        )  # fmt: skip
    assert other.resumed_from == 1 and bits(other.lora) == bits(result.lora)

    asked = params.check("generate", {"prompts": 2, "seeds_per_prompt": 1, "steps": 1, "guidance": 2.0})
    dataset = generate.generate(project, open_generator(models, [f"{result.lora}:0.8"]), asked)
    inside = read_provenance(dataset.path(dataset.images[0]))
    assert len(dataset.images) == 2 and [use["weight"] for use in inside["models"]["loras"]] == [0.8]

    asked = params.check("card", {"seeds_per_cell": 1, "steps": 1, "guidance": 1.0})
    drawn = card.draw_all(project, models, asked, {"base": None, "v1": result.lora})
    assert {name: len(paths) for name, paths in drawn.items()} == {"base": 23, "v1": 23}
    first = [np.asarray(open_image(paths[0])).astype(int) for paths in drawn.values()]
    assert abs(first[0] - first[1]).max() > 0


def test_a_lora_of_qwen_image_fits_the_editor_and_flux_takes_neither(
    tiny_qwen_image, tiny_qwen_edit, tiny_flux, tmp_path
):
    """They have one transformer, so a character learnt on one can be drawn by the other."""
    models = params.Models(generator=str(tiny_qwen_image), device="cpu")
    family = open_generator(models).family
    lora.attach(family, 2, 2, "attention", seed=0)
    path = family.save(tmp_path / "own.safetensors", metadata={})
    assert [each.name for each in lora.families_of(path)] == ["qwen_image", "qwen_edit"]
    editor = open_generator(params.Models(generator=str(tiny_qwen_edit), device="cpu"), [path.as_posix()])
    assert [use.file for use in editor.family.loras] == [str(path)]
    with pytest.raises(ValueError, match=r"was made for qwen_image or qwen_edit .* cannot be used with flux"):
        open_generator(params.Models(generator=str(tiny_flux), device="cpu"), [path.as_posix()])
