"""Devices, precisions, quantisation, and training through offload."""

import copy
import json

import numpy as np
import pytest
import torch
from bitsandbytes.autograd._functions import MatMul8bitLt
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from flenlib.content import Allowed
from flenlib.models import lora, placement
from flenlib.models.batch import collate
from flenlib.models.quantise import kept, quantise, quantised
from flenlib.models.registry import FAMILIES
from flenlib.predict import weights
from tests.models.common import load, picture, references, sample


def test_the_machine_report_is_plain_facts():
    report = placement.machine_report()
    assert json.dumps(report) and report["memory_gib"] > 0 and report["cores"] >= 1
    assert report["packages"]["torch"].startswith("2.")


def test_devices_and_dtypes():
    assert placement.pick_device("cpu").type == "cpu"
    assert placement.pick_dtype("nf4", torch.device("cpu")) == torch.float32
    assert placement.pick_dtype("nf4", torch.device("cuda")) == torch.bfloat16


def test_which_layers_are_meant():
    keep = FAMILIES["flux"].quantised["transformer"]
    assert kept("proj_out", keep) and kept("time_text_embed.timestep_embedder.linear_1", keep)
    assert not kept("single_transformer_blocks.0.proj_out", keep)
    assert kept("encoder.block.0.layer.1.DenseReluDense.wo", (".wo",))


def layers(model, kind):
    return {name for name, module in model.named_modules() if type(module).__name__ == kind}


@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_what_diffusers_own_loader_would_spare_beside(name, tiny_flux, tiny_qwen_edit):
    """It goes by a layer's last name, so FLUX's ``proj_out`` would spare that of every single block."""
    from diffusers import BitsAndBytesConfig
    from diffusers.quantizers.bitsandbytes.utils import _replace_with_bnb_linear

    whole = load({"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name], name).transformer
    here, theirs = copy.deepcopy(whole), copy.deepcopy(whole)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    _replace_with_bnb_linear(theirs, list(FAMILIES[name].quantised["transformer"]), quantization_config=settings)
    quantise(here, "nf4", torch.device("cpu"), FAMILIES[name].quantised["transformer"])
    beside = layers(here, "Linear4bit") - layers(theirs, "Linear4bit")
    blocks = len(whole.single_transformer_blocks) if name == "flux" else 0
    assert beside == {f"single_transformer_blocks.{index}.proj_out" for index in range(blocks)}
    assert layers(theirs, "Linear4bit") <= layers(here, "Linear4bit")


@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_the_kits_layers_are_quantised_and_counted(name, tiny_flux, tiny_qwen_edit):
    """What is counted as quantised is, in the transformer and in the text encoder, and nothing else."""
    family = load({"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name], name, "nf4")
    for part, keep in FAMILIES[name].quantised.items():
        model = getattr(family.pipeline, part)
        left = layers(model, "Linear")
        assert left and all(kept(layer, keep) for layer in left)
        swapped = [m for m in model.modules() if type(m).__name__ in ("Linear4bit", "Linear8bit")]
        counted = weights.count(load(family.source, name).pipeline.components[part], keep)
        assert sum(m.in_features * m.out_features for m in swapped) == counted.quantised


@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_encoders_alone_on_a_device_are_not_quantised_where_they_fit(name, tiny_flux, tiny_qwen_edit, monkeypatch):
    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    part = list(FAMILIES[name].quantised)[1]

    def swapped(**how):
        family = FAMILIES[name].load(folder, precision="nf4", device="cpu", **how)
        return len(layers(getattr(family.pipeline, part), "Linear4bit"))

    beside = swapped()
    assert beside and not swapped(transformer=False) and not swapped(offload="model")
    monkeypatch.setattr(placement, "memory_gib", lambda: 2.0)
    assert swapped(transformer=False) == swapped(offload="model") == beside


def test_the_vision_tower_is_never_quantised(tiny_qwen_edit):
    left = layers(load(tiny_qwen_edit, "qwen_edit", "int8").pipeline.text_encoder, "Linear")
    assert any(".visual." in layer for layer in left) and not any("language_model" in layer for layer in left)


def test_an_nf4_layer_is_plain_nf4_in_the_dtype_of_the_layer():
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Linear(128, 64).to(dtype)
        new = quantised(layer, "nf4", torch.device("cpu"))
        state = new.weight.quant_state
        assert not state.nested and state.dtype == dtype == new.compute_dtype and state.quant_type == "nf4"
        assert state.absmax.dtype == torch.float32 and state.absmax.numel() == 128 * 64 // 64
        x = torch.randn(3, 128, dtype=dtype)
        assert (new(x) - layer(x)).abs().mean() < 0.15 * layer(x).abs().mean()
        assert not any(parameter.requires_grad for parameter in new.parameters())


def test_an_int8_layer_takes_everything_along():
    """bitsandbytes' own layer keeps weights and scales where they were when its model moves."""
    layer = torch.nn.Linear(64, 32)
    x = torch.randn(3, 64)
    new = quantised(layer, "int8", torch.device("cpu"))
    for _ in range(2):  # before and after a first call, which moves the scales from the weight to the state
        holder = new.weight if new.weight.CB is not None else new.state
        before = holder.CB.data_ptr()
        torch.nn.Sequential(new)._apply(lambda tensor: tensor.clone())  # what .to(another device) does
        assert holder.CB.data_ptr() == new.weight.data_ptr() != before
        assert (new(x) - layer(x)).abs().max() < 0.05


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantised_layer_follows_autocast_and_keeps_no_input(precision):
    layer = quantised(nn.Linear(64, 32).bfloat16(), precision, torch.device("cpu"))
    given = torch.randn(1, 4, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(given).dtype == torch.bfloat16
        inner = (given * 1).bfloat16()
        output, storage = layer(inner), StorageWeakRef(inner.untyped_storage())
    del inner
    assert storage.expired()
    output.float().sum().backward()
    with torch.no_grad():
        weights = layer(torch.eye(64).bfloat16()) - layer.bias
    assert np.abs(given.grad[0, 0] - weights.float().sum(1)).max() < 0.05


def test_int8_layers_are_quiet(caplog):
    new = quantised(torch.nn.Linear(64, 32), "int8", torch.device("cpu"))
    new(torch.randn(3, 64, requires_grad=True)).sum().backward()
    MatMul8bitLt.apply(torch.randn(3, 64), new.weight, None, None, new.state)
    assert not caplog.records


def test_the_card_asked_for_is_the_current_one(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    for device in ("cpu", "cuda", "cuda:1"):
        placement.make_current(torch.device(device))
    assert made == [torch.device("cuda:1")]


def test_a_family_makes_its_card_current_before_it_loads(tiny_flux, monkeypatch):
    """Whatever comes after needs a gpu; that it was made current is seen before."""
    made = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    with pytest.raises((RuntimeError, AssertionError)):
        FAMILIES["flux"].load(tiny_flux, precision="bf16", device="cuda:1")
    assert made == [torch.device("cuda:1")]


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_quantised_weights_are_not_streamed(precision, tiny_flux):
    assert placement.offloads(precision) == ("none", "model") and "group" in placement.offloads("bf16")
    with pytest.raises(ValueError, match=f"bf16 or fp32 weights and the precision is {precision}; use model"):
        FAMILIES["flux"].load(tiny_flux, precision=precision, offload="group", device="cpu")


def test_qwens_modulation_stays_at_int8_under_nf4(tiny_qwen_edit):
    kinds = {}
    for precision in ("int8", "nf4"):
        block = load(tiny_qwen_edit, "qwen_edit", precision).transformer.transformer_blocks[0]
        kinds[precision] = [type(m).__name__ for m in (block.img_mod[1], block.txt_mod[1], block.attn.to_q)]
    assert kinds["nf4"] == ["Linear8bit", "Linear8bit", "Linear4bit"]
    assert kinds["int8"] == ["Linear8bit"] * 3


def gradients(family, kind="lora"):
    lora.attach(family, 4, 4, "attention+mlp", seed=0, kind=kind)
    generator = torch.Generator().manual_seed(3)
    for parameter in lora.trainable(family):
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    family.transformer.enable_gradient_checkpointing()
    parts = family.encode(image=picture(), text=Allowed("a person"), references=references(family.name))
    batch = collate([parts])
    noisy = torch.randn(batch.latents.shape, generator=generator)
    for _ in range(2):
        loss = family.predict(noisy, torch.tensor([0.5]), batch).square().mean()
        loss.backward()
    return [p.grad for p in lora.trainable(family)]


@pytest.mark.parametrize("name, kind", [("flux", "lora"), ("flux", "lokr"), ("qwen_edit", "lora")])
def test_gradients_through_streamed_layers_are_the_same(name, kind, tiny_flux, tiny_qwen_edit, monkeypatch):
    """Layers that are away hold NaN here, so anything a backward pass reads from a layer put away would show."""
    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    expected = gradients(load(folder, name), kind)
    home = {}

    def every(group):
        return [*(p for m in group.modules for p in m.parameters()), *group.parameters]

    def bring(group):
        for parameter in every(group):
            parameter.data = home[parameter].clone()

    def put_away(group):
        for parameter in every(group):
            home.setdefault(parameter, parameter.data)
            parameter.data = torch.full_like(parameter.data, torch.nan)

    monkeypatch.setattr(ModuleGroup, "onload_", bring)
    monkeypatch.setattr(ModuleGroup, "offload_", put_away)
    family = load(folder, name)
    placement.stream(family.transformer, torch.device("cpu"), use_stream=False)
    assert any(p.isnan().any() for p in family.transformer.parameters())
    for streamed, whole in zip(gradients(family, kind), expected, strict=True):
        torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-6)


def test_a_dora_is_not_trained_through_streaming(tiny_flux):
    family = FAMILIES["flux"].load(tiny_flux, offload="group", device="cpu")
    with pytest.raises(ValueError, match="a dora reads weights of the base that offload group has put away"):
        lora.attach(family, 4, 4, "attention", seed=0, kind="dora")
    assert not lora.attached(family)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("offload", ["none", "model", "group"])
@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_gradients_on_a_card_by_every_offload(name, offload, tiny_flux, tiny_qwen_edit):
    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    expected = gradients(load(folder, name))
    family = FAMILIES[name].load(folder, precision="fp32", offload=offload, device="cuda")
    for found, wanted in zip(gradients(family), expected, strict=True):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-2, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("offload", ["none", "model"])
@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_a_quantised_one_draws_and_trains_on_a_card(name, precision, offload, tiny_flux, tiny_qwen_edit):
    family = FAMILIES[name].load(
        {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name], precision=precision, offload=offload, device="cuda"
    )
    assert sample(family).std() > 0
    if offload == "model":  # nothing stays behind, the scales of int8 layers included
        family.pipeline.maybe_free_model_hooks()
        for module in family.transformer.modules():
            for holder in (getattr(module, "state", None), getattr(module, "weight", None)):
                assert getattr(holder, "CB", None) is None or not holder.CB.is_cuda
    assert all(gradient.isfinite().all() for gradient in gradients(family))
