"""The benchmark at real size runs here on the same architectures with few blocks and heads."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flenlib.models.registry import FAMILIES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "full_size.py"


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=pytest.mark.slow), "int8", "nf4"])
@pytest.mark.parametrize("name, layers", [("flux", (1, 1)), ("qwen_image", (1,)), ("qwen_edit", (1,))])
def test_a_few_steps_of_a_small_one(name, layers, precision):
    bench = runpy.run_path(str(SCRIPT))
    small = {"layers": layers, "heads": 2, "reference": 64}
    found = bench["measure"](name, (64, 96), precision, torch.device("cpu"), steps=1, **small)
    assert min(found.seconds, found.drawing, found.built) > 0 and 0 < found.loss < 100 and found.peak >= found.built


@pytest.mark.parametrize("precision, kinds", [("int8", {"Linear8bit"}), ("nf4", {"Linear4bit", "Linear8bit"})])
def test_layers_are_quantised_as_the_kit_does(precision, kinds):
    model = runpy.run_path(str(SCRIPT))["build"]("qwen_edit", precision, torch.device("cpu"), (1,), 2)
    made = {type(m).__name__ for m in model.transformer_blocks.modules() if isinstance(m, torch.nn.Linear)}
    assert made == kinds and type(model.proj_out) is torch.nn.Linear
    assert not any(p.is_meta for p in model.parameters())


def test_a_cap_counts_what_cuda_takes():
    share = runpy.run_path(str(SCRIPT))["share"]
    assert share(24, 80 * 2**30, 2**30) == 23 / 80 and share(24, 16 * 2**30, 2**30) == 1
    with pytest.raises(ValueError, match=r"--cap is 1 GiB and 2\.0 are in use already"):
        share(1, 80 * 2**30, 2 * 2**30)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2 and "needs a CUDA GPU" in done.stdout and len(done.stdout.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_published_transformers_train_and_draw_on_a_processor(name):
    """Some 10 to 30 minutes a family, and 8 to 15 GiB of RAM."""
    asked = ["--device", "cpu", "--precisions", "nf4", "--size", "256", "--families", name]
    done = subprocess.run([sys.executable, SCRIPT, *asked], capture_output=True, text=True, check=True)
    built, peak, _, _, loss = map(float, done.stdout.split()[-5:])
    assert built <= peak < 20 and 0 < loss < 100


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_row_on_a_card():
    bench = runpy.run_path(str(SCRIPT))
    device = torch.device("cuda", 0)
    line = bench["row"]("flux", (512, 768), "nf4", device, 3, bench["product_rate"](device))
    assert line["s/step"] == "out of memory" or line["peak GiB"] > 5
