"""A storm of kills over all steps of an iteration: each attempt is killed at a random moment, and the next goes on.

    python -m tests.flow.storm FOLDER --seed 7            # the small iteration of `make test`, and the same kills again
    python -m tests.flow.storm FOLDER --seed 7 --seconds 300 --whole

A moment is so many writes and so many calls after an attempt began, so that a seed names the same moments again. A
write is opening a file of the project to write, renaming, linking or removing one, or making a folder: what lies on
the disk changes only there and in the calls right after. Attempts are forked from a process that has loaded everything
once, so that a kill costs no start of Python. The clock stands still, so that equal pictures are equal files.
"""

import argparse
import gc
import importlib
import itertools
import json
import os
import random
import re
import signal
import sys
import threading
import time
import traceback
from datetime import datetime
from pathlib import Path

from PIL import Image

from flenlib.dataset.images import sha256
from flenlib.dataset.journal import Journal
from flenlib.draw.load import load_family
from flenlib.flow import WHEEL
from flenlib.flow.run import call
from flenlib.measure.faces import find_faces
from flenlib.mini.architecture import new_flux, new_qwen_edit
from flenlib.models.settings import iteration
from flenlib.project import Project
from tests.studio import write_raw

WRITES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}
"""What Python reports (https://docs.python.org/3/library/audit_events.html) of changes to a disk, beside opening."""

TO_GO_ON = {".lock", "state.pt", "SHA256SUMS"}
"""Files that are only kept to go on; TensorBoard's, which hold times, are not compared either."""

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


def settings(folder, whole):
    """Return the settings of an iteration of both wheels, and make what it needs in a folder.

    The ``whole`` one is drawn by the shipped models, so that faces are measured and pictures picked; the other one has
    half the pictures, and tiny models that draw noise.
    """
    pictures = sorted(write_raw(folder / "pictures").iterdir())
    models, drawn, count = {}, {"steps": 2, "guidance": 1.0}, 2
    if not whole:
        for path in pictures[6:]:
            path.unlink()
        models = {"generator": str(new_flux(folder / "flux", size="tiny"))}
        models |= {"editor": str(new_qwen_edit(folder / "qwen", size="tiny"))}
        drawn, count = {"steps": 1, "guidance": 1.0}, 1
    train = {"steps": 2 * count, "batch_size": 1, "warmup": 1, "checkpoint_every": count, "sample_every": 2, "rank": 2}
    return iteration(
        character=CHARACTER,
        anyway=True,
        models=models | {"precision": "fp32"},
        curate={"folder": str(folder / "pictures"), "minimum_size": 64},
        enrich=drawn | {"edits_per_source": count, "tries": count},
        review_enriched={"reviewer": "auto"},
        train=train,
        generate=drawn | {"prompts": 3 * count, "seeds_per_prompt": 1},
        filter={"threshold": 0.6},
        review_synthetic={"reviewer": "auto", "select": 2},
        retrain=train,
        card=drawn | {"seeds_per_cell": 1},
        corrections={"hand": "renderer", "labels": ["needs_correction", "reject"], "minimum": 1,
                     "positive_share": 0.5, "held_out_share": 0.3, "export": ["diffsynth"]},
        train_editor=train | {"sampling_steps": 1, "guidance": 1.0},
        compare_editors=drawn | {"edits_per_source": 1, "adopt": "ours"},
    )  # fmt: skip


class Noon(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 1, 12, tzinfo=tz)


def prepare(settings):
    """Import and load once what every attempt would, and stop the clock."""
    for step in WHEEL.steps:
        importlib.import_module(step.module)
    for role in ("generator", "editor"):
        load_family(getattr(settings.models, role), role, device="cpu").free()
    find_faces(Image.new("RGB", (64, 64)))
    for name, module in list(sys.modules.items()):
        if name.startswith("flenlib.") and getattr(module, "datetime", None) is datetime:
            module.datetime = Noon
    gc.freeze()  # what is there for good need not be looked through in every child


def attempt(settings, root, writes=0, calls=0):
    """Start all steps in a child process, to be killed at a moment unless ``writes`` is 0; return its id."""
    root.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    try:
        said = os.open(root.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if writes:
            _kill_after(root, writes, calls)
        for step in WHEEL.steps:
            call(Project(root, settings.character, "v1"), step, settings)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def done(child, root):
    """Wait for an attempt and say whether it came to its end; one that failed is a RuntimeError."""
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise RuntimeError(f"an attempt failed in {root}:\n{root.with_suffix('.txt').read_text()[-3000:]}")
    return status == 0


def _kill_after(root, writes, calls):
    """Have this process killed so many calls after its n-th write in a folder."""
    begin, inside, seen, later = threading.get_ident(), f"{root}{os.sep}", itertools.count(1), itertools.count()

    def die(*_):
        if next(later) >= calls:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event, given):
        write = event in WRITES or (event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR))
        if not write or threading.get_ident() != begin or not str(given[0]).startswith(inside):
            return
        if next(seen) == writes:
            sys.setprofile(die)

    sys.addaudithook(hear)


def storm(settings, root, seed, every):
    """Run all steps, killed every so many writes on average, until they are done; return how many kills it took."""
    moments, kills = random.Random(seed), 0
    while not done(attempt(settings, root, 1 + int(moments.expovariate(1 / every)), moments.randrange(60)), root):
        kills += 1
    return kills


def state(root):
    """Return what an iteration came to, by file: without seconds, memory, stamps, and what is only kept to go on."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "tensorboard" not in path.parts]
    found = {path.relative_to(root).as_posix(): _content(path) for path in files if path.name not in TO_GO_ON}
    return json.loads(json.dumps(found, default=str).replace(str(root), "ROOT"))


def _content(path):
    if path.name == "journal.jsonl":
        return [vars(decision) for decision in Journal(path).decisions().values()]
    if path.name.endswith(".run.json"):
        said = re.sub(r" in \d+ s\b", "", path.read_text())  # of "4 steps done: 4 in 1 s"
        return {name: json.loads(said)[name] for name in ("results", "criteria", "models")}
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.name == "log.csv":
        return [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    return sha256(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0, help="further storms begin until then, by the next seeds")
    parser.add_argument("--every", type=int, default=250, help="writes between two kills, on average")
    parser.add_argument("--whole", action="store_true", help="the shipped models instead of tiny ones")
    given, until = parser.parse_args(), time.monotonic()
    until += given.seconds
    told = settings(given.folder, given.whole)
    prepare(told)
    calm = given.folder / "calm"
    undisturbed = attempt(told, calm)  # beside the first storm
    for seed in itertools.count(given.seed):
        print(f"seed {seed}", flush=True)
        root = given.folder / f"storm_{seed}"
        kills = storm(told, root, seed, given.every)
        if seed == given.seed:
            done(undisturbed, calm)
            wanted = state(calm)
        found = state(root)
        other = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
        print(f"{kills} kills, {len(wanted)} files, of which differ: {other}", flush=True)
        if other or time.monotonic() > until:
            return 1 if other or not kills else 0


if __name__ == "__main__":
    sys.exit(main())
