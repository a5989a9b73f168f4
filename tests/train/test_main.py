"""One training from a params file."""

import numpy as np
import pytest
import yaml
from PIL import Image

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.measure.faces import ReferenceSet
from flenlib.models.settings import load_run
from flenlib.predict.gpus import GPU
from flenlib.project import ROOT
from flenlib.train import __main__ as program
from flenlib.train import data, planning
from tests.train.common import kohya, picture

NEAR = ReferenceSet(("a", "b"), np.zeros((2, 128)))
CHARACTER = {"name": "maya", "trigger": "ohwx", "kind": "fictional", "age": "adult"}
FAST = {"steps": 2, "batch_size": 2, "rank": 2, "warmup": 0, "checkpoint_every": 2, "sample_every": 2}


def write(folder, **values):
    values = {
        "character": CHARACTER,
        "device": "cpu",
        "precision": "fp32",
        "preview_steps": 1,
        "train": FAST,
        "output": str(folder / "lora"),
    } | values
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_kohya_folder_is_trained_told_and_done_once(tiny_flux, tmp_path, capsys):
    kohya(tmp_path / "data", maya_char=3, maya_char_realbody=1)
    kohya(tmp_path / "prior", trigger="a", person=1)
    path = write(
        tmp_path, model=str(tiny_flux), data=[str(tmp_path / "data")],
        prior=[str(tmp_path / "prior")], prior_weight=0.5,
        train=FAST | {"phases": [{"kinds": ["maya_char"], "until": 1}, {"kinds": ["maya_char_realbody", "prior"]}]},
    )  # fmt: skip
    assert program.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "6 pictures to learn from, 0 held out" in said and "maya_char_realbody" in said and "0.6" in said
    assert "steps 2 to 2: maya_char_realbody, prior" in said and "2 steps in" in said
    assert "nothing is held out" in said
    before = (tmp_path / "lora" / "lora.safetensors").stat().st_mtime_ns
    assert len(list((tmp_path / "lora" / "samples").glob("*.png"))) == 8
    assert program.main([str(path)]) == 0
    assert (tmp_path / "lora" / "lora.safetensors").stat().st_mtime_ns == before


def test_the_captions_of_the_character_are_linted_and_kept_as_they_are(tmp_path):
    kohya(tmp_path / "data", maya_char=3)
    kohya(tmp_path / "prior", trigger="a", person=1)
    folder = next((tmp_path / "data").iterdir())
    for n, path in enumerate(sorted(folder.glob("*.txt"))):
        path.write_text("ohwx, waist-up shot, red dress" if n else "photo of ohwx person")
    run = load_run(write(tmp_path, data=[str(tmp_path / "data")], prior=[str(tmp_path / "prior")]))
    found = data.gather(run)
    counted = {(f.rule, f.picture) for f in data.lint(run, found)}
    assert counted == {("no class noun", "1.png")}
    assert [s.caption for s in found.samples[1:2]] == ["ohwx, waist-up shot, red dress"], "as they are written"


def test_a_caption_that_spoils_training_stops_it_unless_it_goes_on_anyway(tiny_flux, tmp_path, capsys):
    dataset = Dataset.open(tmp_path / "source", create=True)
    for n, angle in enumerate(("front", "back")):
        picture(tmp_path / "source" / f"{n}.png", n)
        dataset.add(ImageRecord(f"{n}.png", caption="photo of ohwx person, front view", angle=angle))
    dataset.save()
    values = {"model": str(tiny_flux), "data": [str(tmp_path / "source")]}
    assert program.main([str(write(tmp_path, **values))]) == 1
    error = capsys.readouterr().err
    assert "1 faults, the first: the caption of 1.png says 'front view'" in error and not (tmp_path / "lora").exists()
    assert program.main([str(write(tmp_path, **values, anyway=True))]) == 0
    assert "captions, error: 1 x wrong angle" in capsys.readouterr().out


def test_an_editor_is_trained_on_triplets_and_measured_on_the_held_out_one(tiny_qwen_edit, tmp_path):
    folder = tmp_path / "corrections"
    pairs = []
    for n in range(3):
        picture(folder / f"before_{n}.png", n)
        after = np.array(Image.open(folder / f"before_{n}.png"))
        after[:32] = 255 - after[:32]
        Image.fromarray(after).save(folder / f"after_{n}.png")
        pairs.append(triplets.Triplet(f"before_{n}.png", f"make it {n}", f"after_{n}.png", held_out=n == 2))
    triplets.write(folder, pairs)
    path = write(
        tmp_path, model=str(tiny_qwen_edit), data=[str(folder)], preview_guidance=2.0,
        train=FAST | {"focus": "edit", "batch_size": 1, "validate_every": 1},
    )  # fmt: skip
    assert program.main([str(path)]) == 0
    watched = (tmp_path / "lora" / "watch.csv").read_text().splitlines()
    assert len(watched) == 4 and watched[1].split(",")[1], "the loss on the held-out pair at steps 0, 1 and 2"
    assert list((tmp_path / "lora" / "cache" / "focus").iterdir())


def test_a_folder_of_good_edits_alone_can_be_learnt(tmp_path):
    """The fewest corrections are step 2.1's to ask for."""
    for name in ("before", "after"):
        picture(tmp_path / "pairs" / f"{name}.png", 1)
    triplets.write(tmp_path / "pairs", [triplets.Triplet("before.png", "make it", "after.png", positive=True)])
    run = load_run(write(tmp_path, data=[str(tmp_path / "pairs")]))
    assert [sample.kind for sample in data.gather(run).samples] == ["positive"]


@pytest.mark.parametrize("path", sorted((ROOT / "params" / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_measures_every_checkpoint_on_what_was_held_out(path):
    run = load_run(path)
    settings = run.train
    assert settings.checkpoint_every == settings.sample_every == settings.validate_every
    assert run.held_out or "Image-Edit" in run.model, "triplets say themselves which are held out"


def test_what_will_not_be_measured_is_said(tmp_path):
    kohya(tmp_path / "data", head=2)
    run = load_run(write(tmp_path, data=[str(tmp_path / "data")], train=FAST | {"sample_every": 3}))
    learnt = data.gather(run)
    watched = data.Data(learnt.samples, learnt.samples)
    assert [s[:19] for s in program._not_measured(run, learnt, None)] == ["nothing is held out"]
    assert [s[:29] for s in program._not_measured(run, watched, None)] == ["face distance is not measured"]
    assert [s[:33] for s in program._not_measured(run, watched, NEAR)] == ["face distance of some checkpoints"]
    even = run.model_copy(update={"train": run.train.model_copy(update={"sample_every": 2})})
    assert not list(program._not_measured(even, watched, NEAR))


def test_a_dataset_gives_its_good_pictures_and_keeps_the_held_out(tmp_path):
    dataset = Dataset.open(tmp_path / "source", create=True)
    labels = [None, {"label": "good"}, {"label": "reject"}, None]
    for n, label in enumerate(labels):
        picture(tmp_path / "source" / f"{n}.png", n)
        dataset.add(
            ImageRecord(f"{n}.png", caption="ohwx", label=label, held_out=n == 3, attributes={"pose": "standing"})
        )
    dataset.save()
    run = load_run(write(tmp_path, data=[str(tmp_path / "source")]))
    found = data.gather(run)
    assert [s.image.name for s in found.samples] == ["0.png", "1.png"]
    assert [s.image.name for s in found.held_out] == ["3.png"] and found.samples[0].kind == "standing"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "2_head" / "1.txt").unlink(), "1.png without a caption"),
        (lambda folder: (folder / "2_head" / "1.txt").write_text("a person"), "without the trigger 'ohwx'"),
        (lambda folder: (folder / "2_head").rename(folder / "head"), "does not begin with a number"),
        (lambda folder: (folder / "2_head" / "1.txt").write_text("ohwx naked"), "refused: this caption of"),
    ],
)
def test_a_wrong_folder_is_one_sentence_and_nothing_is_written(tmp_path, capsys, spoil, said):
    spoil(kohya(tmp_path / "data", head=2))
    assert program.main([str(write(tmp_path, data=[str(tmp_path / "data")]))]) == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error
    assert not (tmp_path / "lora").exists()


@pytest.mark.parametrize(
    ("caption", "said"), [(" ", "1.png without a caption"), ("a person", "without the trigger 'ohwx'")]
)
def test_a_caption_of_a_dataset_is_checked_as_that_of_a_folder(tmp_path, capsys, caption, said):
    dataset = Dataset.open(tmp_path / "data", create=True)
    for n, text in enumerate(("ohwx", caption)):
        picture(tmp_path / "data" / f"{n}.png", n)
        dataset.add(ImageRecord(f"{n}.png", caption=text))
    dataset.add(ImageRecord("2.png", caption="", label={"label": "reject"}))
    dataset.save()
    assert program.main([str(write(tmp_path, data=[str(tmp_path / "data")]))]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "lora").exists()


def test_what_the_system_refuses_is_one_sentence(tiny_flux, tmp_path, capsys):
    kohya(tmp_path / "data", head=2)
    (tmp_path / "lora").write_text("a file where the folder should be")
    assert program.main([str(write(tmp_path, model=str(tiny_flux), data=[str(tmp_path / "data")]))]) == 1
    assert "File exists" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_real_person_needs_consent(tmp_path, capsys):
    kohya(tmp_path / "data", head=2)
    path = write(tmp_path, data=[str(tmp_path / "data")], character=CHARACTER | {"kind": "real"})
    assert program.main([str(path)]) == 1
    assert "is a real person without consent on record" in capsys.readouterr().err


def test_masks_are_found_by_name(tmp_path):
    kohya(tmp_path / "data", head=2)
    picture(tmp_path / "masks" / "1.png", 3)
    values = {"data": [str(tmp_path / "data")], "masks": str(tmp_path / "masks")}
    found = data.gather(load_run(write(tmp_path, **values)))
    assert [s.mask and s.mask.name for s in found.samples] == [None, "1.png"]
    with pytest.raises(ValueError, match="holds no mask of any picture"):
        data.gather(load_run(write(tmp_path, **values | {"masks": str(tmp_path)})))


def test_what_cannot_fit_is_refused_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "pick_gpu", lambda device: GPU("a card", 16, 97, 717))
    kohya(tmp_path / "data", head=2)
    values = {"model": "flux-dev", "precision": "bf16", "offload": "none", "data": [str(tmp_path / "data")]}
    big = FAST | {"resolution": 1024, "batch_size": 1, "gradient_checkpointing": True, "optimizer": "adamw8bit"}
    assert program.main([str(write(tmp_path, **values, train=big))]) == 1
    assert "a card has 16 GiB: nearest that fits: flux at bf16, offload group" in capsys.readouterr().err
    fits = planning.expected("flux-dev", "nf4", "none", params.check("train", big))
    assert "of the 16 on a card, about" in fits and "2 steps: about" in fits
    assert planning.expected("mini-flux", "fp32", "none", params.Train()).startswith("mini-flux is small")
