"""A LoRA with which nothing could be drawn is refused by the name of a tensor, before anything changes."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flenlib.draw.load import load_family
from flenlib.export import kohya
from flenlib.models import lora, lora_file, lora_values
from tests.models.common import excite, load, sample

KEY = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def made(tiny_flux, tmp_path_factory):
    """A LoRA and a LoKr of a tiny FLUX."""
    family, folder = load(tiny_flux, "flux"), tmp_path_factory.mktemp("made")
    found = {}
    for kind in ("lora", "lokr"):
        lora.unstack(family)
        lora.attach(family, 4, 3.0, "attention", seed=1, kind=kind)
        excite(family)
        found[kind] = family.save(folder / f"{kind}.safetensors", metadata={})
    return found


def changed(path, to, change, **facts):
    """Write a LoRA file again after a change of its tensors, and of its header."""
    file = load_file(path)
    change(file)
    return lora_file.save_whole(file, to, lora.header(path) | facts)


def put(value):
    def change(file):
        file[f"{KEY}.lora_B.weight"][1, 1] = value

    return change


def every(factor):
    def change(file):
        for name in [name for name in file if "lora_" in name]:
            file[name] *= factor

    return change


def without(key):
    return lambda file: file.pop(key)


def narrow(file):
    file[f"{KEY}.lora_A.weight"] = file[f"{KEY}.lora_A.weight"][:, ::2].contiguous()


def lower(file):
    file[f"{KEY}.lora_A.weight"] = file[f"{KEY}.lora_A.weight"][::2].contiguous()


def empty(file):
    for name, shape in (("A", (0, 32)), ("B", (32, 0))):
        file[f"{KEY}.lora_{name}.weight"] = torch.zeros(shape)


FAULTS = {
    "nan": (put(float("nan")), r"to_q\.lora_B\.weight' holds values that are not finite numbers"),
    "infinite": (put(float("inf")), r"to_q\.lora_B\.weight' holds values that are not finite numbers"),
    "times 1e6": (every(1e6), r"'transformer\.\S+' adds \d\S* to weights of about 0\.1"),
    "one of 1e30": (put(1e30), r"to_q' adds \S+ to weights"),
    "narrow": (narrow, r"to_q\.lora_A\.weight' is \d+ wide and its layer \d+"),
    "low": (lower, r"factors lora_A and lora_B of '\S+to_q' are 2 x \d+ and \d+ x 4 and do not fit each other"),
    "half": (without(f"{KEY}.lora_B.weight"), r"to_q' has lora_A and no lora_B"),
    "other half": (without(f"{KEY}.lora_A.weight"), r"to_q' has lora_B and no lora_A"),
    "rank 0": (empty, r"to_q\.lora_\w\.weight' is .*0.*, which is no matrix"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_draws_black_pictures_is_refused_by_name(fault, made, tiny_flux, tmp_path):
    change, said = FAULTS[fault]
    path = changed(made["lora"], tmp_path / "char.safetensors", change)
    family = load(tiny_flux, "flux")
    before = sample(family)
    with pytest.raises(ValueError, match=said) as caught:
        lora.stack(family, [(path, 1.0)])
    assert "char.safetensors" in str(caught.value) and "\n" not in str(caught.value)
    assert family.loras == [] and np.array_equal(sample(family), before)


def test_it_is_refused_before_a_model_is_loaded(made, tmp_path):
    path = changed(made["lora"], tmp_path / "char.safetensors", put(float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        load_family("flux-dev", "generator", loras=[f"{path}:0.8"], device="cpu")


@pytest.mark.parametrize("facts", [{"ss_network_dim": "0"}, {"ss_network_dim": "-4"}, {"ss_network_dim": "four"}])
def test_a_lokr_of_no_rank(made, tiny_flux, tmp_path, facts):
    path = changed(made["lokr"], tmp_path / "char.safetensors", lambda file: None, **facts)
    with pytest.raises(ValueError, match=r"char\.safetensors does not fit this flux: (its rank is|invalid literal)"):
        lora.stack(load(tiny_flux, "flux"), [(path, 1.0)])


def test_what_training_and_other_trainers_write_passes(made, tmp_path):
    for path in made.values():
        lora_values.check(path)
    kohya.to_kohya(made["lora"], tmp_path / "kohya.safetensors")
    lora_values.check(tmp_path / "kohya.safetensors")
    half = {name: tensor.half() for name, tensor in load_file(made["lora"]).items()}
    save_file(half, tmp_path / "half.safetensors")
    lora_values.check(tmp_path / "half.safetensors")


def test_an_export_of_half_a_lora_is_one_sentence(made, tmp_path, capsys):
    path = changed(made["lora"], tmp_path / "char.safetensors", without(f"{KEY}.lora_B.weight"))
    assert kohya.main([str(path)]) == 1
    assert "to_q' has lora_A and no lora_B" in capsys.readouterr().err
    assert not (tmp_path / "char_kohya.safetensors").exists()


def test_equal_tensors_are_equal_bytes_and_one_aligned_file(made, tmp_path):
    header = {f"fact {n}": "é" * n for n in range(40)}
    tensors = load_file(made["lora"])
    turned = dict(reversed(tensors.items())), dict(reversed(header.items()))
    first = lora_file.save_whole(tensors, tmp_path / "a.safetensors", header).read_bytes()
    assert lora_file.save_whole(*turned[:1], tmp_path / "b.safetensors", turned[1]).read_bytes() == first
    size = int.from_bytes(first[:8], "little")
    assert size % 8 == 0 and list(json.loads(first[8 : 8 + size])["__metadata__"]) == sorted(header)
    assert lora.header(tmp_path / "a.safetensors") == header
    again = load_file(tmp_path / "a.safetensors")
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_pickle_is_refused_as_one(tmp_path, tiny_flux):
    for name in ("lora.safetensors", "lora.pt"):
        torch.save({"lora_A": torch.zeros(1)}, tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name} is a pickle, which can run code and is not opened"):
            load_family(tiny_flux, device="cpu", loras=[str(tmp_path / name)])
    for content, said in ((pickle.dumps({}), "is a pickle"), (b"\x80\x02" + bytes(6), "not a whole safetensors file")):
        (tmp_path / "lora.pt").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            lora.families_of(tmp_path / "lora.pt")
