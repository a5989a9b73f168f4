"""What a plan counts is what is there, and what it refuses comes with what would fit."""

import pytest
import torch

from flenlib.models import costs, placement, plan, published, weights
from flenlib.models.cards import CARDS, Card, pick_card
from tests.models.common import load

GIB = 2**30
CARD = "RTX 4090 24 GB"


def test_parts_of_the_published_models():
    billions = {
        ("flux", "transformer"): 11.90, ("flux", "text_encoder"): 0.12, ("flux", "text_encoder_2"): 4.76,
        ("flux", "vae"): 0.08, ("qwen_edit", "transformer"): 20.43, ("qwen_edit", "text_encoder"): 8.29,
        ("qwen_edit", "vae"): 0.13,
    }  # fmt: skip
    for (family, part), expected in billions.items():
        found = weights.weights(family)[part]
        assert round((found.quantised + found.eight + found.rest) / 1e9, 2) == expected
    flux, qwen = (weights.weights(name)["transformer"] for name in ("flux", "qwen_edit"))
    assert round(flux.bytes("bf16") / GIB, 1) == 22.2 and round(flux.bytes("nf4") / GIB, 1) == 6.3
    assert round(qwen.bytes("bf16") / GIB, 1) == 38.1 and round(qwen.bytes("nf4") / GIB, 1) == 13.5
    assert qwen.eight == 60 * 2 * 6 * 3072 * 3072


def test_sizes_of_loras():
    assert round(weights.lora_size("flux", 16, "attention+mlp") / 1e6, 1) == 44.8
    assert weights.lora_size("flux", 4, "attention") == 4_669_440
    assert (
        round(weights.lora_size("qwen_edit", 16, ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")) / 1e6, 1)
        == 23.6
    )


@pytest.mark.parametrize("precision", ["fp32", "int8", "nf4"])
@pytest.mark.parametrize("name", ["flux", "qwen_edit"])
def test_predicted_bytes_of_weights_are_the_real_ones(name, precision, tiny_flux, tiny_qwen_edit):
    folder = {"flux": tiny_flux, "qwen_edit": tiny_qwen_edit}[name]
    counted = weights.count(
        load(folder, name).transformer, placement.KEEP[name]["transformer"], placement.EIGHT_BITS[name]
    )
    model = load(folder, name, precision).transformer
    real = sum(p.numel() * p.element_size() for p in model.parameters())
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            real += module.weight.quant_state.absmax.numel() * 4
        if type(module).__name__ == "Linear8bitLt":
            real += 4 * module.out_features
    assert counted.bytes(precision, rest=4.0) == pytest.approx(real, rel=1e-3)


def test_a_traced_step_is_the_arithmetic_of_its_layers():
    """Forward is 2 operations a weight and token, backward as much again, and the attention on top."""
    shape = costs.Shape("flux", 16, 0, 8, 1, 4, "attention", heads=2)
    step = costs.step(shape, False, layers=(2, 3))
    with torch.device("meta"):
        model = published.transformer("flux", (2, 3), heads=2)
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
    small, large = (costs.Shape("qwen_edit", n, n, 8, 1, 4, "attention", heads=2) for n in (16, 32))
    assert costs.step(small, True, (2,)).saved < costs.step(large, True, (2,)).saved
    assert costs.step(small, False, (2,)).saved < costs.step(small, False, (4,)).saved


def test_predictions_lie_by_what_others_published():
    """The published figures of the QLoRA recipe for FLUX: 9 GB at nf4 and 26 GB at bfloat16 (GB, not GiB)."""
    told = {"resolution": (512, 768), "rank": 4, "targets": "attention", "card": CARD}
    for precision, gigabytes in (("nf4", 9), ("bf16", 26)):
        found = plan.plan("flux", precision=precision, **told)
        assert found.peak_gib * GIB / 1e9 == pytest.approx(gigabytes, rel=0.1)


def test_what_does_not_fit_comes_with_what_does():
    told = {"resolution": (512, 768), "rank": 4, "targets": "attention"}
    refused = plan.plan("flux", precision="bf16", card=Card("small", 12, 100, 500), **told)
    assert not refused.fits and refused.nearest[0].fits and refused.nearest[0].settings.offload == "group"
    with pytest.raises(
        RuntimeError, match=r"bf16, offload none, 512x768.* needs about 24.* nearest that fits: flux at"
    ):
        refused.check()
    poor = Card("small, little RAM", 12, 100, 500, ram_gib=16)
    assert plan.plan("flux", precision="bf16", card=poor, **told).nearest[0].settings.precision == "nf4"
    allowed = plan.plan("flux", precision="nf4", card=CARD, **told)
    assert allowed.check() is allowed and 0.4 < allowed.seconds_per_step < 3 and "s a step" in allowed.sentence
    assert allowed.parts["GiB"].sum() == pytest.approx(allowed.phases["train"], abs=0.05)


def test_sampling_by_offload():
    found = {
        (p, o): plan.sampling("qwen_edit", precision=p, offload=o, card=CARD)
        for p in ("bf16", "nf4")
        for o in placement.OFFLOADS
    }
    assert not found["bf16", "none"].fits and not found["bf16", "model"].fits and found["bf16", "group"].fits
    assert found["nf4", "model"].fits and found["bf16", "group"].ram_gib > 50
    assert plan.fits("flux", CARDS[CARD])[0] == ("bf16", "group")


def test_a_processor_is_a_card_with_its_memory(monkeypatch):
    monkeypatch.setattr(placement, "memory_gib", lambda: 40.0)
    card = pick_card(device=torch.device("cpu"))
    assert card.cpu and card.gib == 40 and plan.fits("flux", card)[0] == ("bf16", "none")
    with pytest.raises(RuntimeError, match="needs about"):
        plan.sampling("flux", precision="nf4", card=card).check()


@pytest.mark.parametrize(
    "told, words",
    [
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"precision": "nf4", "offload": "disk"}, "offload is 'disk'"),
        ({"precision": "nf4", "optimizer": "lion"}, "optimizer is 'lion'; it must be one of adamw"),
        ({"precision": "nf4", "card": "RTX 9999"}, "card 'RTX 9999' is not known; it must be one of RTX 4080"),
        ({"precision": "nf4", "offload": "group"}, "offload group trains bf16"),
        ({"precision": "bf16", "offload": "group", "gradient_checkpointing": False}, "with gradient checkpointing"),
    ],
)
def test_wrong_names(told, words):
    with pytest.raises(ValueError, match=words):
        plan.plan("flux", **told)
