"""The model card with LoRAs of the character's under it: each is on every card, and every picture says so."""

import numpy as np

from flenlib import params
from flenlib.dataset.images import open_image, read_provenance
from flenlib.draw.generator import Generator, open_generator
from flenlib.judge import card
from flenlib.models import lora
from flenlib.project import open_iteration
from flenlib.wheel import generate
from tests.models.common import excite, load


def write_lora(tiny_flux, path, seed):
    family = load(tiny_flux, "flux")
    lora.attach(family, 4, 4.0, "attention", seed)
    excite(family)
    family.save(path, metadata={"modelspec.title": path.stem})
    lora.unstack(family)
    return path


def test_generator_loras_lie_under_the_characters_on_every_card(tiny_flux, tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    skin, own = (write_lora(tiny_flux, tmp_path / f"{name}.safetensors", n) for n, name in enumerate(("skin", "own")))
    settings = params.check("card", {"seeds_per_cell": 1, "steps": 1})
    models = params.check("models", {"generator": str(tiny_flux), "device": "cpu", "generator_loras": [f"{skin}:0.5"]})
    plain = params.check("models", {"generator": str(tiny_flux), "device": "cpu"})
    drawn = card.draw_all(project, models, settings, {"base": None, "own": own})
    drawn |= card.draw_all(project, plain, settings, {"bare": None})
    assert {len(paths) for paths in drawn.values()} == {23}
    uses = {name: read_provenance(paths[0])["models"]["loras"] for name, paths in drawn.items()}
    assert [use["weight"] for use in uses["base"]] == [0.5]
    assert [use["weight"] for use in uses["own"]] == [0.5, 1.0] and uses["bare"] == []
    first = {name: np.asarray(open_image(paths[0])).astype(int) for name, paths in drawn.items()}
    assert not (first["bare"] == first["base"]).all() and not (first["base"] == first["own"]).all()


def test_step_15_draws_every_prompt_at_every_seed_and_keeps_its_depth(tiny_flux, tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    settings = params.check("generate", {"prompts": 3, "seeds_per_prompt": 2, "steps": 1})
    generator = open_generator(params.Models(generator=str(tiny_flux), device="cpu"))
    dataset = generate.generate(project, generator, settings, depth=2)
    assert len(dataset.images) == 6 and len({(r.prompt, r.seed) for r in dataset.images}) == 6
    assert {r.depth for r in dataset.images} == {2}
    assert [c.holds for c in generate.criteria(dataset)] == [False, False, False, True]


def test_the_card_is_asked_in_the_words_of_the_model(tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    settings = params.check("card", {"seeds_per_cell": 1, "steps": 1})
    mini = open_generator(params.check("models", {"generator": "mini-flux", "device": "cpu"}))
    published = Generator(mini.model, mini.facts)
    sitting = {name: card.jobs(project, settings, each)[-1] for name, each in (("mini", mini), ("other", published))}
    assert sitting["mini"].prompt.endswith("sitting on a chair, profile-left view, clean background")
    assert sitting["other"].prompt.endswith("sitting on a chair, side view, clean background")
    assert sitting["mini"].attributes == sitting["other"].attributes
