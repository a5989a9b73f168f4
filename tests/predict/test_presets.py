"""The params files for real models say what they fit, and the planner agrees."""

import re
from pathlib import Path

import pytest

from flenlib.models import placement, registry
from flenlib.models.settings import check, iteration, load_iteration, load_run
from flenlib.predict.gpus import GPU
from flenlib.predict.plan import plan, sampling
from flenlib.project import open_iteration
from flenlib.wheel import hours, recipe

FOLDER = Path(__file__).parents[2] / "params" / "train"
GPUS = {"4090": "RTX 4090 24 GB", "80gb": "A100 80 GB", "l40s": "L40S 48 GB"}


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
        references=0 if run.role == "generator" else None,
        optimizer=run.train.optimizer,
        adapter=run.train.adapter,
        ema=bool(run.train.ema),
        gpu=GPUS[path.stem.rpartition("_")[2]],
    ).check()
    gib, seconds = re.search(
        r"([\d.]+) GiB and ([\d.]+) s a micro-step", " ".join(path.read_text().replace("\n#", " ").split())
    ).groups()
    assert round(expected.peak_gib, 1) == float(gib) and round(expected.seconds_per_step, 1) == float(seconds)


def test_all_are_there():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert {"flux_4090", "flux_80gb", "qwen_edit_4090", "qwen_edit_80gb"} <= names
    assert {"qwen_character_l40s", "qwen_character_phased_l40s"} <= names


def test_the_process_documents_recipe_is_as_they_write_it():
    run = load_run(FOLDER / "qwen_character_l40s.yaml")
    train = run.train
    assert (train.rank, train.alpha, train.learning_rate, train.optimizer) == (16, 16, 2e-4, "adamw8bit")
    assert (train.batch_size, train.accumulate, train.ema, run.precision, run.prior) == (1, 4, 0.999, "int8", [])
    assert train.steps * train.accumulate == 10 * (70 * 40 + 30 * 20)
    phased = load_run(FOLDER / "qwen_character_phased_l40s.yaml").train
    assert [phase.kinds for phase in phased.phases] == [["maya_head"], ["maya_head", "maya_body"]]
    said = recipe.sentence(run)
    hours = [float(each) for each in re.findall(r"are ([\d.]+) h", said)]
    assert 33 <= hours[0] <= 36 and 15 <= hours[1] <= 18 and "4 to 6 h" in said


def test_the_4090_example_takes_the_hours_it_says(tmp_path, monkeypatch):
    """Under four for each wheel; without what it trades, the editor's training alone is 8.3."""
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    path = FOLDER.parent / "example_4090" / "v1.yaml"
    asked = load_iteration(path)
    project = open_iteration(asked.character, asked.iteration)
    found = hours.look(asked, project, "RTX 4090 24 GB")
    said = re.search(r"wheel 1 in ([\d.]+) h of the GPU,\n# wheel 2 in ([\d.]+) h", path.read_text()).groups()
    first, second = hours.wheels(found.rows)
    assert (f"{first:.1f}", f"{second:.1f}") == said and max(first, second) < 4
    assert all(each.gib < 24 for each in found.rows if each.gib is not None)
    untraded = iteration(
        character=asked.character.model_dump(), models={"generator": "flux-dev", "editor": "qwen-image-edit-2509"}
    )
    before = hours.look(untraded, project, "RTX 4090 24 GB")
    editor = [each.hours for each in before.rows if each.work.step == "22_train_editor"]
    assert f"{editor[0]:.1f}" == "8.3"


ROWS = {each.family.name: each.name for each in reversed(registry.KNOWN.values()) if each.source}
"""A published model of each family: the first in the registry."""


@pytest.mark.parametrize(
    ("name", "role"), [(name, role) for family, name in ROWS.items() for role in registry.FAMILIES[family].roles]
)
@pytest.mark.parametrize("gib", [15.7, 23.5, 31.4, 39.4, 44.5, 79.2])
def test_what_a_family_chooses_for_a_gpus_memory_fits_it(monkeypatch, name, role, gib):
    """At the settings it trains with: sampling, and training a LoRA. Qwen's transformer needs more than 16 GB."""
    if gib < 16 and name.startswith("qwen"):
        return
    monkeypatch.setattr(placement, "gpu_gib", lambda device: gib)
    section = "train_editor" if role == "editor" else "train"
    models, train = check(models={role: name}, **{section: {}})
    family, where = registry.resolve(name).family, {"precision": models.precision, "offload": models.offload}
    gpu = GPU("a GPU", gib, ram_gib=64)
    assert sampling(family, **where, gpu=gpu).fits
    asked = {field: getattr(train, field) for field in ("batch_size", "rank", "targets", "optimizer", "adapter")}
    assert plan(family, **where, **asked, gradient_checkpointing=train.gradient_checkpointing, ema=bool(train.ema),
                resolution=train.resolution[0], gpu=gpu).fits  # fmt: skip
