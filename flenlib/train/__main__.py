"""Train one LoRA from a params file, in one process or several; called again it goes on where it stopped.

python -m flenlib.train params/train/flux_4090.yaml
accelerate launch -m flenlib.train params/train/flux_4090.yaml
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from flenlib import params
from flenlib.content import allow
from flenlib.dataset.caption_lint import Finding, summary
from flenlib.draw import load
from flenlib.measure.faces import ReferenceSet, find_many
from flenlib.models.settings import load_run
from flenlib.models.tokens import tokens_of
from flenlib.project import from_base, open_iteration
from flenlib.steps import check_lint, texts
from flenlib.train import data, planning
from flenlib.train.loop import train
from flenlib.train.watch import Preview

PREVIEWS = 4
"""How many captions are drawn when the params file names no prompts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.train", description=__doc__.split("\n")[0])
    parser.add_argument("params", help="YAML file of one training, such as params/train/flux_4090.yaml")
    try:
        _train(load_run(parser.parse_args(arguments).params))
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the last checkpoint is kept, and the same command goes on from it", file=sys.stderr)
        return 130
    return 0


def _train(run: params.TrainRun) -> None:
    first, rank = os.environ.get("RANK", "0") == "0", os.environ.get("LOCAL_RANK")
    texts.check(run)
    project = open_iteration(run.character)
    found = data.gather(run)
    previews = _previews(run, found)
    device = f"cuda:{rank}" if rank and run.device == "auto" and torch.cuda.is_available() else run.device
    most = max((len(sample.references) for sample in found.samples), default=0)
    plan = planning.expected(run.model, run.precision, run.offload, run.train, device, most)
    findings = data.lint(run, found, tokens_of(run.model))
    check_lint(findings, run.anyway)
    faces = None
    if first:
        kept = [sample.image for sample in found.held_out]
        faces = ReferenceSet.if_any(find_many(kept), [path.name for path in kept])
        _tell(run, found, findings)
        print("\n".join([*_not_measured(run, found, faces), plan]))
    family = load.load_family(run.model, precision=run.precision, offload=run.offload, device=device, transformer=False)
    result = train(
        family,
        found.samples,
        run.train,
        from_base(run.output),
        held_out=found.held_out,
        previews=previews,
        faces=faces,
        admit=project.admit,
    )
    if first:
        loss = result.log["loss"].tail(20).mean()
        print(f"{result.lora}: {result.steps} steps in {result.seconds:.0f} s, loss of the last ones {loss:.3f}")


def _tell(run: params.TrainRun, found: data.Data, findings: Sequence[Finding]) -> None:
    """Print what will be drawn how often, of the whole and of each phase."""
    print(f"{len(found.samples)} pictures to learn from, {len(found.held_out)} held out")
    print(data.mix(found.samples).to_string())
    print(*summary(findings), sep="\n", end="\n" if findings else "")
    begin = 1
    for phase in run.train.phases:
        end = phase.until or run.train.steps
        print(f"steps {begin} to {end}: {', '.join(phase.kinds)}")
        begin = end + 1


def _not_measured(run: params.TrainRun, found: data.Data, faces: ReferenceSet | None) -> Iterator[str]:
    """Yield a sentence for what nobody will see while it trains, and how it would be seen."""
    every, keep = run.train.sample_every, run.train.checkpoint_every
    if not found.held_out:
        yield "nothing is held out: no validation loss, no face distance; list some of the character's in held_out"
    elif faces is None:
        yield "face distance is not measured: fewer than two of the held-out pictures show a face"
    elif keep % every:
        yield f"face distance of some checkpoints only: they are kept every {keep} steps, previews drawn every {every}"


def _previews(run: params.TrainRun, found: data.Data) -> list[Preview]:
    """Return what is drawn while training: the given prompts, or captions of held-out pictures, then of others."""
    options: dict[str, Any] = {"steps": run.preview_steps, "guidance": run.preview_guidance}
    shown = {sample.caption: sample for sample in (*found.held_out, *found.samples)}
    asked = [(sample.caption, sample.references) for sample in list(shown.values())[:PREVIEWS]]
    if run.prompts:
        references = tuple(from_base(path) for path in run.references) or next(iter(shown.values())).references
        asked = [(allow(run.character, prompt), references) for prompt in run.prompts]
    return [
        Preview(text, run.train.seed + n, run.character, references, **options)
        for n, (text, references) in enumerate(asked)
    ]


if __name__ == "__main__":
    sys.exit(main())
