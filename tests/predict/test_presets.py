"""The params files for real models say what they fit, and the planner agrees."""

import re
from pathlib import Path

import pytest

from flenlib.models import registry
from flenlib.models.settings import load_run
from flenlib.predict.plan import plan

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
