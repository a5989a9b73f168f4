"""What a plan counts is what is there, and what it refuses comes with what would fit."""

import itertools
import re

import pytest
import torch
from torch.utils._pytree import tree_map_only

from flenlib import params
from flenlib.models import lora, placement
from flenlib.models.families.flux import Flux
from flenlib.models.families.flux2_klein import Flux2Klein
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.models.families.z_image import ZImage
from flenlib.models.quantise import quantise
from flenlib.models.registry import FAMILIES
from flenlib.predict import costs, plan, weights
from flenlib.predict.gpus import GPU, GPUS, pick_gpu, rates_of
from flenlib.train import planning
from tests.models.common import load

GIB = 2**30
CARD = "RTX 4090 24 GB"
FITTING = {"steps": 10_000, "batch_size": 1, "gradient_checkpointing": True, "optimizer": "adamw8bit"}


def test_parts_of_the_published_models():
    billions = {
        (Flux, "transformer"): 11.90, (Flux, "text_encoder"): 0.12, (Flux, "text_encoder_2"): 4.76,
        (Flux, "vae"): 0.08, (QwenEdit, "transformer"): 20.43, (QwenEdit, "text_encoder"): 8.29,
        (QwenEdit, "vae"): 0.13, (Flux2Klein, "transformer"): 3.88, (Flux2Klein, "text_encoder"): 4.02,
        (Flux2Klein, "vae"): 0.08, (ZImage, "transformer"): 6.15, (ZImage, "text_encoder"): 4.02,
    }  # fmt: skip
    for (family, part), expected in billions.items():
        found = weights.weights(family)[part]
        assert round((found.quantised + found.eight + found.rest) / 1e9, 2) == expected
    flux, qwen = (weights.weights(family)["transformer"] for family in (Flux, QwenEdit))
    assert round(flux.bytes("bf16") / GIB, 1) == 22.2 and round(flux.bytes("nf4") / GIB, 1) == 6.3
    assert round(qwen.bytes("bf16") / GIB, 1) == 38.1 and round(qwen.bytes("nf4") / GIB, 1) == 13.5
    assert qwen.eight == 60 * 2 * 6 * 3072 * 3072


def test_sizes_of_loras():
    assert round(weights.lora_size(Flux, 16, "attention+mlp") / 1e6, 1) == 44.8
    assert weights.lora_size(Flux, 4, "attention") == 4_669_440
    assert (
        round(weights.lora_size(QwenEdit, 16, ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")) / 1e6, 1)
        == 23.6
    )


@pytest.mark.parametrize("precision", ["fp32", "int8", "nf4"])
@pytest.mark.parametrize("name", FAMILIES)
def test_predicted_bytes_of_weights_are_the_real_ones(name, precision, request):
    folder = request.getfixturevalue(f"tiny_{name}")
    counted = weights.count(
        load(folder, name).transformer, FAMILIES[name].quantised["transformer"], FAMILIES[name].eight_bits
    )
    model = load(folder, name, precision).transformer
    real = sum(p.numel() * p.element_size() for p in model.parameters())
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            state = module.weight.quant_state
            assert not state.nested
            real += state.absmax.numel() * state.absmax.element_size()
        if type(module).__name__ == "Linear8bit":
            real += 4 * module.out_features
    assert counted.bytes(precision, rest=4.0) == pytest.approx(real, rel=1e-3)


def test_a_traced_step_is_the_arithmetic_of_its_layers():
    """Forward is 2 operations a weight and token, backward as much again, and the attention on top."""
    shape = costs.Shape(Flux, (4, 4), (), 8, 1, 4, "attention", heads=2)
    step = costs.step(shape, False, layers=(2, 3))
    with torch.device("meta"):
        model = Flux.published_transformer((2, 3), heads=2)
    forward = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            alone = any(word in name for word in ("norm", "time_text_embed"))
            text = any(word in name for word in ("add_", "ff_context", "context_embedder"))
            tokens = 1 if alone else 8 if text else 24 if name.startswith("single") else 16
            forward += 2 * module.weight.numel() * tokens
    attention = 5 * 4 * 24 * 24 * 2 * 128
    assert step.flops == pytest.approx(2 * forward + 3.5 * attention, rel=0.2)
    again = costs.step(shape, True, layers=(2, 3))
    assert again.saved < step.saved and again.flops > 1.4 * step.flops
    assert again.block == step.block


def test_activations_grow_with_tokens_and_blocks():
    small, large = (costs.Shape(QwenEdit, (4, n), ((4, n),), 8, 1, 4, "attention", heads=2) for n in (4, 8))
    assert costs.step(small, True, (2,)).saved < costs.step(large, True, (2,)).saved
    assert costs.step(small, False, (2,)).saved < costs.step(small, False, (4,)).saved


@pytest.mark.parametrize(
    "family, kind, precision",
    [
        *((family, "lora", "bf16") for family in FAMILIES.values()),
        *itertools.product((Flux, QwenEdit), ("dora", "lokr"), ("bf16",)),
        *itertools.product((Flux, QwenEdit), ("lora",), ("nf4", "int8")),
    ],
)
def test_traced_activations_are_those_of_a_real_step_under_autocast(family, kind, precision):
    """A gpu's autocast, on the processor, through the layers a training has; the base's precision makes no odds."""
    references = ((16, 16),) * family.references
    shape = costs.Shape(family, (16, 16), references, 64, 1, 8, "attention+mlp", heads=2, adapter=kind)
    layers = (2,) * len(family.layers)
    model = family.published_transformer(layers, 2).bfloat16().requires_grad_(False)
    if precision != "bf16":
        quantise(model, precision, torch.device("cpu"), family.spared("transformer", precision))
    names = lora.target_modules(family, model, shape.targets)
    model.add_adapter(lora.new_config(kind, 8, 8, names))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    own, kept = {parameter.untyped_storage()._cdata for parameter in model.parameters()}, {}

    def keep(tensor):
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    asked = tree_map_only(
        torch.Tensor, torch.rand_like, family.inputs(model.config, 1, (16, 16), references, 64)
    )  # fmt: skip
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.autocast("cpu", torch.bfloat16), costs.OnGPU(), hooks:
        model(**asked)
    real = sum(storage.nbytes() for storage in kept.values())
    assert costs.trace(shape, layers, False).saved == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("resolution", [512, 1408, 1664])
def test_pictures_of_every_size_and_number_are_planned_for(resolution):
    """At 1408 pixels a target has more tokens than the rotary table has positions, and so have two references."""
    asked = {"precision": "nf4", "gpu": "A100 80 GB", "resolution": resolution}
    plans = [plan.plan(QwenEdit, references=n, **asked) for n in (1, 2, 3)]
    assert all(each.fits for each in plans)
    assert plans[0].phases["train"] + 2 < plans[1].phases["train"] + 1 < plans[2].phases["train"]
    tokens = [(resolution // 16) ** 2 + 4096 * n + 384 for n in (1, 2, 3)]
    assert [plan.shape_of(each.settings).tokens for each in plans] == tokens


def test_an_editor_of_several_references_is_not_refused(monkeypatch):
    monkeypatch.setattr(planning, "pick_gpu", lambda device: GPUS["A100 80 GB"])
    settings = params.check("train_editor", FITTING)
    asked = ("qwen-image-edit-2509", "nf4", "none", settings, "cpu")
    said = [planning.expected(*asked, references=n) for n in (1, 2, 3)]
    hours = [float(re.search(r"about ([\d.]+) h", sentence)[1]) for sentence in said]
    assert hours == sorted(set(hours))


def test_a_plan_counts_the_kind_of_adapter_and_its_average():
    asked = {"precision": "nf4", "gpu": CARD}
    plain = plan.plan(Flux, **asked)
    kept = plan.plan(Flux, ema=True, **asked)
    trained = 4 * weights.lora_size(Flux, 16, "attention+mlp") / GIB
    assert kept.phases["train"] - plain.phases["train"] == pytest.approx(trained)
    assert kept.phases["previews"] - plain.phases["previews"] == pytest.approx(2 * trained)
    dora = plan.plan(Flux, adapter="dora", **asked)
    assert dora.phases["train"] > plain.phases["train"] + 1
    poor = GPU("small", 12, 100, 500)
    nearest = plan.plan(Flux, precision="bf16", adapter="dora", gpu=poor).nearest[0].settings
    assert nearest.offload != "group" and nearest.adapter == "dora"


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr"])
def test_the_size_of_an_adapter_is_what_is_trained(kind):
    """A DoRA has one number more for each output of a layer."""
    with torch.device("meta"):
        model = Flux.published_transformer()
    names = lora.target_modules(Flux, model, "attention")
    found = weights.lora_size(Flux, 16, "attention", kind)
    plain = sum(16 * (m.in_features + m.out_features) for m in map(model.get_submodule, names))
    outputs = sum(model.get_submodule(name).out_features for name in names)
    assert {"lora": found == plain, "dora": found == plain + outputs, "lokr": 0 < found < plain}[kind]


def test_previews_are_counted_at_the_size_they_are_drawn():
    small, large = (plan.plan(Flux, precision="nf4", resolution=r, gpu=CARD).phases for r in (512, 1024))
    assert small["previews"] == large["previews"] and small["train"] < large["train"]


def test_streaming_counts_the_block_whose_gradients_are_computed():
    assert weights.largest_block(Flux) == 36 * 3072**2 and weights.largest_block(QwenEdit) == 36 * 3072**2
    held = plan.plan(Flux, precision="bf16", offload="group", gpu=CARD).parts["GiB"]["transformer"]
    assert held * GIB > 2 * (weights.first_layers(Flux) + weights.largest_block(Flux))


def test_hours_are_those_of_the_mix_of_sizes(monkeypatch):
    monkeypatch.setattr(planning, "pick_gpu", lambda device: GPUS[CARD])
    hours = {}
    for sizes in ([512], [1024], [512, 1024]):
        settings = params.check("train", FITTING | {"resolution": sizes})
        sentence = planning.expected("flux-dev", "nf4", "none", settings, "cpu")
        hours[tuple(sizes)] = float(re.search(r"about ([\d.]+) h without", sentence)[1])
    assert hours[512, 1024] == pytest.approx((hours[512,] + hours[1024,]) / 2, abs=0.1)
    assert hours[512,] < hours[512, 1024] < hours[1024,]


@pytest.mark.parametrize(
    "driver, gpu",
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090 24 GB"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4080 SUPER", None),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80 GB"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA RTX A6000", "RTX A6000 48 GB"),
        ("NVIDIA RTX 6000 Ada Generation", None),
        ("NVIDIA L40S", "L40S 48 GB"),
    ],
)
def test_cards_by_the_names_drivers_give_them(driver, gpu):
    found = rates_of(driver)
    assert (found and found.name) == gpu


def test_predictions_lie_by_what_others_published():
    """The published figures of the QLoRA recipe for FLUX: 9 GB at nf4 and 26 GB at bfloat16 (GB, not GiB)."""
    asked = {"resolution": (512, 768), "rank": 4, "targets": "attention", "gpu": CARD}
    for precision, gigabytes in (("nf4", 9), ("bf16", 26)):
        found = plan.plan(Flux, precision=precision, **asked)
        assert found.phases["train"] * GIB / 1e9 == pytest.approx(gigabytes, rel=0.1)


def test_what_does_not_fit_comes_with_what_does():
    asked = {"resolution": (512, 768), "rank": 4, "targets": "attention"}
    refused = plan.plan(Flux, precision="bf16", gpu=GPU("small", 12, 100, 500), **asked)
    assert not refused.fits and refused.nearest[0].fits and refused.nearest[0].settings.offload == "group"
    with pytest.raises(
        RuntimeError, match=r"bf16, offload none, 512x768.* needs about 25.* nearest that fits: flux at"
    ):
        refused.check()
    poor = GPU("small, little RAM", 12, 100, 500, ram_gib=16)
    assert plan.plan(Flux, precision="bf16", gpu=poor, **asked).nearest[0].settings.precision == "nf4"
    allowed = plan.plan(Flux, precision="nf4", gpu=CARD, **asked)
    assert allowed.check() is allowed and 0.4 < allowed.seconds_per_step < 3 and "s a step" in allowed.sentence
    assert allowed.parts["GiB"].sum() == pytest.approx(allowed.phases["train"], abs=0.05)


def test_sampling_by_offload():
    found = {
        (p, o): plan.sampling(QwenEdit, precision=p, offload=o, gpu=CARD)
        for p in ("bf16", "nf4")
        for o in placement.offloads(p)
    }
    assert not found["bf16", "none"].fits and not found["bf16", "model"].fits and found["bf16", "group"].fits
    assert found["nf4", "model"].fits and found["bf16", "group"].ram_gib > 50
    assert plan.fits(Flux, GPUS[CARD])[0] == ("bf16", "group")


def test_a_processor_is_a_card_with_its_memory(monkeypatch):
    monkeypatch.setattr(placement, "memory_gib", lambda: 40.0)
    gpu = pick_gpu(device=torch.device("cpu"))
    assert gpu.cpu and gpu.gib == 40 and plan.fits(Flux, gpu)[0] == ("bf16", "none")
    with pytest.raises(RuntimeError, match="needs about"):
        plan.sampling(Flux, precision="nf4", gpu=gpu).check()


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"precision": "nf4", "offload": "disk"}, "offload is 'disk'"),
        ({"precision": "nf4", "optimizer": "lion"}, "optimizer is 'lion'; it must be one of adamw"),
        ({"precision": "nf4", "gpu": "RTX 9999"}, "GPU 'RTX 9999' is not known; it must be one of RTX 4080"),
        ({"precision": "nf4", "offload": "group"}, "offload group streams bf16 or fp32 weights"),
        ({"precision": "bf16", "offload": "group", "adapter": "dora"}, "a dora reads weights of the base"),
        ({"precision": "nf4", "adapter": "lokr"}, "a lokr cannot be put on nf4 weights"),
        ({"precision": "nf4", "adapter": "loha"}, "the kind of LoRA is 'loha'"),
        ({"precision": "bf16", "offload": "group", "gradient_checkpointing": False}, "with gradient checkpointing"),
    ],
)
def test_wrong_names(asked, words):
    with pytest.raises(ValueError, match=words):
        plan.plan(Flux, **asked)
