"""Say what a params file will take before anything is downloaded: seconds, GiB, hours, and money by GPU.

python -m flenlib.predict params/example_4090/v1.yaml                       # an iteration of both wheels
python -m flenlib.predict params/train/flux_4090.yaml --gpu "L40S 48 GB"    # one training, on another GPU
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flenlib.models import settings
from flenlib.params import TrainRun
from flenlib.project import open_iteration
from flenlib.steps import record
from flenlib.wheel import hours, recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.predict", description=__doc__.split("\n")[0])
    parser.add_argument("params", help="YAML file of an iteration, or of one training")
    parser.add_argument("--gpu", help='a GPU by name, such as "L40S 48 GB"; without it this machine\'s')
    options = parser.parse_args(arguments)
    record.show_whole_tables()
    try:
        _tell(options.params, options.gpu)
    except (RuntimeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _tell(path: str, gpu: str | None) -> None:
    asked = settings.load_any(path)
    if isinstance(asked, TrainRun):
        found = hours.look_at_run(asked, gpu)
    else:
        found = hours.look(asked, open_iteration(asked.character, asked.iteration), gpu)
    print(found.table().to_string())
    print(f"\n{found.sentence()}\n")
    print(found.cost_table().to_string())
    if isinstance(asked, TrainRun):
        print(f"\n{recipe.sentence(asked)}")
    else:
        print(f"\n{found.seeds_table().to_string()}")


if __name__ == "__main__":
    sys.exit(main())
