"""Two processes that share each batch make what one makes, up to rounding."""

import os
import socket
import subprocess
import sys

import torch
import yaml
from safetensors.torch import load_file

from flenlib.train import __main__ as program
from tests.train.common import kohya


def launch(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    ended = subprocess.run(
        [*command, "-m", "flenlib.train", str(path)], capture_output=True, text=True, check=False, timeout=900,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_two_processes_make_what_one_makes(tiny_flux, tmp_path):
    kohya(tmp_path / "data", head=2, body=1)
    told = {
        "character": {"name": "maya", "trigger": "ohwx", "kind": "fictional"},
        "model": str(tiny_flux), "device": "cpu", "data": [str(tmp_path / "data")],
        "preview_steps": 1, "prompts": ["photo of ohwx person"],
        "train": {"steps": 5, "batch_size": 4, "accumulate": 2, "rank": 4, "warmup": 0, "learning_rate": 1e-2,
                  "ema": 0.5, "checkpoint_every": 2, "sample_every": 5},
    }  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(told | {"output": str(tmp_path / name / "lora")}))
    assert program.main([str(tmp_path / "one.yaml")]) == 0
    said = launch(tmp_path / "two.yaml")
    assert said.count("4 pictures to learn from") == said.count("5 steps in") == 1, "only the first process speaks"
    one, two = (load_file(tmp_path / name / "lora" / "lora.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)
    moved = [tensor.abs().max() for name, tensor in one.items() if "lora_B" in name]
    assert max(moved) > 1e-3
    logs = [(tmp_path / name / "lora" / "log.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 6
