"""Devices, precisions, quantisation, and training through offload."""

import json

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup

from flenlib.models import lora, placement
from tests.models.common import load, picture, references


def test_the_machine_report_is_plain_facts():
    report = placement.machine_report()
    assert json.dumps(report) and report["memory_gib"] > 0 and report["cores"] >= 1
    assert report["packages"]["torch"].startswith("2.")


def test_devices_and_dtypes():
    assert placement.pick_device("cpu").type == "cpu"
    assert placement.pick_dtype("nf4", torch.device("cpu")) == torch.float32
    assert placement.pick_dtype("nf4", torch.device("cuda")) == torch.bfloat16


def test_on_a_gpu_transformer_and_large_text_encoder_are_quantised():
    options = placement.loading_options("flux", "nf4", torch.device("cuda"))
    mapping = options["quantization_config"].quant_mapping
    assert mapping.keys() == {"transformer", "text_encoder_2"} and options["dtype"] == torch.bfloat16
    assert "proj_out" in mapping["transformer"].llm_int8_skip_modules
    assert mapping["text_encoder_2"].llm_int8_skip_modules == [".wo"]
    assert placement.loading_options("flux", "nf4", torch.device("cpu")) == {"dtype": torch.float32}


def test_which_layers_are_meant():
    keep = placement.KEEP["flux"]["transformer"]
    assert placement.kept("proj_out", keep) and placement.kept("time_text_embed.timestep_embedder.linear_1", keep)
    assert not placement.kept("single_transformer_blocks.0.proj_out", keep)
    assert placement.kept("encoder.block.0.layer.1.DenseReluDense.wo", (".wo",))


def test_qwens_modulation_stays_at_int8_under_nf4(tiny_qwen_edit):
    kinds = {}
    for precision in ("int8", "nf4"):
        block = load(tiny_qwen_edit, "qwen_edit", precision).transformer.transformer_blocks[0]
        kinds[precision] = [type(m).__name__ for m in (block.img_mod[1], block.txt_mod[1], block.attn.to_q)]
    assert kinds["nf4"] == ["Linear8bitLt", "Linear8bitLt", "Linear4bit"]
    assert kinds["int8"] == ["Linear8bitLt"] * 3


def gradients(family):
    lora.attach(family, 4, 4, "attention+mlp", seed=0)
    generator = torch.Generator().manual_seed(3)
    for parameter in lora.trainable(family):
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    family.transformer.enable_gradient_checkpointing()
    parts = family.encode(image=picture(), text="a person", references=references(family.name))
    batch = {k: v[None] for k, v in parts.items()}
    noisy = torch.randn(batch["latents"].shape, generator=generator)
    for _ in range(2):
        loss = family.predict(noisy, torch.tensor([0.5]), batch).square().mean()
        loss.backward()
    return [p.grad for p in lora.trainable(family)]


@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_gradients_through_streamed_layers_are_the_same(name, tiny_flux, tiny_qwen_edit, monkeypatch):
    """Layers that are away hold NaN here, so anything a backward pass reads from a layer put away would show."""
    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    expected = gradients(load(folder, name))
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
    for streamed, whole in zip(gradients(family), expected, strict=True):
        torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("offload", ["none", "model", "group"])
@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_gradients_on_a_card_by_every_offload(name, offload, tiny_flux, tiny_qwen_edit):
    from flenlib.models.registry import FAMILIES

    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    expected = gradients(load(folder, name))
    family = FAMILIES[name].load(folder, precision="fp32", offload=offload, device="cuda")
    for found, wanted in zip(gradients(family), expected, strict=True):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-2, atol=1e-4)
