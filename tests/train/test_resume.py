"""Killed at any moment and called again, a run ends in the bits of one that was not; a full disk halves nothing."""

import json
import os
import random
import signal
import subprocess
import sys

import pytest
import torch

from flenlib.content import Allowed
from flenlib.params import Train
from flenlib.train import checkpoints
from flenlib.train.loop import Preview, train
from tests.train.common import CHARACTER, bits, draw, open_flux

SETTINGS = Train(
    steps=12, batch_size=2, accumulate=2, rank=2, alpha=4, warmup=2, schedule="cosine", learning_rate=1.0,
    optimizer="prodigy", ema=0.9, caption_dropout=0.3, checkpoint_every=3, sample_every=4, validate_every=4,
    resolution=[32, 64], phases=[{"kinds": ["head"], "until": 5}, {"kinds": ["head", "body"]}],
)  # fmt: skip
PREVIEWS = [Preview(Allowed("photo of ohwx person"), 3, CHARACTER, steps=1)]

RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
given = json.loads(sys.argv[1])
torch.set_num_threads(given["threads"])
from flenlib.content import Allowed
from flenlib.models.families.flux import Flux
from flenlib.params import Train
from flenlib.train import checkpoints
from flenlib.train.loop import Preview, Sample, train
from tests.train.common import CHARACTER

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def tell(kind, facts):
    if given["kill"] == [kind, facts.get("step")]:
        die()

if given["kill"][0] == "saving":  # after the LoRA and the state are written, before they count
    checkpoints._flush = lambda path: die()
if given["room"]:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["room"], given["room"]))
family = Flux.load(given["model"], precision="fp32", device="cpu", transformer=False)
samples = [Sample(Path(p), Allowed(caption), repeats, kind=kind) for p, caption, repeats, kind in given["samples"]]
previews = [Preview(Allowed("photo of ohwx person"), 3, CHARACTER, steps=1)]
watched = {"held_out": samples[:1], "previews": previews}
train(family, samples[1:], Train(**given["settings"]), given["folder"], on_event=tell, **watched)
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("pictures"), 6, sizes=((64, 64), (64, 96)), kinds=("head", "head", "body"))


def run(model, samples, settings, folder, kill=("", 0), room=0):
    given = {
        "model": str(model), "folder": str(folder), "threads": torch.get_num_threads(), "kill": kill, "room": room,
        "settings": settings.model_dump(), "samples": [[str(s.image), s.caption, s.repeats, s.kind] for s in samples],
    }  # fmt: skip
    command = [sys.executable, "-c", RUN, json.dumps(given)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def finish(tiny_flux, samples, folder):
    return train(open_flux(tiny_flux), samples[1:], SETTINGS, folder, held_out=samples[:1], previews=PREVIEWS)


def test_killed_at_random_steps_and_while_saving_equals_unbroken(tiny_flux, samples, tmp_path):
    """Prodigy, an average, two sizes, two phases, accumulation and dropout at once."""
    whole = finish(tiny_flux, samples, tmp_path / "whole" / "lora")
    first, second = sorted(random.Random(5).sample(range(2, 12), 2))
    folder = tmp_path / "killed" / "lora"
    for kill in (("step", first), ("saving", 0), ("step", second)):
        ended = run(tiny_flux, samples, SETTINGS, folder, kill)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    result = finish(tiny_flux, samples, folder)
    assert result.resumed_from == checkpoints.latest(folder) - SETTINGS.steps + (second // 3) * 3
    assert bits(result.lora) == bits(whole.lora)
    assert result.log.drop(columns="seconds").equals(whole.log.drop(columns="seconds"))
    assert result.watched.equals(whole.watched) and whole.watched["step"].tolist() == [0, 4, 8, 12]
    assert not list(folder.glob("checkpoints/*.partial"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(tiny_flux, samples, tmp_path):
    """A limit on the size of a file makes the write of a checkpoint fail as a full disk does."""
    folder = tmp_path / "lora"
    settings = SETTINGS.model_copy(update={"rank": 32, "sample_every": 100, "validate_every": 100})
    train(open_flux(tiny_flux), samples[1:], settings, folder, stop_after=1, previews=PREVIEWS, held_out=samples[:1])
    ended = run(tiny_flux, samples, settings, folder, room=300_000)
    assert ended.returncode == 1
    assert "RuntimeError: the checkpoint of step 3 could not be written to" in ended.stderr.splitlines()[-1]
    assert "make room and call again" in ended.stderr.splitlines()[-1]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_000001"]
    done = train(open_flux(tiny_flux), samples[1:], settings, folder, held_out=samples[:1], previews=PREVIEWS)
    assert done.resumed_from == 1 and done.steps == 12
