"""The params files for real models say what they fit, and the planner agrees."""

import re
from pathlib import Path

import pytest

from flenlib.models import placement, registry
from flenlib.models.settings import check, load_run
from flenlib.predict.gpus import GPU
from flenlib.predict.plan import plan, sampling

FOLDER = Path(__file__).parents[2] / "params" / "train"
GPUS = {"4090": "RTX 4090 24 GB", "80gb": "A100 80 GB"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_fits_the_card_it_is_for(path):
    run = load_run(path)
    expected = plan(
        registry.resolve(run.model).family,
        precision=run.precision,
        offload=run.offload,
        resolution=max(run.train.resolution),
        batch_size=run.train.batch_size,
        rank=run.train.rank,
        targets=run.train.targets,
        gradient_checkpointing=run.train.gradient_checkpointing,
        optimizer=run.train.optimizer,
        adapter=run.train.adapter,
        ema=bool(run.train.ema),
        gpu=GPUS[path.stem.rpartition("_")[2]],
    ).check()
    gib, seconds = re.search(
        r"([\d.]+) GiB and ([\d.]+) s a micro-step", " ".join(path.read_text().replace("\n#", " ").split())
    ).groups()
    assert round(expected.peak_gib, 1) == float(gib) and round(expected.seconds_per_step, 1) == float(seconds)


def test_all_four_are_there():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert {"flux_4090", "flux_80gb", "qwen_edit_4090", "qwen_edit_80gb"} <= names


@pytest.mark.parametrize(("name", "section"), [("flux-dev", "train"), ("qwen-image", "train"),
                                               ("qwen-image-edit-2509", "train_editor")])  # fmt: skip
@pytest.mark.parametrize("gib", [23.5, 31.4, 39.4, 44.5, 79.2])
def test_what_a_family_chooses_for_a_gpus_memory_fits_it(monkeypatch, name, section, gib):
    """At the settings it trains with: sampling, and training a LoRA."""
    monkeypatch.setattr(placement, "gpu_gib", lambda device: gib)
    role = "editor" if section == "train_editor" else "generator"
    models, train = check(models={role: name}, **{section: {}})
    family, where = registry.resolve(name).family, {"precision": models.precision, "offload": models.offload}
    gpu = GPU("a GPU", gib, ram_gib=64)
    assert sampling(family, **where, gpu=gpu).fits
    asked = {field: getattr(train, field) for field in ("batch_size", "rank", "targets", "optimizer", "adapter")}
    assert plan(family, **where, **asked, gradient_checkpointing=train.gradient_checkpointing, ema=bool(train.ema),
                resolution=train.resolution[0], gpu=gpu).fits  # fmt: skip
