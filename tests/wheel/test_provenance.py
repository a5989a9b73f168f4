"""What a picture says of itself outlives its import: that a model drew it, and that it shows a real person."""

import json

import pytest
from PIL import Image, PngImagePlugin

from flenlib import params
from flenlib.content import Refused
from flenlib.dataset.images import read_provenance, save_picture
from flenlib.dataset.triplets import FILE, Triplet, write
from flenlib.params import Character
from flenlib.project import open_iteration
from flenlib.train import data
from flenlib.wheel import curate
from flenlib.wheel.editor import triplets
from tests.train.common import kohya

FICTIONAL = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
CONSENT = {"who": "Maya Example", "to": "this LoRA and its pictures", "when": "2026-05-01", "recorded_by": "the maker"}
REAL = FICTIONAL | {"kind": "real", "consent": CONSENT}
OF_MAYA = {"made_by": "camera", "character": "maya", "character_kind": "real"}


def noise(number):
    return Image.effect_noise((64, 64), 40 + 30 * number).convert("RGB")


def imported(folder, root, profile=FICTIONAL):
    project = open_iteration(profile, root=root)
    asked = {"folder": str(folder), "expect_face": False, "minimum_size": 16, "minimum_sharpness": 0.1}
    return {r.filename: r for r in curate.curate(project, params.check("curate", asked)).dataset.images}, project


def test_a_generated_picture_stays_one(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    noise(0).save(folder / "camera_front.jpg", quality=95)
    save_picture(noise(1), folder / "kit_front.png", {"made_by": "flux-dev"})
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("parameters", "a person\nSteps: 20, Sampler: Euler")
    noise(2).save(folder / "webui_front.png", pnginfo=chunk)
    noise(3).save(folder / "deep_front.png")
    noise(4).save(folder / "marked_front.jpg", quality=95, xmp=b"<x>digitalsourcetype/trainedAlgorithmicMedia</x>")
    images = [{"filename": "deep_front.png", "kind": "generated", "depth": 3}]
    (folder / "metadata.json").write_text(json.dumps({"images": images}))
    for _ in range(2):  # the second time the pictures are there already
        found, project = imported(folder, tmp_path)
        assert {name: (r.kind, r.depth) for name, r in found.items()} == {
            "camera_front.png": ("source", 0), "kit_front.png": ("generated", 1), "webui_front.png": ("generated", 1),
            "deep_front.png": ("generated", 3), "marked_front.png": ("generated", 1),
        }  # fmt: skip
    for name in ("kit_front.png", "webui_front.png", "marked_front.png"):
        path = project.data("source") / name
        assert b"trainedAlgorithmicMedia" in path.read_bytes() and read_provenance(path)["made_by"] != "import"
    assert read_provenance(project.data("source") / "camera_front.png")["made_by"] == "import"
    again, _ = imported(project.data("source"), tmp_path / "elsewhere")
    assert {name: r.depth for name, r in again.items()} == {name: r.depth for name, r in found.items()}


def test_a_real_persons_picture_needs_a_profile_with_consent(tmp_path):
    save_picture(noise(1), tmp_path / "raw" / "one_front.png", OF_MAYA)
    with pytest.raises(Refused, match=r"one_front\.png says that it shows a real person \('maya'\)"):
        imported(tmp_path / "raw", tmp_path / "fictional")
    found, project = imported(tmp_path / "raw", tmp_path / "real", REAL)
    assert found["one_front.png"].depth == 0
    kept = read_provenance(project.data("source") / "one_front.png")
    assert kept["character_kind"] == "real" and kept["consent"] == CONSENT | {"withdrawn": None}
    with pytest.raises(Refused, match=r"one_front\.png"):
        imported(project.data("source"), tmp_path / "laundered")


def test_pairs_and_trainings_ask_for_it_too(tmp_path):
    project = open_iteration(FICTIONAL, root=tmp_path)
    for name, facts in (("s", {}), ("t", OF_MAYA)):
        save_picture(noise(len(facts)), tmp_path / "pairs" / f"{name}.png", facts)
    write(tmp_path / "pairs", [Triplet("s.png", "turn a little", "t.png")])
    assert (tmp_path / "pairs" / FILE).is_file()
    with pytest.raises(Refused, match=r"t\.png says that it shows a real person"):
        triplets.imported(project, params.check("corrections", {"pairs": [str(tmp_path / "pairs")]}))
    folder = kohya(tmp_path / "data", trigger="ohwx_char", person=1)
    save_picture(noise(1), folder / "1_person" / "0.png", OF_MAYA)
    run = params.TrainRun(character=Character(**FICTIONAL), data=[str(folder)], output="lora")
    with pytest.raises(Refused, match=r"0\.png says that it shows a real person"):
        data.gather(run)
