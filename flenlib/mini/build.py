"""The recipe of the shipped mini pipelines, stage by stage; every stage continues where it stopped.

    python -m flenlib.mini.build                                   (all stages; 170 minutes of training)
    python -m flenlib.mini.build --stage unpack                    (checkpoints of the shipped weights, to carry on)
    python -m flenlib.mini.build --stage corpus --groups 700 --singles 2500
    python -m flenlib.mini.build --stage ae-flux --minutes 60      (and ae-qwen beside it, one core each)
    python -m flenlib.mini.build --stage latents
    python -m flenlib.mini.build --stage flux --minutes 110        (and edit beside it)
    python -m flenlib.mini.build --stage assemble                  (any time: ships the latest checkpoints)

Each stage keeps its work in ``--data``; ``assemble`` writes the two pipeline folders into ``--weights``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, FluxPipeline, QwenImageEditPlusPipeline

from flenlib.mini import autoencoders, pretrain
from flenlib.mini.architecture import SIZES, flux_pipeline, qwen_edit_pipeline, save_pipeline
from flenlib.mini.corpus import draw_corpus, load_corpus
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import Scene, render_many
from flenlib.mini.training import DEVICE, load_average
from flenlib.models.families.qwen_processor import load_processor

STAGES = ("corpus", "unpack", "ae-flux", "ae-qwen", "latents", "flux", "edit", "assemble")
BUDGETS = {"ae-flux": 60.0, "ae-qwen": 60.0, "flux": 110.0, "edit": 110.0}
"""Minutes of each training when all stages are run."""
CHECKPOINTS = {"ae-flux": "ae_flux.pt", "ae-qwen": "ae_qwen.pt", "flux": "flux.pt", "edit": "qwen.pt"}
FAMILIES = {"flux": "mini-flux", "qwen": "mini-qwen-edit"}


def new_pipeline(family: str, size: str) -> DiffusionPipeline:
    """Return a pipeline with the same random weights every time; ``family`` is ``flux`` or ``qwen``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return flux_pipeline(size) if family == "flux" else qwen_edit_pipeline(size)


def held_out_pictures(size: int, count: int = 24) -> np.ndarray:
    """Return frontal and half views of people who are in no training, uint8 (count, size, size, 3)."""
    angles = ("front", "half-left", "front", "half-right")
    jobs = [
        (person(TRAINING_SEEDS.stop + n), Scene(angle=angles[n % 4], light="daylight" if n % 2 else "studio", seed=n))
        for n in range(count)
    ]
    return render_many(jobs, size, workers=1)


def train_autoencoder(
    data: Path, family: str, size: str, minutes: float, decoder_only: bool, max_steps: int | None
) -> None:
    """Train one autoencoder on the corpus in ``data``."""
    corpus = load_corpus(data)
    vae = new_pipeline(family, size).vae
    held_out = held_out_pictures(SIZES[size].resolution)
    autoencoders.train(
        vae,
        corpus.pictures,
        corpus.boxes,
        held_out,
        data / f"ae_{family}.pt",
        minutes=minutes,
        decoder_only=decoder_only,
        max_steps=max_steps,
    )


def encode_corpus(data: Path, family: str, size: str) -> None:
    """Encode every picture and its mirror image once; keeps the latents and their mean and deviation per channel."""
    codec = autoencoders.Codec(new_pipeline(family, size).vae).to(DEVICE).eval()
    load_average(codec, data / f"ae_{family}.pt")
    pictures = load_corpus(data).pictures
    latents = torch.stack([autoencoders.encode_all(codec, view) for view in (pictures, pictures[:, :, ::-1].copy())])
    mean = latents.mean(dim=(0, 1, 3, 4))
    std = latents.std(dim=(0, 1, 3, 4))
    if family == "flux":
        mean, std = torch.zeros_like(mean), latents.square().mean(dim=(0, 1, 3, 4)).sqrt()
    shape = (1, 1, -1, 1, 1)
    normal = ((latents - mean.view(shape)) / std.view(shape)).to(torch.float16)
    torch.save({"latents": normal, "mean": mean, "std": std}, data / f"latents_{family}.pt")
    print(f"{family}: {tuple(normal.shape)} latents, deviation {std.min():.2f} to {std.max():.2f}")


def assemble(data: Path, family: str, size: str) -> DiffusionPipeline:
    """Return the pipeline with the averaged weights of the latest checkpoints in ``data``."""
    pipeline = new_pipeline(family, size)
    codec = autoencoders.Codec(new_pipeline(family, size).vae)
    load_average(codec, data / f"ae_{family}.pt")
    statistics = torch.load(data / f"latents_{family}.pt", mmap=True, weights_only=True)
    autoencoders.write_back(codec, statistics["mean"], statistics["std"], pipeline.vae)
    load_average(pretrain.learner(pipeline), data / f"{family}.pt")
    return pipeline


def unpack(data: Path, weights: Path, family: str) -> None:
    """Write checkpoints of shipped weights into ``data``, from which every training continues with fresh optimizers.

    Encode a corpus with the ``latents`` stage afterwards. Raises FileExistsError rather than overwrite a checkpoint.
    """
    folder = weights / FAMILIES[family]
    parts = {} if family == "flux" else {"processor": load_processor(folder / "processor")}
    kind = FluxPipeline if family == "flux" else QwenImageEditPlusPipeline
    shipped = kind.from_pretrained(folder, torch_dtype=torch.float32, **parts)
    models = {f"{family}.pt": pretrain.learner(shipped), f"ae_{family}.pt": autoencoders.Codec(shipped.vae)}
    data.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        if (data / name).exists():
            raise FileExistsError(f"{data / name} is there already; give another --data to start from shipped weights")
        state = model.state_dict()
        torch.save({"model": state, "average": state, "optimizers": [], "steps": 0, "seconds": 0.0}, data / name)


def run_all(arguments: argparse.Namespace) -> None:
    """Run every stage in order; each training gets what is left of its minutes, two side by side without a GPU."""
    data = arguments.data
    if not list(data.glob("corpus_*.npz")):
        run_stage("corpus", arguments)
    _train_pair(("ae-flux", "ae-qwen"), arguments)
    if not all((data / f"latents_{family}.pt").is_file() for family in FAMILIES):
        run_stage("latents", arguments)
    _train_pair(("flux", "edit"), arguments)
    run_stage("assemble", arguments)


def _train_pair(stages: tuple[str, str], arguments: argparse.Namespace) -> None:
    running = []
    for stage in stages:
        path = arguments.data / CHECKPOINTS[stage]
        spent = torch.load(path, mmap=True, weights_only=True)["seconds"] / 60 if path.is_file() else 0.0
        if BUDGETS[stage] - spent < 1:
            continue
        command = [
            sys.executable,
            "-m",
            "flenlib.mini.build",
            "--stage",
            stage,
            "--minutes",
            f"{BUDGETS[stage] - spent}",
        ]
        command += ["--data", str(arguments.data), "--size", arguments.size, "--threads", "1"]
        if arguments.max_steps is not None:
            command += ["--max-steps", str(arguments.max_steps)]
        running.append(subprocess.Popen(command))
        if DEVICE != "cpu":
            running[-1].wait()
    if any(process.wait() for process in running):
        raise RuntimeError(f"a training of {' and '.join(stages)} failed; run again to go on from its checkpoint")


def run_stage(stage: str, arguments: argparse.Namespace) -> None:
    """Run one stage with the command line's arguments."""
    data, size = arguments.data, arguments.size
    resolution = SIZES[size].resolution
    if stage == "corpus":
        made = draw_corpus(data, arguments.groups, arguments.singles, size=resolution, first=arguments.first)
        print(f"wrote {made}")
    elif stage == "unpack":
        for family in arguments.families:
            unpack(data, arguments.weights, family)
    elif stage.startswith("ae-"):
        train_autoencoder(
            data, stage.removeprefix("ae-"), size, arguments.minutes, arguments.decoder_only, arguments.max_steps
        )
    elif stage == "latents":
        for family in arguments.families:
            encode_corpus(data, family, size)
    elif stage == "assemble":
        for family in arguments.families:
            folder = arguments.weights / FAMILIES[family]
            save_pipeline(assemble(data, family, size), folder, size)
            print(f"wrote {folder}")
    else:
        family = "flux" if stage == "flux" else "qwen"
        pretrain.train(
            new_pipeline(family, size), data, family, minutes=arguments.minutes, max_steps=arguments.max_steps
        )


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, default=None, help="one stage; all of them without it")
    parser.add_argument("--data", type=Path, default=Path("data/mini_build"), help="work folder, git-ignored")
    parser.add_argument(
        "--weights", type=Path, default=Path(__file__).parent / "weights", help="where assemble ships to"
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="mini")
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--minutes", type=float, default=30.0, help="wall-clock length of a training")
    parser.add_argument("--max-steps", type=int, default=None, help="stop a training after this many steps")
    parser.add_argument("--groups", type=int, default=700, help="corpus: people drawn ten times, for edits")
    parser.add_argument("--singles", type=int, default=2500, help="corpus: people drawn once")
    parser.add_argument("--first", type=int, default=0, help="corpus: seed of the first person of this file")
    parser.add_argument(
        "--decoder-only", action="store_true", help="autoencoders: keep the encoder, and so the latents"
    )
    parser.add_argument("--threads", type=int, default=None, help="threads of torch; 1 when two stages share two cores")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.stage is None:
        run_all(arguments)
    else:
        run_stage(arguments.stage, arguments)


if __name__ == "__main__":
    main()
