"""Every relative path in the settings begins at one base: $FLENWHEEL_HOME, else the checkout."""

from pathlib import Path

import pytest

from flenlib import params
from flenlib.dataset import layouts, triplets
from flenlib.models import community, registry
from flenlib.models.settings import iteration
from flenlib.project import ROOT, from_base, open_iteration
from flenlib.train import data
from flenlib.wheel import curate, labels
from tests.train.common import kohya, picture

CHARACTER = {"name": "tester", "trigger": "ohwx", "kind": "fictional", "age": "adult"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A base of our own, while the process works elsewhere."""
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def written(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_absolute_paths_and_the_home_folder_pass(home):
    assert from_base("data/maya") == home / "data" / "maya"
    assert from_base("/data") == Path("/data")
    assert from_base("~/data") == Path.home() / "data"


def test_without_a_home_the_base_is_the_checkout(monkeypatch):
    monkeypatch.delenv("FLENWHEEL_HOME", raising=False)
    assert from_base("params") == ROOT / "params"


def test_the_folder_of_pictures(home):
    settings = iteration(character=CHARACTER, curate={"folder": "raw"})
    assert curate.gather(open_iteration(CHARACTER), settings.curate) == home / "raw"


@pytest.mark.parametrize("section", ["review_enriched", "review_synthetic"])
def test_a_labels_file(home, section):
    settings = iteration(character=CHARACTER, **{section: {"reviewer": "file", "file": "labels.csv"}})
    assert labels.labels_file(getattr(settings, section)) == home / "labels.csv"


def test_folders_of_pairs(home):
    for name in ("before", "after"):
        picture(home / "pairs" / f"{name}.png", 1)
    triplets.write(home / "pairs", [triplets.Triplet("before.png", "make it", "after.png")])
    assert layouts.read("pairs")[0].target_image == str(home / "pairs" / "after.png")


def test_lora_files(home):
    file = written(home / "outputs" / "mine.safetensors")
    assert registry.lora_file("outputs/mine.safetensors:0.8") == (file, 0.8)
    assert community.parse("outputs/mine.safetensors:0.8").path == file
    assert community.parse("outputs").path == file


def test_a_model_folder(home):
    written(home / "models" / "mine" / "model_index.json", '{"_class_name": "FluxPipeline"}')
    assert registry.resolve("models/mine", "generator").source == str(home / "models" / "mine")


def test_the_data_of_a_training(home):
    kohya(home / "data" / "maya", head=1)
    run = params.TrainRun(character=CHARACTER, data=["data/maya"], output="outputs/lora")
    assert all(sample.image.is_relative_to(home) for sample in data.gather(run).samples)
