"""A written LoRA changes each weight by the same amount here, in diffusers, and by ComfyUI's rules."""

import json
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flenlib.content import Allowed
from flenlib.export import kohya
from flenlib.models import lora
from flenlib.models.batch import Encoded, collate
from tests.models.common import NAMES, excite, load, open_family, sample


@pytest.fixture(params=NAMES)
def family(request):
    return open_family(request)


def trained(family, kind, path, rank=4, targets="all-linear"):
    lora.attach(family, rank, 3.0, targets, seed=1, kind=kind)
    excite(family)
    return family.save(path, metadata={})


def weight(family, name):
    """Return what a layer multiplies with, whatever is on it."""
    layer = family.transformer.get_submodule(name)
    with torch.no_grad():
        return (layer(torch.eye(layer.in_features)) - layer(torch.zeros(1, layer.in_features))).T


def by_comfyui(file, stem, base):
    """Return a layer's weight with a LoRA file on it as ComfyUI computes it, at strength 1.

    LoRA: alpha / rank of ``.alpha`` and the down weight, 1 without ``.alpha``. LoKr: the Kronecker product, scaled so
    only when a factor is itself of low rank. A ``.dora_scale`` of the output rows divides by the norms of the rows
    before the change.
    """
    alpha = file.get(f"{stem}.alpha")
    if f"{stem}.lokr_w1" in file:
        low = f"{stem}.lokr_w2" not in file
        second = file[f"{stem}.lokr_w2_a"] @ file[f"{stem}.lokr_w2_b"] if low else file[f"{stem}.lokr_w2"]
        scale = float(alpha) / len(file[f"{stem}.lokr_w2_b"]) if low and alpha is not None else 1.0
        return base + scale * torch.kron(file[f"{stem}.lokr_w1"], second)
    names = ("lora_A", "lora_B") if f"{stem}.lora_A.weight" in file else ("lora_down", "lora_up")
    down, up = (file[f"{stem}.{name}.weight"] for name in names)
    changed = base + (1.0 if alpha is None else float(alpha) / len(down)) * up @ down
    if f"{stem}.dora_scale" in file:
        scale = file[f"{stem}.dora_scale"]
        assert scale.shape == (len(base), 1)
        changed = changed * scale / base.norm(dim=1, keepdim=True)
    return changed


@pytest.mark.parametrize("kind, rank", [("lora", 4), ("dora", 4), ("lokr", 2), ("lokr", 64)])
def test_the_same_weights_here_when_loaded_again_and_in_comfyui(kind, rank, family, tmp_path):
    names = lora.target_modules(type(family), family.transformer, "all-linear")
    before = {name: weight(family, name) for name in names}
    path = trained(family, kind, tmp_path / "char.safetensors", rank)
    here = {name: weight(family, name) for name in names}
    drawn = sample(family)
    file = load_file(path)
    lora.unstack(family)
    lora.stack(family, [(path, 1.0)])
    assert abs(sample(family) - drawn).max() <= 1 and lora.kind_of(path) == kind
    assert type(family) in lora.families_of(path)
    for name in names:
        assert (here[name] - before[name]).abs().max() > 1e-3
        torch.testing.assert_close(weight(family, name), here[name], rtol=0, atol=1e-5)
        comfy = by_comfyui(file, family.lora_prefix + name, before[name])
        torch.testing.assert_close(comfy, here[name], rtol=0, atol=1e-5)
    lora.unstack(family)
    assert all(torch.equal(weight(family, name), before[name]) for name in names)


def test_diffusers_own_loader_takes_a_dora_of_the_flux_families_alone(family, tmp_path):
    names = lora.target_modules(type(family), family.transformer, "all-linear")
    path = trained(family, "dora", tmp_path / "char.safetensors")
    here = {name: weight(family, name) for name in names}
    lora.unstack(family)
    assert all((weight(family, name) - here[name]).abs().max() > 1e-3 for name in names)
    if not family.name.startswith("flux"):
        with pytest.raises(ValueError, match="lora_magnitude_vector"):
            family.pipeline.load_lora_weights(str(path))
        return
    family.pipeline.load_lora_weights(str(path))
    for name in names:
        torch.testing.assert_close(weight(family, name), here[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_a_new_adapter_changes_nothing(kind, family):
    base = sample(family)
    lora.attach(family, 4, 4, "attention", seed=0, kind=kind)
    assert abs(sample(family) - base).max() <= 1
    assert all(p.requires_grad and p.dtype == torch.float32 for p in lora.trainable(family))


def test_a_lokr_is_used_alone_at_any_strength(family, tmp_path):
    base = sample(family)
    path = trained(family, "lokr", tmp_path / "char.safetensors")
    lora.unstack(family)
    lora.stack(family, [(path, 0.0)])
    assert np.array_equal(sample(family), base)
    with pytest.raises(ValueError, match=r"char\.safetensors is a lokr, which can only be used by itself"):
        lora.stack(family, [(path, 0.5), (path, 0.5)])


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
@pytest.mark.parametrize("kind", ["dora", "lokr"])
def test_kinds_learn_on_lower_precisions(kind, precision, tiny_flux):
    family = load(tiny_flux, "flux", precision)
    if (kind, precision) == ("lokr", "nf4"):
        with pytest.raises(ValueError, match="lokr cannot be put on nf4 weights"):
            lora.attach(family, 4, 4, "attention", seed=0, kind=kind)
        return
    lora.attach(family, 4, 4, "attention", seed=0, kind=kind)
    excite(family)
    parts = family.encode(text=Allowed("a person"))
    batch = collate([parts | Encoded(grid=torch.tensor([4, 4]))])
    noisy = torch.randn(1, 16, family.transformer.config.in_channels, generator=torch.Generator().manual_seed(0))
    family.predict(noisy, torch.tensor([0.5]), batch).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lora.trainable(family))
    assert any(p.grad.abs().max() > 0 for p in lora.trainable(family))


def test_header_says_what_it_is(family, tmp_path):
    header = lora.header(trained(family, "lokr", tmp_path / "char.safetensors"))
    assert header["ss_network_module"] == "lycoris.kohya" and json.loads(header["ss_network_args"]) == {"algo": "lokr"}
    assert header["ss_network_dim"] == "4"
    assert header["ss_network_alpha"] == ("4.0" if family.folds_alpha else "3.0")


def test_an_unknown_kind(family):
    with pytest.raises(ValueError, match="kind of LoRA is 'loha'; it must be one of lora, dora, lokr"):
        lora.attach(family, 4, 4, "attention", seed=0, kind="loha")


def test_dora_of_another_trainer(family, tmp_path):
    path = trained(family, "dora", tmp_path / "char.safetensors")
    lora.unstack(family)
    file, header = load_file(path), lora.header(path)
    bare = {key: value for key, value in file.items() if "lora_magnitude_vector" not in key}
    save_file(bare, tmp_path / "bare.safetensors", metadata=header)
    with pytest.raises(ValueError, match=r"bare\.safetensors does not fit .* \.dora_scale alone"):
        lora.stack(family, [(tmp_path / "bare.safetensors", 1.0)])
    save_file(file, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="without one rank and alpha"):
        lora.stack(family, [(tmp_path / "other.safetensors", 1.0)])


@pytest.mark.parametrize("targets", ["attention", "attention+mlp", "all-linear"])
def test_kohya_names(targets, family, tmp_path):
    names = lora.target_modules(type(family), family.transformer, targets)
    before = {
        name: weight(family, name) for name in lora.target_modules(type(family), family.transformer, "all-linear")
    }
    path = trained(family, "lora", tmp_path / "char.safetensors", targets=targets)
    here = before | {name: weight(family, name) for name in names}
    out = kohya.to_kohya(path, tmp_path / "kohya.safetensors")
    file = load_file(out)
    stems = {key.rsplit(".lora_", 1)[0] for key in file if ".lora_" in key}
    assert len(file) == 3 * len(stems) and all(stem.startswith("lora_unet_") for stem in stems)
    assert lora.header(out)["ss_network_module"] == "networks.lora"
    named = 0
    for stem, layers in fused(family.name, before).items():
        base = torch.cat([before[name] for name in layers])
        changed = by_comfyui(file, f"lora_unet_{stem}", base) if f"lora_unet_{stem}" in stems else base
        named += f"lora_unet_{stem}" in stems
        torch.testing.assert_close(changed, torch.cat([here[name] for name in layers]), rtol=0, atol=1e-5)
    assert named == len(stems)
    if family.name in ("flux", "flux_kontext"):
        return  # diffusers' converter of FLUX.1 knows the published width alone
    lora.unstack(family)
    family.pipeline.load_lora_weights(str(out))
    for name in before:
        torch.testing.assert_close(weight(family, name), here[name], rtol=0, atol=1e-5)


def fused(family, names):
    """Return kohya's name of each weight of a one-block model, and the layers it is made of, top to bottom."""
    if not family.startswith("flux"):
        return {name.replace(".", "_"): [name] for name in names}
    double, single = "transformer_blocks.0", "single_transformer_blocks.0"
    made = {
        "double_blocks_0_img_attn_qkv": [f"{double}.attn.to_{x}" for x in "qkv"],
        "double_blocks_0_txt_attn_qkv": [f"{double}.attn.add_{x}_proj" for x in "qkv"],
    }
    alone = {"img_attn_proj": "attn.to_out.0", "txt_attn_proj": "attn.to_add_out"}
    if family == "flux2_klein":
        alone |= {
            "img_mlp_0": "ff.linear_in", "img_mlp_2": "ff.linear_out",
            "txt_mlp_0": "ff_context.linear_in", "txt_mlp_2": "ff_context.linear_out",
        }  # fmt: skip
        made["single_blocks_0_linear1"] = [f"{single}.attn.to_qkv_mlp_proj"]
        made["single_blocks_0_linear2"] = [f"{single}.attn.to_out"]
    else:
        alone |= {
            "img_mlp_0": "ff.net.0.proj", "img_mlp_2": "ff.net.2", "txt_mlp_0": "ff_context.net.0.proj",
            "txt_mlp_2": "ff_context.net.2", "img_mod_lin": "norm1.linear", "txt_mod_lin": "norm1_context.linear",
        }  # fmt: skip
        made["single_blocks_0_linear1"] = [*(f"{single}.attn.to_{x}" for x in "qkv"), f"{single}.proj_mlp"]
        made["single_blocks_0_modulation_lin"] = [f"{single}.norm.linear"]
        made["single_blocks_0_linear2"] = [f"{single}.proj_out"]
    made |= {f"double_blocks_0_{key}": [f"{double}.{name}"] for key, name in alone.items()}
    assert sorted(name for layers in made.values() for name in layers) == sorted(names)
    return made


def test_kohya_names_are_for_plain_loras(family, tmp_path):
    path = trained(family, "dora", tmp_path / "char.safetensors")
    with pytest.raises(ValueError, match=r"char\.safetensors is a dora of .*; kohya's names exist for plain LoRAs"):
        kohya.to_kohya(path, tmp_path / "kohya.safetensors")
    assert not (tmp_path / "kohya.safetensors").exists()


def test_kohya_names_from_the_command_line(family, tmp_path, capsys):
    path, out = trained(family, "lora", tmp_path / "char.safetensors"), tmp_path / "char_kohya.safetensors"
    assert kohya.main([str(path)]) == 0 and capsys.readouterr().out == f"{out}\n"
    assert all(key.startswith("lora_unet_") for key in load_file(out))
    for wrong, said in (
        ([str(path)], "is there already"),
        ([str(out)], "nothing to do"),
        ([str(tmp_path / "none.safetensors")], "does not exist"),
    ):
        assert kohya.main(wrong) == 1
        printed = capsys.readouterr().err
        assert said in printed and len(printed.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.glob("*")) == ["char.safetensors", "char_kohya.safetensors"]


def test_a_full_disk_leaves_nothing(family, tmp_path):
    """A limit on the size of a file makes the write fail as a full disk does."""
    lora.attach(family, 4, 4, "attention", seed=0)
    kept = family.save(tmp_path / "char.safetensors", metadata={}).read_bytes()
    excite(family)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            family.save(tmp_path / "char.safetensors", metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["char.safetensors"]
    assert (tmp_path / "char.safetensors").read_bytes() == kept
