"""Look at the settings of a params file, with what its models add to it.

python -m flenlib.params show params/example_4090/v1.yaml    # every setting, and where it comes from
python -m flenlib.params whole params/mini/v2.yaml           # one file that needs no other, for plain papermill
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import yaml

from flenlib.models import settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.params", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help in (("show", "print every effective setting and where it comes from"),
                       ("whole", "print the effective settings as one YAML file that extends no other")):  # fmt: skip
        commands.add_parser(name, help=help).add_argument("params")
    options = parser.parse_args(arguments)
    try:
        print(_table(options.params) if options.command == "show" else _whole(options.params), end="")
    except (RuntimeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _table(path: str) -> str:
    rows = [(name, _text(value), source) for name, value, source in settings.explain(path)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}\n" for name, value, source in rows)


def _text(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)


def _whole(path: str) -> str:
    return yaml.safe_dump(settings.load_iteration(path).model_dump(), sort_keys=False)


if __name__ == "__main__":
    sys.exit(main())
