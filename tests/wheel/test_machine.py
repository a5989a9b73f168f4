"""Notebook 00's criteria: a model of the hub that may not be loaded is found before any work is done."""

import huggingface_hub
import torch

from flenlib import params
from flenlib.models import registry
from flenlib.predict import gpus
from flenlib.wheel import machine

GATED = {"status": 403, "code": "GatedRepo", "message": "no"}


def test_the_shipped_models_need_no_hub():
    assert [c.name.split()[0] for c in machine.criteria(params.Models())] == ["mini-flux", "mini-qwen-edit"]
    assert all(c.holds for c in machine.criteria(params.Models()))


def test_a_gated_generator_and_an_editor_that_is_not_there_are_said_before_any_work(hub):
    hub.update(GATED)
    asked = params.check("models", {"generator": "flux-dev", "editor": "mini-qwen-edit", "device": "cpu"})
    found = {c.name: c for c in machine.criteria(asked)}
    gate = found["flux-dev may be loaded from the hub"]
    assert not gate.holds and "gated: accept its licence at https://huggingface.co/black-forest-labs" in gate.found
    assert "hf auth login" in gate.found and "\n" not in gate.found
    hub.update(status=404, code="RepoNotFound")
    asked = params.check("models", {"editor": "somebody/their-editor", "device": "cpu"})
    assert "check the name" in machine.criteria(asked)[-1].found


def test_a_model_that_may_be_loaded_says_from_where(monkeypatch, tmp_path):
    for name, value in {"HF_HUB_OFFLINE": True, "HF_HUB_CACHE": str(tmp_path)}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    asked = params.check("models", {"editor": "somebody/their-editor", "device": "cpu"})
    missing = machine.criteria(asked)[-1]
    assert not missing.holds and "the hub cannot be reached: connect to the network" in missing.found
    cached = tmp_path / "models--somebody--their-editor"
    for file, text in {
        "refs/main": "abc",
        "snapshots/abc/model_index.json": '{"_class_name": "QwenImageEditPlusPipeline"}',
    }.items():
        (cached / file).parent.mkdir(parents=True)
        (cached / file).write_text(text)
    last = machine.criteria(asked)[-1]
    assert last.holds and last.found.startswith("https://huggingface.co/somebody/their-editor")


def test_a_machine_without_a_gpu_says_what_the_published_models_need_on_one(hub, monkeypatch):
    hub.update(GATED)
    monkeypatch.setattr(gpus.placement, "pick_device", lambda *_: torch.device("cpu"))
    table = machine.fit_table()
    column = "fits an RTX 4090 24 GB (no GPU here)"
    assert table.columns[-1] == column
    assert table.loc[("flux", "nf4", "none"), "needs GiB"] < 24 < table.loc[("flux", "bf16", "none"), "needs GiB"]
    assert table.loc[("flux", "nf4", "none"), column] == "yes" != table.loc[("flux", "bf16", "none"), column]
    assert table.loc[("qwen_edit", "nf4", "model"), "GiB of RAM"] > 0
    asked = params.check("models", {"generator": "flux-dev", "precision": "int8", "device": "cpu"})
    monkeypatch.setattr(gpus.placement, "memory_gib", lambda: 16.0)
    fit = machine.criteria(asked)[0]
    assert not fit.holds and fit.found.startswith("no GPU here; ") and "19.8 GiB" in fit.found
    said = machine.train_sentences()
    assert said.count("of the 24 on RTX 4090 24 GB") == len(registry.FAMILIES) and said.startswith("no GPU here")


def test_a_machine_with_a_gpu_is_asked_about_its_own(monkeypatch):
    monkeypatch.setattr(machine, "pick_gpu", lambda *_: gpus.GPU("L40S", 44.4))
    assert machine.fit_table().loc[("flux", "bf16", "none"), "fits L40S"] == "yes"
