"""What records cost at 1,000, 10,000 and 100,000 pictures, and the exponent of each cost: 1 is linear, 0 a constant.

    python benchmarks/records.py
    python benchmarks/records.py --sizes 1000 10000 --repeats 3

Prints the processor's seconds, the least of ``--repeats``, for each size, and the exponent fitted by least squares to
their logarithms. What other programs use is not in them, nor the waiting for the disk: a kept picture, an append and a
label wait for one fsync each. Python's garbage collector is off meanwhile, as in the module `timeit`: its passes over
all objects come at a size of its own choosing, and cost up to half as much again at 100,000. The pictures of *label*
and *desk* are files of a few bytes; *sheet* draws one small picture as often as it shows one.

add: records are made and added; put: they are made and put again; save and open: ``metadata.json``; keep: 200 pictures
kept one by one by a dataset of that size; lineage: of every picture; label: a policy labels all and the folders are
made; append: 200 decisions appended to a journal of that many lines; sheet: the first page of a contact sheet of all;
desk: a review is opened and its order found; decide: 200 decisions in a review of that size with as many labels.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from os import devnull
from pathlib import Path

import numpy as np
from PIL import Image

from flenlib.dataset.images import contact_sheet
from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.records import Dataset, ImageRecord, lineage
from flenlib.params import Review
from flenlib.review.desk import Desk
from flenlib.review.order import View
from flenlib.wheel import labels

ONE_BY_ONE = 200


def records(count: int) -> Iterator[ImageRecord]:
    """Yield records as step 1.2 makes them, five edits of each picture of the set ``source``."""
    for number in range(count):
        yield ImageRecord(
            f"{number:06d}.png", f"{number:064x}", "photo of ohwx_char person, front view", "front", "neutral", "high",
            "edit", 1, f"s{number // 5:063x}", "Change background to forest, keep person identical", number,
            {"name": "mini", "hash": "0" * 64}, {"face_distance": number % 97 / 100, "threshold": 0.5},
            attributes={"edit": "background", "edit_value": "forest", "angle": "front"},
        )  # fmt: skip


def made(folder: Path, count: int) -> Dataset:
    dataset = Dataset.open(folder, create=True)
    dataset.images = list(records(count))
    dataset.save()
    return dataset


def with_pictures(folder: Path, count: int) -> Dataset:
    """Make a dataset whose pictures are files of a few bytes; their hashes are read from them."""
    dataset = Dataset.open(folder, create=True)
    for record in records(count):
        (folder / record.filename).write_bytes(record.filename.encode())
        record.sha256 = ""
        dataset.add(record)
    dataset.save()
    return dataset


def policy(record: ImageRecord) -> tuple[str, tuple[str, ...]]:
    return ("good", ()) if record.measurements["face_distance"] < 0.5 else ("reject", ("identity drift",))


def add(dataset: Dataset, count: int) -> None:
    for record in records(count):
        dataset.add(record)


def put(dataset: Dataset, count: int) -> None:
    for record in records(count):
        dataset.put(record)


def trace(dataset: Dataset, source: Dataset) -> None:
    for record in dataset.images:
        lineage(record, [source, dataset])


def keep(dataset: Dataset) -> None:
    for record in dataset.images[:ONE_BY_ONE]:
        dataset.keep(record)


def label(dataset: Dataset) -> None:
    settings = Review(reviewer="auto")
    labels.apply(dataset, labels.collect(dataset, settings, policy), settings, dataset.folder)


def append(journal: Journal) -> None:
    for number in range(ONE_BY_ONE):
        journal.append(f"{number:06d}.png", "good")


def decide(desk: Desk) -> None:
    for name in list(desk.records)[:ONE_BY_ONE]:
        desk.decide([name], "good")
        desk.progress()


def costs(folder: Path, count: int) -> dict[str, float]:
    """Return the processor's seconds of each at a size, once."""
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        gc.collect()
        gc.disable()
        began = time.process_time()
        work()
        found[name] = time.process_time() - began
        gc.enable()

    dataset = Dataset.open(folder / "enriched" / "v1", create=True)
    timed("add", lambda: add(dataset, count))
    timed("put", lambda: put(dataset, count))
    timed("save", dataset.save)
    timed("open", lambda: Dataset.open(dataset.folder))
    timed("keep", lambda: keep(dataset))
    sources = [ImageRecord(f"{number:06d}.png", f"s{number:063x}") for number in range(count // 5)]
    source = Dataset(folder / "source" / "v1", "v1", sources)
    timed("lineage", lambda: trace(dataset, source))

    shown = with_pictures(folder / "shown" / "v1", count)
    with redirect_stdout(open(devnull, "w")):
        timed("label", lambda: label(shown))
        cell = Image.new("RGB", (16, 16))
        timed("sheet", lambda: contact_sheet([cell] * count, ["a title"] * count, columns=10, cell=96))
    journal = Journal(folder / "lines.jsonl")
    for start in range(0, count, 1000):  # a line a decision, as in journals of before
        lines = [f'{{"filename": "{start + n:06d}.png", "label": "good", "when": ""}}\n' for n in range(1000)]
        with journal.path.open("a") as file:
            file.writelines(lines)
    timed("append", lambda: append(journal))
    reviewed = labels.open_journal(shown)
    reviewed.extend([Decision(r.filename, "reject", sha256=r.sha256) for r in shown.images])
    desk: list[Desk] = []
    timed("desk", lambda: desk.append(Desk(shown, Journal(reviewed.path), sources=[source])) or desk[0].names(View()))
    timed("decide", lambda: decide(desk[0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    best: dict[str, list[float]] = {}
    for size in options.sizes:
        runs = []
        for _ in range(options.repeats):
            folder = Path(tempfile.mkdtemp())
            runs.append(costs(folder, size))
            shutil.rmtree(folder)
        for name in runs[0]:
            best.setdefault(name, []).append(min(run[name] for run in runs))
    print("| cost, seconds | " + " | ".join(f"{size:,}" for size in options.sizes) + " | exponent |")
    print("|---" * (len(options.sizes) + 2) + "|")
    for name, seconds in best.items():
        exponent = np.polyfit(np.log(options.sizes), np.log(seconds), 1)[0]
        print(f"| {name} | " + " | ".join(f"{second:.3f}" for second in seconds) + f" | {exponent:.2f} |")


if __name__ == "__main__":
    main()
