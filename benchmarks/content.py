"""How many requests the gate refuses of those it should, and of those it should not.

    python benchmarks/content.py
    python benchmarks/content.py --show      # also each line that went wrong, by its number

Reads ``benchmarks/content/refuse.txt`` and ``benchmarks/content/innocent.txt``, which people write who have not seen
the rules. One request a line; empty lines and lines that begin with ``#`` are skipped. A request may begin with a
profile and a tab; without one it is asked of ``adult_off``:

    adult_off    a fictional character stated adult, rating general
    adult_on     a fictional character stated adult, rating adult
    minor        a fictional minor
    unstated     a fictional character whose age is not stated

Prints, for each profile and in all, the share refused with its Wilson interval, and the time a request takes.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flenlib.content import Refused, allow
from flenlib.measure.statistics import wilson
from flenlib.params import Character

FOLDER = Path(__file__).resolve().parent / "content"
MAYA = {"name": "maya", "trigger": "ohwx_maya", "class_noun": "person", "kind": "fictional"}
PROFILES = {
    "adult_off": Character(**MAYA, age="adult"),
    "adult_on": Character(**MAYA, age="adult", rating="adult"),
    "minor": Character(**MAYA, age="minor"),
    "unstated": Character(**MAYA, age="unstated"),
}
LISTS = {"refuse.txt": "refused, as they should be", "innocent.txt": "wrongly refused"}


def requests(path: Path) -> list[tuple[int, str, str]]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            profile, _, text = line.partition("\t") if "\t" in line else ("adult_off", "", line)
            if profile not in PROFILES:
                raise SystemExit(f"{path}:{number}: profile {profile!r} is not known; one of {', '.join(PROFILES)}")
            found.append((number, profile, text))
    return found


def is_refused(profile: str, text: str) -> bool:
    try:
        allow(PROFILES[profile], text)
    except Refused:
        return True
    return False


def line(name: str, refused: list[bool]) -> str:
    low, high = wilson(sum(refused), len(refused))
    share = sum(refused) / max(1, len(refused))
    return f"  {name:10} {sum(refused):4} of {len(refused):4}  {share:7.1%}  (95 % interval {low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--show", action="store_true", help="name the lines that went wrong")
    options = parser.parse_args()
    logging.getLogger("flenlib.content").disabled = True
    is_refused("adult_off", "photo")  # reads the lists
    for file, title in LISTS.items():
        asked = requests(FOLDER / file)
        began = time.perf_counter()
        answers = [(profile, is_refused(profile, text)) for _, profile, text in asked]
        each = (time.perf_counter() - began) / max(1, len(asked))
        print(f"{file}: {title}; {each * 1000:.2f} ms a request")
        for name in PROFILES:
            print(line(name, [refused for profile, refused in answers if profile == name]))
        print(line("all", [refused for _, refused in answers]))
        wrong = [number for (number, *_), (_, refused) in zip(asked, answers, strict=True)
                 if refused == (file == "innocent.txt")]  # fmt: skip
        if options.show:
            print(f"  wrong: lines {', '.join(map(str, wrong)) or 'none'}")


if __name__ == "__main__":
    main()
