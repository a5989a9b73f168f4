"""One training beside what the process documents say of theirs: 34,000 steps in 4 to 6 hours on an L40S."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from flenlib.models import registry
from flenlib.params import TrainRun
from flenlib.predict.gpus import GPUS
from flenlib.wheel import hours, work
from flenlib.wheel.work import Learn

SEEDS = (4.0, 6.0)
"""The hours the process documents give for a training on `hours.SEEDS_GPU`."""


def sentence(run: TrainRun) -> str:
    """Return how long a training is on the process documents' GPU, and how many micro-steps their hours are enough for.

    Of a model that edits it says both: with the reference picture it was published for, and without one.
    """
    model, gpu = registry.resolve(run.model), GPUS[hours.SEEDS_GPU]
    if model.small:
        return f"{run.model} is small: it trains on any machine"
    first = work.of_run(run)[0]
    count, how = first.count, cast(Learn, first.how)
    said = [f"the process documents give {SEEDS[0]:.0f} to {SEEDS[1]:.0f} h for a training on an {gpu.name}"]
    for references in dict.fromkeys([model.family.references, 0]):
        seconds, gib = hours.predicted(replace(how, references=references), gpu)
        with_it = f"with {references} reference" if references else "without a reference"
        if gib > gpu.gib:
            said.append(f"{with_it} this one needs {gib:.1f} GiB of the {gpu.gib:.0f}")
            continue
        low, high = (hour * 3600 / seconds for hour in SEEDS)
        said.append(
            f"{with_it} these {count:,} micro-steps of {seconds:.2g} s are {count * seconds / 3600:.1f} h, and "
            f"{low:,.0f} to {high:,.0f} micro-steps fit their time"
        )
    return "; ".join(said)
