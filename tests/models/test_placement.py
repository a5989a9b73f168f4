"""What fits where, by simple arithmetic."""

import json

import pytest
import torch

from flenlib.models import placement


def test_the_known_sums():
    assert 30 < placement.needed_gib("flux", "bf16") < 36
    assert placement.needed_gib("flux", "nf4") < 12
    assert placement.needed_gib("qwen_edit", "nf4") < 20
    assert 38 < placement.needed_gib("qwen_edit", "bf16", "model") < 42
    assert placement.needed_gib("qwen_edit", "bf16", "group") < 8


def test_what_cannot_fit_is_refused_with_what_would(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(placement, "memory_gib", lambda: 40.0)
    placement.check_fits("flux-dev", "flux", "bf16", "none", cpu)
    words = (
        r"flux-dev at nf4 .* needs about 65 GiB; this machine has 40 GiB on cpu .* use precision bf16 with offload none"
    )
    with pytest.raises(RuntimeError, match=words):
        placement.check_fits("flux-dev", "flux", "nf4", "none", cpu)
    monkeypatch.setattr(placement, "memory_gib", lambda: 16.0)
    with pytest.raises(RuntimeError, match="use the mini models"):
        placement.check_fits("flux-dev", "flux", "bf16", "none", cpu)


def test_a_24_gib_card(monkeypatch):
    card = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 24 * 2**30))
    monkeypatch.setattr(placement, "memory_gib", lambda: 64.0)
    assert placement.fits("flux", card)[0] == ("bf16", "group") and ("nf4", "none") in placement.fits("flux", card)
    assert ("nf4", "none") in placement.fits("qwen_edit", card) and ("bf16", "model") not in placement.fits(
        "qwen_edit", card
    )
    monkeypatch.setattr(placement, "memory_gib", lambda: 16.0)
    with pytest.raises(RuntimeError, match=r"and 31 GiB of RAM; .* use precision int8"):
        placement.check_fits("flux-dev", "flux", "bf16", "group", card)


def test_the_machine_report_is_plain_facts():
    report = placement.machine_report()
    assert json.dumps(report) and report["memory_gib"] > 0 and report["cores"] >= 1
    assert report["packages"]["torch"].startswith("2.") and report["fits"].keys() == {"flux", "qwen_edit"}


def test_devices_and_dtypes():
    assert placement.pick_device("cpu").type == "cpu"
    assert placement.pick_dtype("nf4", torch.device("cpu")) == torch.float32
    assert placement.pick_dtype("nf4", torch.device("cuda")) == torch.bfloat16


def test_on_a_gpu_transformer_and_large_text_encoder_are_quantised():
    options = placement.loading_options("flux", "nf4", torch.device("cuda"))
    mapping = options["quantization_config"].quant_mapping
    assert mapping.keys() == {"transformer", "text_encoder_2"} and options["dtype"] == torch.bfloat16
    assert "proj_out" in mapping["transformer"].llm_int8_skip_modules
    assert mapping["text_encoder_2"].llm_int8_skip_modules == ["wo"]
    assert placement.loading_options("flux", "nf4", torch.device("cpu")) == {"dtype": torch.float32}
