"""Names become models, and what cannot be had is one sentence."""

import json
import shutil
import socket
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flenlib.content import Allowed
from flenlib.draw.load import load_family
from flenlib.models import community, lora, registry
from flenlib.predict import weights
from flenlib.project import ROOT
from flenlib.wheel import machine
from tests.models.common import NAMES, excite, load, references, sample


def one_sentence(error):
    return str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, source",
    [
        ("flux-dev", "black-forest-labs/FLUX.1-dev"),
        ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-dev"),
    ],
)
def test_names_and_hub_ids(name, source):
    model = registry.resolve(name, "generator")
    assert model.source == source and model.family.name == "flux" and model.page == f"https://huggingface.co/{source}"


def test_the_family_of_a_hub_id_is_read_from_its_index(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name, kind in (("flux", "FluxPipeline"), ("editor", "QwenImageEditPlusPipeline"), ("other", "SanaPipeline")):
        cached = tmp_path / f"models--somebody--their-{name}"
        for file, text in {
            "refs/main": "abc",
            "snapshots/abc/model_index.json": f'{{"_class_name": "{kind}"}}',
        }.items():
            (cached / file).parent.mkdir(parents=True, exist_ok=True)
            (cached / file).write_text(text)
    assert registry.resolve("somebody/their-flux", "generator").family.name == "flux"
    assert registry.resolve("somebody/their-editor").family.name == "qwen_edit"
    with pytest.raises(ValueError, match="somebody/their-other is a SanaPipeline; the kit loads FluxPipeline"):
        registry.resolve("somebody/their-other")


def test_a_hub_id_of_the_published_models_keeps_its_facts():
    assert registry.resolve("black-forest-labs/FLUX.1-dev").gated
    assert registry.resolve("Qwen/Qwen-Image-Edit-2509").licence == "Apache-2.0"


@pytest.mark.parametrize(
    "name, role, error, words",
    [
        ("mini-fluks", "generator", ValueError, "did you mean 'mini-flux'"),
        ("zzzzzzzz", "generator", ValueError, "is not known; known: flux-dev"),
        ("", "generator", ValueError, "is not known"),
        ("flux-dev", "editor", ValueError, "is a flux, which cannot be used as editor; use one of qwen-image-edit"),
        ("qwen-image", "editor", ValueError, "is a qwen_image, which cannot be used as editor"),
        ("/nowhere/flux", "generator", FileNotFoundError, "model folder /nowhere/flux does not exist"),
        ("./nowhere", "generator", FileNotFoundError, "does not exist"),
        ("data/models/flux", "generator", FileNotFoundError, "does not exist"),
    ],
)
def test_names_that_stand_for_nothing(name, role, error, words):
    with pytest.raises(error, match=words) as caught:
        registry.resolve(name, role)
    assert one_sentence(caught)


def test_folders(tiny_flux, tmp_path):
    model = registry.resolve(tiny_flux)
    assert (model.name, model.resolution, model.source) == ("tiny-flux", 64, str(tiny_flux)) and model.size_gib > 0
    with pytest.raises(ValueError, match="is a flux, which cannot be used as editor"):
        registry.resolve(tiny_flux, "editor")
    with pytest.raises(ValueError, match=r"has no model_index\.json"):
        registry.resolve(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="is a StableDiffusionPipeline; the kit loads FluxPipeline"):
        registry.resolve(tmp_path)
    index.write_text("{")
    with pytest.raises(ValueError, match=r"model_index\.json is damaged"):
        registry.resolve(tmp_path)


def test_the_page_of_models_is_the_registry():
    rows = [
        [cell.strip().strip("`") for cell in line.strip("| \n").split("|")]
        for line in (ROOT / "docs" / "models.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    expected = []
    for model in (each for each in registry.KNOWN.values() if each.source):
        roles, size, duties = ", ".join(model.family.roles), f"{model.size_gib:.1f}", machine.duties(model)
        expected.append([model.name, model.source, roles, str(model.family.most_references), size, model.licence,
                         *(duties[name] for name in ("commercial use", "asks for"))])  # fmt: skip
    assert sorted(row for row in rows if "/" in row[1]) == sorted(row if row[-1] else row[:-1] for row in expected)


def test_the_published_sizes_are_what_is_counted():
    for model in (each for each in registry.KNOWN.values() if each.source):
        counted = sum(part.bytes("bf16") for part in weights.weights(model.family).values()) / 2**30
        assert counted == pytest.approx(model.size_gib, rel=0.01)


@pytest.mark.parametrize("kind", NAMES)
def test_load_family_with_loras_and_what_a_record_keeps(kind, request, tmp_path):
    folder = request.getfixturevalue(f"tiny_{kind}")
    trainer = load(folder, kind)
    lora.attach(trainer, 4, 4, "attention", seed=0)
    excite(trainer)
    path = trainer.save(tmp_path / "char.safetensors", metadata={})
    drawn = sample(trainer)
    family = load_family(folder, device="cpu", loras=[f"{path}:0.25", (path, 0.75)])
    assert abs(sample(family) - drawn).max() <= 1
    facts = registry.model_facts(family)
    assert facts["name"] == f"tiny-{kind.replace('_', '-')}" and len(facts["hash"]) == 64 and json.dumps(facts)
    assert [u["weight"] for u in facts["loras"]] == [0.25, 0.75]
    assert {u["sha256"] for u in facts["loras"]} == {lora.fingerprint(path)}
    assert facts["hash"] == registry.model_facts(trainer)["hash"]


def test_published_and_mini_folders_are_the_same_code(request, tmp_path):
    """A folder without flenlib.json is what a downloaded model looks like."""
    for kind in NAMES:
        folder, plain = request.getfixturevalue(f"tiny_{kind}"), tmp_path / kind
        shutil.copytree(folder, plain, ignore=shutil.ignore_patterns("flenlib.json"))
        family = load_family(plain, device="cpu")
        assert family.resolution == 1024
        family.condition_area, family.reference_area, family.text_length = 32 * 32, 64 * 64, 32
        image = family.sample(
            Allowed("a person"), seed=1, steps=2, guidance=2.0, width=64, height=64, references=references(kind)
        )
        assert np.array_equal(np.asarray(image), sample(load(folder, kind)))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"precision": "fp8"}, "precision is 'fp8'; it must be one of fp32, bf16, int8, nf4"),
        ({"offload": "disk"}, "offload is 'disk'; it must be one of none, model, group"),
        ({"device": "gpu"}, "device is 'gpu'; it must be auto, cpu, cuda"),
        ({"device": "cuda:99"}, "device is 'cuda:99' and this machine has"),
    ],
)
def test_settings_that_do_not_exist(options, words, tiny_flux):
    with pytest.raises(ValueError, match=words):
        load_family(tiny_flux, **options)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_weights(damage, tiny_flux, tmp_path):
    folder = tmp_path / "flux"
    shutil.copytree(tiny_flux, folder)
    weights = next((folder / "transformer").glob("*.safetensors"))
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        weights.unlink()
    with pytest.raises(RuntimeError, match=f"tiny-flux cannot be loaded from {folder}") as caught:
        load_family(folder, device="cpu")
    assert one_sentence(caught)


@pytest.mark.parametrize("use", ["nowhere.safetensors:0.8", "/nowhere/char.safetensors", "loras/char.safetensors"])
def test_missing_lora_files(use, tiny_flux):
    with pytest.raises(FileNotFoundError, match=r"LoRA file .* does not exist"):
        load_family(tiny_flux, device="cpu", loras=[use])


@pytest.mark.parametrize(
    "status, code, words",
    [
        (
            403,
            "GatedRepo",
            r"flux is gated: accept its licence at https://huggingface\.co/somebody/their-flux, then run",
        ),
        (401, "GatedRepo", "is gated: accept its licence"),
        (401, "RepoNotFound", r"was not found at .* or is private"),
        (404, "RepoNotFound", "was not found at"),
        (404, "EntryNotFound", "lacks a file the kit needs"),
    ],
)
def test_what_the_hub_may_answer(status, code, words, hub):
    hub.update(status=status, code=code, message="no")
    with pytest.raises(RuntimeError, match=words) as caught:
        load_family("somebody/their-flux", device="cpu")
    assert one_sentence(caught)


def test_no_network(monkeypatch, tmp_path):
    for name, value in {"HF_HUB_OFFLINE": True, "HF_HUB_CACHE": str(tmp_path)}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    with pytest.raises(RuntimeError, match=r"is not in the cache .* and the hub cannot be reached") as caught:
        load_family("somebody/their-flux", device="cpu")
    assert one_sentence(caught)
    with pytest.raises(RuntimeError, match="somebody/their-lora is not in the cache"):
        registry.lora_file("somebody/their-lora/char.safetensors:0.5")


def test_a_model_says_in_which_words_it_is_asked(tmp_path):
    assert registry.resolve("mini-flux").wording == "grammar"
    copy = shutil.copytree(registry.resolve("mini-flux").source, tmp_path / "copy")
    assert registry.resolve(copy).wording == "grammar"
    assert registry.resolve("black-forest-labs/FLUX.1-dev").wording == "plain"


def test_no_answer_at_all_from_the_hub(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name, value in {"ENDPOINT": url, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    for use in ("somebody/their-lora:0.8", "somebody/their-lora/char.safetensors"):
        with pytest.raises(
            RuntimeError, match=r"somebody/their-lora is not in the cache .* cannot be reached"
        ) as caught:
            registry.lora_file(use)
        assert one_sentence(caught)


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A cache that holds one repository at two commits, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    first, second = "1" * 40, "2" * 40
    for repository in ("somebody/their-flux", "black-forest-labs/FLUX.1-dev"):
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        files = {"refs/main": second}
        files |= {
            f"snapshots/{commit}/model_index.json": '{"_class_name": "FluxPipeline"}' for commit in (first, second)
        }
        files |= {f"snapshots/{commit}/char.safetensors": commit for commit in (first, second)}
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
    return first, second


def test_a_revision_is_what_is_loaded_and_recorded(cached):
    first, second = cached
    for name, revision, commit in (
        ("somebody/their-flux", "main", second),
        (f"somebody/their-flux@{first}", first, first),
        ("flux-dev", "main", second),
        (f"flux-dev@{first}", first, first),
        (f"black-forest-labs/FLUX.1-dev@{first}", first, first),
    ):
        model = registry.resolve(name, "generator")
        assert model.revision == revision and "@" not in model.source + model.name
        assert registry.weights_hash(model.source, model.revision) == commit
    with pytest.raises(ValueError, match="'mini-flux@main' is not known"):
        registry.resolve("mini-flux@main")


def test_a_lora_of_the_hub_is_recorded_with_its_commit(cached):
    first, second = cached
    for use, commit in (("somebody/their-flux/char.safetensors:0.8", second),
                        (f"somebody/their-flux@{first}/char.safetensors:0.8", first)):  # fmt: skip
        path, weight = registry.lora_file(use)
        assert (path.read_text(), weight) == (commit, 0.8)
        assert lora.Stacked.of(path, weight).revision == commit
    assert lora.Stacked.of(__file__, 1).revision == ""
    with pytest.raises(ValueError, match=r"LoRA somebody/their-flux/char\.pt is no \.safetensors"):
        registry.lora_file("somebody/their-flux/char.pt")
    pinned = replace(community.KNOWN["skin"], revision=first)
    assert pinned.hub == f"tlennon-ie/qwen-edit-skin@{first}/qwen-edit-skin_1.1_000002750.safetensors"


def test_weights_in_pickle_are_not_read(tiny_flux, tmp_path):
    folder = tmp_path / "flux"
    shutil.copytree(tiny_flux, folder)
    weights = next((folder / "vae").glob("*.safetensors"))
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(RuntimeError, match=f"tiny-flux cannot be loaded from {folder}") as caught:
        load_family(folder, device="cpu")
    assert one_sentence(caught)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"_class_name": 3}'])
def test_a_damaged_index_or_facts(text, tiny_flux, tmp_path):
    for name in ("model_index.json", "flenlib.json")[: 1 if "class" in text else 2]:
        folder = tmp_path / name
        shutil.copytree(tiny_flux, folder)
        (folder / name).write_text(text)
        with pytest.raises(ValueError, match=rf"{name} is damaged") as caught:
            registry.resolve(folder)
        assert one_sentence(caught)
