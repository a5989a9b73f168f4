"""Two processes that share each batch make what one makes, up to rounding."""

import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from flenlib.train import __main__ as program
from tests.train.common import kohya, picture


def launch(*arguments):
    """Start a program in two processes as ``accelerate launch`` does on two GPUs: by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("family", ["flux", pytest.param("qwen_edit", marks=pytest.mark.slow)])
def test_two_processes_make_what_one_makes(request, tmp_path, family):
    """Also for Qwen, whose last text stream is never read: LoRA layers on it have no gradient."""
    kohya(tmp_path / "data", head=2, body=1)
    values = {
        "character": {"name": "maya", "trigger": "ohwx", "kind": "fictional", "age": "adult"},
        "model": str(request.getfixturevalue(f"tiny_{family}")), "device": "cpu", "data": [str(tmp_path / "data")],
        "references": [str(picture(tmp_path / "reference.png", 5))] if family == "qwen_edit" else [],
        "preview_steps": 1, "prompts": ["photo of ohwx person"],
        "train": {"steps": 3, "batch_size": 4, "accumulate": 2, "rank": 4, "warmup": 0, "learning_rate": 1e-2,
                  "ema": 0.5, "checkpoint_every": 2, "sample_every": 3},
    }  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values | {"output": str(tmp_path / name / "lora")}))
    assert program.main([str(tmp_path / "one.yaml")]) == 0
    said = launch("-m", "flenlib.train", tmp_path / "two.yaml")
    assert said.count("4 pictures to learn from") == said.count("3 steps in") == 1, "only the first process speaks"
    one, two = (load_file(tmp_path / name / "lora" / "lora.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    moved = [tensor.abs().max() for name, tensor in one.items() if "lora_B" in name]
    assert max(moved) > 1e-3
    logs = [(tmp_path / name / "lora" / "log.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 4


STARTED = """
from types import SimpleNamespace
import torch
from flenlib.train import processes
family = SimpleNamespace(device="cpu", dtype=torch.float32)
assert processes.start(family, batch_size=2).num_processes == 2
group = torch.distributed.distributed_c10d._get_default_group()
assert group._get_backend(torch.device("cpu")).options._timeout == processes.PATIENCE
try:
    processes.start(family, batch_size=1)
except ValueError as error:
    print(error)
"""


def test_processes_wait_long_and_none_is_without_work(tmp_path):
    (tmp_path / "started.py").write_text(STARTED)
    assert launch(tmp_path / "started.py").count("set batch_size to 2 (and accumulate lower)") == 2
