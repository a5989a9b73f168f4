"""What is looked at while a run trains: previews, identity, held-out loss, and all of it in TensorBoard."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flenlib.content import Allowed
from flenlib.dataset.images import open_image, read_provenance
from flenlib.measure.face_store import faces_in
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import HELD_OUT_FACE_DISTANCE, MEASURES, Measure
from flenlib.measure.seen import Seen
from flenlib.models import lora
from flenlib.models.families.flux import Flux
from flenlib.params import Train
from flenlib.train.cache import Cache
from flenlib.train.loop import Preview, train
from flenlib.train.watch import Watch
from tests.studio import write_raw
from tests.train.common import CHARACTER, draw, open_flux

SETTINGS = Train(steps=4, batch_size=2, rank=4, warmup=0, learning_rate=3e-2, sample_every=2, validate_every=1)
PREVIEWS = [
    Preview(Allowed("photo of ohwx person"), 3, CHARACTER, steps=1),
    Preview(Allowed("ohwx person"), 4, CHARACTER, steps=1),
]


@pytest.fixture(scope="module")
def watched(tiny_flux, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    samples = draw(folder / "pictures", 4)
    seen = iter([0.5, None, 0.25, 0.75, None, None])
    odd = Measure("oddness", "picture", lambda picture: next(seen), "it is even")
    result = train(
        open_flux(tiny_flux, transformer=False), samples[1:], SETTINGS, folder / "lora", held_out=samples[:1],
        previews=PREVIEWS, measures=(*MEASURES, odd),
    )  # fmt: skip
    return result, folder / "lora"


def test_a_measure_is_its_mean_over_the_previews_it_could_be_taken_of_and_empty_without_one(watched):
    table = watched[0].watched.set_index("step")
    assert table["oddness"].dropna().to_dict() == {0: 0.5, 2: 0.5}
    assert table["face_found"].dropna().to_dict() == {0: 0, 2: 0, 4: 0} and table["sharpness"].count() == 3
    assert "face_distance" not in table and "held_out_face_distance" not in table, "there are no faces to compare with"
    assert table["previews"].to_dict() == {0: 2, 1: 0, 2: 2, 3: 0, 4: 2}


def test_the_held_out_loss_is_measured_from_the_start_on_fixed_noise(watched, tiny_flux, tmp_path):
    result, folder = watched
    values = result.watched["validation_loss"]
    assert values.notna().all() and len(set(values)) == 5
    family = open_flux(tiny_flux)
    store, samples = Cache(folder / "cache", family), draw(tmp_path / "pictures", 1)
    looks = Watch(tmp_path, store, SETTINGS, samples, ())
    assert looks.validation(family) == looks.validation(family) == pytest.approx(values[0], rel=1e-5)
    lora.stack(family, [(result.lora, 1.0)])
    assert looks.validation(family) == pytest.approx(values[4], rel=1e-3)


def test_a_preview_says_of_whom_it_is_and_what_drew_it(watched):
    facts = read_provenance(watched[1] / "samples" / "step_000004_0.png")
    assert (facts["character"], facts["character_kind"]) == ("tester", "fictional") and not facts["consent"]
    assert facts["made_by"] == facts["models"]["name"] == "tiny-flux" and facts["step"] == 4
    assert facts["settings"]["steps"] == 1 and facts["prompt"] == PREVIEWS[0].text


def test_tensorboard_has_scalars_and_previews(watched):
    events = EventAccumulator(str(watched[1] / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert [s.step for s in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [s.step for s in events.Scalars("watch/oddness")] == [0, 2]
    loss = watched[0].watched["validation_loss"][4]
    assert math.isclose(events.Scalars("watch/validation_loss")[-1].value, loss, rel_tol=1e-5)
    assert [image.step for image in events.Images("previews/1")] == [0, 2, 4]


def test_previews_are_compared_with_held_out_faces_where_two_show_one(tmp_path):
    paths = sorted(write_raw(tmp_path / "raw").glob("*.png"))[:2]
    faces, names = faces_in(paths), ["a", "b"]
    assert ReferenceSet.if_any([faces[0], []], names) is None
    seen = Seen(open_image(paths[0]), faces[0], held_out=ReferenceSet.if_any(faces, names))
    assert HELD_OUT_FACE_DISTANCE.take(seen) == 0
    assert HELD_OUT_FACE_DISTANCE.take(replace(seen, found=())) is None


def test_the_held_out_loss_is_measured_at_the_precision_of_training(tiny_flux, tmp_path):
    family, seen = Flux.load(tiny_flux, precision="bf16", offload="none", device="cpu"), []
    family.transformer.register_forward_pre_hook(
        lambda *_: seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
    )
    samples = draw(tmp_path / "pictures", 3)
    train(family, samples[1:], SETTINGS.model_copy(update={"steps": 1}), tmp_path / "lora", held_out=samples[:1])
    assert set(seen) == {(True, True), (False, True)}


def test_a_preview_of_one_colour_is_named(tiny_flux, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Flux, "sample", lambda *_, **how: Image.new("RGB", (64, 64)))
    settings = SETTINGS.model_copy(update={"steps": 1})
    train(open_flux(tiny_flux), draw(tmp_path / "pictures", 1), settings, tmp_path / "lora", previews=PREVIEWS[:1])
    said = capsys.readouterr().out
    assert (
        "preview 0 of step 0 was drawn as one colour all over, (0, 0, 0), as by a model whose numbers overflow" in said
    )
