"""The recipe of the shipped mini pipelines, stage by stage; every stage continues where it stopped.

    python -m flenlib.mini.build --stage corpus --groups 700 --singles 2000
    python -m flenlib.mini.build --stage ae-flux --minutes 40      (and ae-qwen beside it, one core each)
    python -m flenlib.mini.build --stage latents
    python -m flenlib.mini.build --stage flux --minutes 50         (and edit beside it)
    python -m flenlib.mini.build --stage assemble                  (any time: ships the latest checkpoints)

Each stage keeps its work in ``--data``; ``assemble`` writes the two pipeline folders into ``--weights``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

from flenlib.mini import autoencoders
from flenlib.mini.architecture import SIZES, flux_pipeline, qwen_edit_pipeline, save_pipeline
from flenlib.mini.corpus import draw_corpus, load_corpus
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import Scene, render_many
from flenlib.mini.training import DEVICE, load_average

STAGES = ("corpus", "ae-flux", "ae-qwen", "latents", "flux", "edit", "assemble")
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
    from flenlib.mini import pretrain

    pipeline = new_pipeline(family, size)
    codec = autoencoders.Codec(new_pipeline(family, size).vae)
    load_average(codec, data / f"ae_{family}.pt")
    statistics = torch.load(data / f"latents_{family}.pt", mmap=True, weights_only=True)
    autoencoders.write_back(codec, statistics["mean"], statistics["std"], pipeline.vae)
    load_average(pretrain.learner(pipeline), data / f"{family}.pt")
    return pipeline


def run_stage(stage: str, arguments: argparse.Namespace) -> None:
    """Run one stage with the command line's arguments."""
    from flenlib.mini import pretrain

    data, size = arguments.data, arguments.size
    resolution = SIZES[size].resolution
    if stage == "corpus":
        made = draw_corpus(data, arguments.groups, arguments.singles, size=resolution, first=arguments.first)
        print(f"wrote {made}")
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
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--data", type=Path, default=Path("data/mini_build"), help="work folder, git-ignored")
    parser.add_argument(
        "--weights", type=Path, default=Path(__file__).parent / "weights", help="where assemble ships to"
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="mini")
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--minutes", type=float, default=30.0, help="wall-clock length of a training")
    parser.add_argument("--max-steps", type=int, default=None, help="stop a training after this many steps")
    parser.add_argument("--groups", type=int, default=700, help="corpus: people drawn nine times, for edits")
    parser.add_argument("--singles", type=int, default=2000, help="corpus: people drawn once")
    parser.add_argument("--first", type=int, default=0, help="corpus: seed of the first person of this file")
    parser.add_argument(
        "--decoder-only", action="store_true", help="autoencoders: keep the encoder, and so the latents"
    )
    parser.add_argument("--threads", type=int, default=None, help="threads of torch; 1 when two stages share two cores")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run_stage(arguments.stage, arguments)


if __name__ == "__main__":
    main()
