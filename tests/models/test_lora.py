"""A LoRA file means the same to the kit, to diffusers and to peft."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from flenlib.models import lora
from flenlib.models.families.flux import Flux
from flenlib.models.families.flux2_klein import Flux2Klein
from flenlib.models.families.flux_kontext import FluxKontext
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.models.families.qwen_processor import load_processor
from flenlib.models.families.z_image import ZImage
from flenlib.words import TARGETS
from tests.models.common import NAMES, excite, load, open_family, sample


@pytest.fixture(params=NAMES)
def family(request):
    return open_family(request)


@pytest.fixture
def trained(family, tmp_path):
    """A LoRA file whose alpha is not its rank, and the picture its family drew with it."""
    lora.attach(family, 4, 3.0, "attention+mlp", seed=1)
    excite(family)
    drawn = sample(family)
    return family.save(tmp_path / "char.safetensors", metadata={"ss_output_name": "char"}), drawn


def test_a_new_lora_changes_nothing_and_a_trained_one_does(family):
    base = sample(family)
    lora.attach(family, 4, 4, "attention", seed=0)
    assert np.array_equal(sample(family), base)
    excite(family)
    assert abs(sample(family) - base).max() > 5
    lora.unstack(family)
    assert np.array_equal(sample(family), base)


def test_the_file_draws_the_same_picture_through_diffusers_alone(family, trained):
    path, drawn = trained
    parts = {"processor": load_processor(f"{family.source}/processor")} if family.name == "qwen_edit" else {}
    pipeline = family.pipeline_class.from_pretrained(family.source, **parts)
    pipeline.load_lora_weights(str(path))
    family.pipeline = pipeline
    assert abs(sample(family) - drawn).max() <= 1


def test_the_file_loads_with_peft_alone(family, trained):
    path, drawn = trained
    file = load_file(path)
    weights = {k.removeprefix(family.lora_prefix): v for k, v in file.items() if not k.endswith(".alpha")}
    modules = [k.removesuffix(".lora_A.weight") for k in weights if k.endswith(".lora_A.weight")]
    lora.unstack(family)
    alpha = 4 if family.folds_alpha else 3.0
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=alpha, target_modules=modules), family.transformer)
    result = set_peft_model_state_dict(family.transformer, weights)
    assert not result.unexpected_keys
    assert abs(sample(family) - drawn).max() <= 1


def test_what_is_in_the_file(family, trained):
    path, _ = trained
    file, header = load_file(path), lora.header(path)
    stems = {k.rsplit(".lora_", 1)[0] for k in file if ".lora_" in k}
    assert all(k.startswith(family.lora_prefix) for k in file)
    assert len(file) == (2 if family.folds_alpha else 3) * len(stems)
    assert {float(file[k]) for k in file if k.endswith(".alpha")} == (set() if family.folds_alpha else {3.0})
    alpha = "4.0" if family.folds_alpha else "3.0"
    assert (header["ss_network_dim"], header["ss_network_alpha"], header["ss_output_name"]) == ("4", alpha, "char")
    assert header["modelspec.title"] == "char" and type(family) in lora.families_of(path)
    assert list(path.parent.iterdir()) == [path]


def test_stack_applies_weights_in_place_of_what_was_there(family, trained):
    path, drawn = trained
    lora.unstack(family)
    base = sample(family)
    lora.stack(family, [(path, 1.0)])
    assert abs(sample(family) - drawn).max() <= 1
    lora.stack(family, [(path, 0.4), (path, 0.6)])
    assert abs(sample(family) - drawn).max() <= 1
    assert [s.weight for s in family.loras] == [0.4, 0.6]
    assert {s.sha256 for s in family.loras} == {lora.fingerprint(path)}
    lora.stack(family, [(path, 0.0)])
    assert np.array_equal(sample(family), base)
    lora.stack(family, [])
    assert family.loras == [] and np.array_equal(sample(family), base)


def test_attach_starts_from_the_seed_and_freezes_the_rest(family):
    starts = []
    for seed in (1, 1, 2):
        lora.unstack(family)
        lora.attach(family, 4, 4, "all-linear", seed=seed)
        starts.append(torch.cat([p.detach().flatten().clone() for p in lora.trainable(family)]))
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    learning = {n for n, p in family.pipeline.transformer.named_parameters() if p.requires_grad}
    assert learning and all(".lora_" in name for name in learning)


def test_presets_grow(family):
    found = {preset: set(lora.target_modules(type(family), family.transformer, preset)) for preset in family.targets}
    assert found["attention"] < found["attention+mlp"] <= found["all-linear"] and tuple(found) == TARGETS


@pytest.mark.parametrize(
    "family, millions",
    [
        (Flux, (18.7, 44.8, 85.9)),
        (QwenEdit, (23.6, 106.2, 147.5)),
        (Flux2Klein, (16.7, 24.1, 24.1)),
        (ZImage, (14.7, 35.0, 42.5)),
    ],
)
def test_presets_of_the_published_models_at_rank_16(family, millions):
    with torch.device("meta"):
        transformer = family.published_transformer()
    for preset, expected in zip(family.targets, millions, strict=True):
        layers = [transformer.get_submodule(n) for n in lora.target_modules(family, transformer, preset)]
        assert round(sum(16 * (m.in_features + m.out_features) for m in layers) / 1e6, 1) == expected


def test_targets_that_match_nothing(family):
    with pytest.raises(ValueError, match=r"'q_proj' matches nothing .* it has .*att\w+\.to_q"):
        lora.attach(family, 4, 4, ["q_proj", "v_proj"], seed=0)
    with pytest.raises(ValueError, match=r"targets is 'attn'; .* attention"):
        lora.attach(family, 4, 4, "attn", seed=0)


def test_one_lora_at_a_time(family, trained):
    path, _ = trained
    with pytest.raises(ValueError, match="already carries a LoRA"):
        lora.attach(family, 4, 4, "attention", seed=0)
    with pytest.raises(ValueError, match="is being trained"):
        lora.stack(family, [(path, 1.0)])
    lora.unstack(family)
    with pytest.raises(ValueError, match="no trainable LoRA"):
        family.save(path, metadata={})


def test_a_lora_of_the_other_family_is_refused_before_anything_changes(tiny_flux, tiny_qwen_edit, tmp_path):
    flux, editor = load(tiny_flux, "flux"), load(tiny_qwen_edit, "qwen_edit")
    lora.attach(flux, 4, 4, "attention+mlp", seed=0)
    path = flux.save(tmp_path / "flux.safetensors", metadata={})
    with pytest.raises(
        ValueError, match=r"flux\.safetensors was made for flux or flux_kontext \(.*'transformer\..*qwen_edit"
    ):
        lora.stack(editor, [(path, 1.0)])
    anonymous = tmp_path / "anonymous.safetensors"
    save_file(load_file(path), anonymous)
    assert lora.families_of(anonymous) == [Flux, FluxKontext] and editor.loras == []


def test_a_lora_that_fits_nothing_leaves_the_family_as_it_was(family, tmp_path):
    base = sample(family)
    wrong, large = tmp_path / "wrong.safetensors", tmp_path / "large.safetensors"
    for path, name, width in ((wrong, "down_blocks.0.to_q", 4), (large, "transformer_blocks.0.attn.to_q", 999)):
        key = f"transformer.{name}"
        save_file({f"{key}.lora_A.weight": torch.ones(4, width), f"{key}.lora_B.weight": torch.ones(width, 4)}, path)
        with pytest.raises(ValueError, match=rf"{path.name} does not fit this {family.name}"):
            lora.stack(family, [(path, 1.0)])
        assert family.loras == [] and np.array_equal(sample(family), base)


def test_bad_files(family, tmp_path):
    missing, text, cut, other = (tmp_path / f"{n}.safetensors" for n in ("missing", "text", "cut", "other"))
    text.write_text("not a LoRA")
    save_file({"weight": torch.zeros(2)}, other)
    cut.write_bytes(other.read_bytes()[:-4])
    for path, error, words in (
        (missing, FileNotFoundError, "missing.safetensors does not exist"),
        (text, ValueError, "not a whole safetensors file"),
        (cut, ValueError, "not a whole safetensors file"),
        (other, ValueError, "is not a LoRA: its keys look like 'weight'"),
    ):
        with pytest.raises(error, match=words):
            lora.stack(family, [(path, 1.0)])
    lora.attach(family, 4, 4, "attention", seed=0)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        family.save(tmp_path / "lora.bin", metadata={})


@pytest.mark.parametrize(
    "use, expected",
    [
        ("a/b.safetensors", ("a/b.safetensors", 1.0)),
        ("b.safetensors:0.8", ("b.safetensors", 0.8)),
        (r"C:\b.safetensors", (r"C:\b.safetensors", 1.0)),
        ("owner/name:-.5", ("owner/name", -0.5)),
        (" x:1", ("x", 1.0)),
    ],
)
def test_parse_use(use, expected):
    assert lora.parse_use(use) == expected


@pytest.mark.parametrize("use", ["", ":0.8"])
def test_parse_use_without_a_file(use):
    with pytest.raises(ValueError, match="names no file"):
        lora.parse_use(use)
