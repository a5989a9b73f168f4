"""Does a LoRA for the mini editor, trained on corrections of some characters, help with characters it never saw?

    python benchmarks/editor.py
    python benchmarks/editor.py --people 8 --unseen 24       (narrower intervals)
    python benchmarks/editor.py --lora outputs/mini_maya/v1/qwen_char_lora_v1.safetensors

Trains on triplets of ``--people`` rendered people (the target is what the renderer draws when asked), then the base
editor and the LoRA edit the pictures of ``--unseen`` other people by the same prompts at the same seeds. Nobody in it
was in the studio's own training. Prints identity kept, edits done, artefacts and the share review would accept, with
paired differences resampled by person (n); with few people a percentile bootstrap is too narrow.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from flenlib import mini, params
from flenlib.content import allow
from flenlib.dataset.images import read_provenance, save_picture
from flenlib.dataset.prompts import edit_prompt, enrichment_plan
from flenlib.dataset.records import Dataset
from flenlib.draw.editor import open_editor
from flenlib.draw.routes import Routes
from flenlib.measure.identity import references
from flenlib.measure.statistics import verdict
from flenlib.mini import answers
from flenlib.mini.hand import Renderer
from flenlib.models import community
from flenlib.models.settings import check
from flenlib.project import Project, open_iteration
from flenlib.train.cache import Sample
from flenlib.train.loop import train
from flenlib.wheel import curate
from flenlib.wheel.editor import compare as adopt
from flenlib.wheel.editor import scores as editor_scores
from flenlib.wheel.enrich import after

FIRST = 600_000
"""The first benchmark person among those no weights were trained on; demos and tests use smaller numbers."""


def character(root: Path, number: int) -> tuple[Project, Dataset]:
    """Return the project and the curated sources of one rendered person."""
    profile = {"name": f"person_{number}", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
    project = open_iteration(profile, root=root)
    raw = root / "raw" / str(number)
    mini.draw_sources(FIRST + number, raw)
    return project, curate.curate(project, check(models={}, curate={"folder": str(raw)})[1]).dataset


def triplets(project: Project, source: Dataset, edits: int) -> list[Sample]:
    """Return what a person's corrections would be: the renderer draws what each edit asks for."""
    samples = []
    for record in source.images:
        facts = read_provenance(source.path(record))
        for kind, value in enrichment_plan(edits, len(samples)):
            path = project.data("corrections") / f"{Path(record.filename).stem}_{kind}_{value}.png"
            save_picture(answers.answer(facts, after(record, kind, value)), path, {"made_by": "renderer"})
            text = allow(project.character, edit_prompt(kind, value), "instruction")
            samples.append(Sample(path, text, references=(source.path(record),), name=path.name))
    return samples


def measured(root: Path, numbers: range, lora: Path, settings: params.CompareEditors) -> dict[str, pd.DataFrame]:
    """Return the table of every edit of the unseen people, by editor."""
    models, review = check(models={}, review_enriched={})
    editor = open_editor(models)
    found = {editor_scores.BASE: Routes(), "lora": Routes([community.parse(str(lora))])}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in found}
    for number in numbers:
        project, source = character(root, number)
        jobs = adopt.plan(project, source, [], settings, editor)
        drawn = adopt.draw(project, editor, found, jobs, settings)
        known = references(source).training
        for name, paths in drawn.items():
            table = editor_scores.measure(source, jobs, paths, known, settings.slack, review, Renderer())
            tables[name].append(table.assign(source=project.character.name))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def main() -> None:
    """Train, draw, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=4, help="characters trained on")
    parser.add_argument("--unseen", type=int, default=12, help="characters measured on (6 are needed for a verdict)")
    parser.add_argument("--edits", type=int, default=2, help="triplets of each source trained on")
    parser.add_argument("--measured", type=int, default=1, help="edits of each source measured on")
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--sampling", type=int, default=16, help="steps of sampling")
    parser.add_argument("--lora", type=Path, default=None, help="measure this LoRA instead of training one")
    options = parser.parse_args()
    asked = {"edits_per_source": options.measured, "steps": options.sampling, "slack": 1.75}
    models, settings = check(models={}, compare_editors=asked)
    with tempfile.TemporaryDirectory() as folder:
        root, lora = Path(folder), options.lora
        if lora is None:
            samples = [s for n in range(options.people) for s in triplets(*character(root, n), options.edits)]
            print(f"training on {len(samples)} triplets of {options.people} people", flush=True)
            editor = open_editor(models)
            last = {"steps": options.steps, "checkpoint_every": options.steps, "sample_every": options.steps}
            lora = train(editor.family, samples, check(models=models, train_editor=last)[1], root / "lora").lora
            editor.free()
        tables = measured(root, range(options.people, options.people + options.unseen), lora, settings)
    print(editor_scores.summary(tables).to_string())
    for measure, interval in editor_scores.intervals(tables, "lora").items():
        print(f"{measure.words}: {verdict(interval, measure.better, ('base', 'the LoRA'))}")
    print(f"n: {options.unseen} people, {len(tables['lora'])} edits of each editor")


if __name__ == "__main__":
    main()
