"""Step 1.4's training: what it refuses, and what it does with a folder that holds another run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from flenlib.draw.generator import Generator
from flenlib.models.families.flux import Flux
from flenlib.params import Train
from flenlib.project import open_iteration
from flenlib.train.loop import Result
from flenlib.wheel import train as character
from tests.studio import Ready
from tests.train.common import bits, draw, open_flux

SETTINGS = Train(steps=3, batch_size=2, rank=2, warmup=0, checkpoint_every=1, caption_dropout=0)


def test_a_caption_that_is_empty_or_without_the_trigger_is_not_learnt(tiny_flux, tmp_path):
    profile = {"name": "tester", "trigger": "ohwx", "kind": "fictional", "age": "adult"}
    project = open_iteration(profile, root=tmp_path / "home")
    samples = draw(tmp_path / "pictures", 2)
    for caption, said in (("", "0.png without a caption"), ("photo of somebody", "without the trigger 'ohwx'")):
        wrong = [replace(samples[0], caption=caption), samples[1]]
        with pytest.raises(ValueError, match=said):
            character.train_character(project, Generator(Ready(open_flux(tiny_flux)), {}), wrong, SETTINGS, "v1")
    assert not project.lora("v1").parent.exists()


def test_what_was_watched_is_said_also_when_it_speaks_against_the_lora(tmp_path):
    (tmp_path / "lora.safetensors").write_bytes(b"w" * 2**20)

    def criteria(validation, distance):
        steps = {"step": [0, 100, 200], "validation_loss": validation, "held_out_face_distance": distance}
        steps |= {"face_found": 0.75, "previews": 4}
        log = pd.DataFrame({"loss": [0.9, 0.5, 0.1]})
        result = Result(tmp_path / "lora.safetensors", log, 200, 1.0, None, pd.DataFrame(steps))
        return {c.name: c for c in character.criteria(result, Train(steps=200))}

    heart = "the loss on held-out pictures did not rise"
    nearer = "the previews came nearer to the held-out pictures"
    worse = criteria([0.63, 0.7, 0.89], [0.49, 0.41, 0.42])
    assert not worse[heart].holds and "0.630 before training, 0.890" in worse[heart].found
    assert "by heart" in worse[heart].found
    assert worse[nearer].holds and "nearest at step 100: 0.410" in worse[nearer].found
    better = criteria([0.63, 0.6, 0.6], [0.49, 0.5, 0.51])
    assert better[heart].holds and "by heart" not in better[heart].found and not better[nearer].holds
    assert len(criteria([None] * 3, [None] * 3)) == 3, "nothing was watched, nothing is said"


@pytest.mark.parametrize("stop", [2, None])
def test_at_another_precision_training_starts_anew_and_the_old_run_is_kept(tiny_flux, tmp_path, stop):
    samples, folder = draw(tmp_path / "pictures", 2), tmp_path / "lora"
    first = character.train_or_set_aside(
        open_flux(tiny_flux, transformer=False), samples, SETTINGS, folder, stop_after=stop
    )
    before = bits(first.lora)
    other = Flux.load(tiny_flux, precision="nf4", offload="none", device="cpu", transformer=False)
    result = character.train_or_set_aside(other, samples, SETTINGS, folder)
    assert result.resumed_from is None and result.steps == 3 and bits(result.lora) != before
    aside = tmp_path / "lora.1" / first.lora.relative_to(folder)
    assert bits(aside) == before


def test_a_transformer_that_changed_is_found_after_loading_and_trained_anew(tiny_flux, tmp_path):
    """Its files, name and precision are as before, so it is found when the text encoders are gone already."""
    samples, folder = draw(tmp_path / "pictures", 2), tmp_path / "lora"
    character.train_or_set_aside(open_flux(tiny_flux, transformer=False), samples, SETTINGS, folder, stop_after=1)
    recorded = folder / "training.json"
    family = open_flux(tiny_flux, transformer=False)
    text = recorded.read_text().replace('"transformer": "', '"transformer": "0')
    recorded.write_text(text)
    result = character.train_or_set_aside(family, samples, SETTINGS, folder)
    assert result.steps == 3 and result.resumed_from is None and (tmp_path / "lora.1").is_dir()


def test_an_interrupted_call_can_be_made_again_with_the_same_family(tiny_flux, tmp_path):
    samples, family = draw(tmp_path / "pictures", 2), open_flux(tiny_flux, transformer=False)

    def interrupt(kind, facts):
        if (kind, facts.get("step")) == ("step", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        character.train_or_set_aside(family, samples, SETTINGS, tmp_path / "lora", on_event=interrupt)
    assert not family.can_encode_text
    (tmp_path / "lora" / "cache").rename(tmp_path / "gone")
    result = character.train_or_set_aside(family, samples, SETTINGS, tmp_path / "lora")
    assert result.steps == 3 and result.resumed_from == 1
    assert np.isfinite(result.log["loss"]).all() and isinstance(family.transformer, torch.nn.Module)
