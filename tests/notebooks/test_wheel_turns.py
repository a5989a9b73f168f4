"""The notebooks themselves, executed by papermill with small parameters: what they record, skip, refuse and resume."""

import html
import json
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest
import yaml

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.images import read_provenance
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, lineage
from flenlib.draw.routes import open_routes
from flenlib.flow import WHEEL, report
from flenlib.flow.__main__ import main
from flenlib.flow.run import run_all
from flenlib.flow.stamps import is_done
from flenlib.models.settings import load_iteration
from flenlib.project import open_iteration
from flenlib.steps import record
from tests.studio import write_raw

TRAIN = {"steps": 6, "batch_size": 2, "warmup": 1, "checkpoint_every": 3, "sample_every": 6, "rank": 4}


@pytest.fixture(scope="module")
def iteration(tmp_path_factory, request):
    """Return (project, params, params file) of a small iteration on the shipped models, in a home of its own."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("FLENWHEEL_HOME", str(home))
    request.addfinalizer(patch.undo)
    sections = {
        "character": {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"},
        "iteration": "v1",
        "anyway": True,  # fewer edits and picks than a real iteration needs
        "curate": {"folder": str(write_raw(home / "pictures"))},
        "enrich": {"edits_per_source": 2, "steps": 2, "tries": 1, "guidance": 1.0, "slack": 1.0},
        "train": TRAIN,
        "generate": {"prompts": 6, "seeds_per_prompt": 1, "steps": 2},
        "filter": {"threshold": 0.6},
        "review_synthetic": {"select": 2},
        "retrain": TRAIN,
        "card": {"seeds_per_cell": 1, "steps": 2},
        "corrections": {
            "hand": "renderer",
            "labels": ["needs_correction", "reject"],
            "minimum": 4,
            "positive_share": 0.5,
            "held_out_share": 0.3,
            "export": ["diffsynth"],
        },
        "train_editor": {**TRAIN, "steps": 4, "checkpoint_every": 2, "sampling_steps": 2, "guidance": 1.0},
        "compare_editors": {"edits_per_source": 1, "steps": 2, "guidance": 1.0, "adopt": "ours"},
    }
    path = home / "v1.yaml"
    path.write_text(yaml.safe_dump(sections))
    settings = load_iteration(path)
    return open_iteration(settings.character), settings, path


def results(project, step):
    return record.read(project, step).results


def test_the_wheel_turns(iteration):
    project, values, _ = iteration
    assert run_all(project, values, WHEEL.steps) == len(WHEEL.steps)
    for step in WHEEL.steps:
        assert record.read(project, step.name).made, step.name
        assert is_done(project, step, values), step.name

    assert results(project, "11_curate_source")["usable"] == 12
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    assert len(enriched.images) == 20 and all(r.label["reviewer"] == "auto" for r in enriched.images)
    assert [r.kind for r in lineage(enriched.images[0], [source])] == ["edit", "source"]
    held = {r.sha256 for r in source.images if r.held_out}
    assert len(held) == 2 and not held & {r.parent for r in enriched.images}
    assert sum(results(project, "13_review_enriched")["labels"].values()) == 20

    for version in ("v1", "v1_refined"):
        assert project.lora(version).is_file()
    trained = json.loads((project.lora("v1").parent / "training.json").read_text())
    assert not {f"source/{r.filename}" for r in source.images if r.held_out} & {s["name"] for s in trained["samples"]}

    synthetic = Dataset.open(project.data("synthetic"))
    assert len(synthetic.images) == 6 and all(r.prompt and r.seed is not None for r in synthetic.images)
    assert sum(results(project, "16_filter_identity")["verdicts"].values()) == 6
    compared = results(project, "18_retrain_and_compare")
    assert [row["LoRA"] for row in compared["table"]] == ["base", "v1", "v1_refined"]
    assert compared["ship"] in ("v1", "v1_refined") and compared["sentence"]
    assert all(
        len(list((project.outputs / f"card_{name}").glob("*.png"))) == 23 for name in ("base", "v1", "v1_refined")
    )


def test_the_second_wheel_turns(iteration):
    project, values, _ = iteration
    folder = project.data("corrections")
    pairs = triplets.read(folder, project.places)
    triplets.check(folder, pairs, minimum=4)
    assert results(project, "21_curate_corrections")["by"].keys() <= {"renderer", "editor"}
    source = Dataset.open(project.data("source"))
    held = {r.filename for r in source.images if r.held_out}
    assert not held & {pair.paths(folder)[0].name for pair in pairs}
    assert all(r.kind == "correction" and r.parent and r.depth == 1 for r in Dataset.open(folder).images)
    exported = json.loads((folder / "pairs" / "diffsynth" / "metadata.json").read_text())
    assert len(exported) == sum(not pair.held_out for pair in pairs)

    trained = json.loads((project.outputs / "editor_training" / "training.json").read_text())
    assert all(len(sample["references"]) == 1 for sample in trained["samples"])
    assert len(trained["samples"]) == sum(not pair.held_out for pair in pairs)
    assert results(project, "22_train_editor")["checkpoint"] in (2, 4) and project.editor_lora.is_file()

    compared = results(project, "23_compare_editors")
    assert [row["editor"] for row in compared["table"]] == ["base", "ours"] and compared["adopted"] == "ours"
    assert len(list((project.outputs / "editors" / "ours").glob("*.png"))) == 12
    later = open_iteration(values.character, "v2")
    uses = open_routes(later, params.check("models", {"editor_loras": ["adopted"]})).uses
    assert [use.path for use in uses] == [project.editor_lora]


def test_every_picture_the_kit_made_says_what_made_it_and_of_whom_it_is(iteration):
    """Previews, scored and tried pictures, model cards and compared edits too."""
    project, _, _ = iteration
    made = {p: read_provenance(p) for where in ("data", "outputs") for p in (project.root / where).rglob("*.png")}
    folders = {p.parent.name for p in made}
    assert {"v1", "tries", "samples", "scored", "card_v1", "card_base", "ours"} <= folders
    wanted = {"character": "tester", "character_kind": "fictional"}
    assert [p for p, facts in made.items() if not facts.get("made_by") or not wanted.items() <= facts.items()] == []
    assert all("consent" in facts for facts in made.values())


def test_no_table_is_cut_and_no_output_is_red(iteration):
    project, _, _ = iteration
    for step in WHEEL.steps:
        notebook = nbformat.read(project.outputs / f"{step.name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert [o.text for o in outputs if o.get("name") == "stderr"] == [], step.name
        tables = [o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})]
        cells = [html.unescape(cell) for table in tables for cell in re.findall(r"<t[dh][^>]*>([^<]*)</t", table)]
        cut = [cell for cell in cells if cell == "..." or (cell.endswith("...") and len(cell) == 49)]  # as pandas does
        assert cut == [], step.name


def test_a_second_run_does_no_work(iteration, capsys):
    project, _, path = iteration
    stamp = {p: p.stat().st_mtime_ns for p in project.outputs.rglob("*") if p.is_file() and not p.name.startswith(".")}
    assert main(["iterate", str(path)]) == 0
    assert "there was nothing to do" in capsys.readouterr().out
    assert stamp == {p: p.stat().st_mtime_ns for p in stamp}


def test_the_report_shows_every_step_without_code(iteration):
    project, _, _ = iteration
    text = report.summary(project, WHEEL.steps, WHEEL)
    assert (
        "base" in text and "v1_refined" in text and "Editors on the same sources" in text and "not finished" not in text
    )
    page = report.write_html(project, WHEEL.steps, WHEEL).read_text()
    assert "Curate the source pictures" in page and "data:image/png;base64" in page
    assert "open_iteration(" not in page
    assert results(project, "18_retrain_and_compare")["sentence"].split(":")[0] in page


def test_a_killed_step_goes_on_without_repeating_pictures(iteration):
    project, values, _ = iteration
    folder = project.data("synthetic")
    kept = sorted(folder.glob("novel_*.png"))
    before = {p.name: p.stat().st_mtime_ns for p in kept}
    kept[0].unlink()  # as if killed before the first was written and metadata saved
    (folder / "metadata.json").unlink()
    record.run_file(project, "15_generate_synthetic").unlink()
    run_all(project, values, (WHEEL.find(15),))
    after = {p.name: p.stat().st_mtime_ns for p in sorted(folder.glob("novel_*.png"))}
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == [kept[0].name]


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_drawing_goes_on(iteration):
    project, _, path = iteration
    folder = project.data("synthetic")
    for picture in folder.glob("novel_*.png"):
        picture.unlink()
    command = [sys.executable, "-m", "flenlib.flow", "step", "15", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 240
        while not list(folder.glob("novel_*.png")) and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    time.sleep(3)  # the orphaned kernel notices and ends
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("novel_*.png")}
    assert len(kept) >= 1
    assert record.read(project, "15_generate_synthetic") is None
    assert main(["step", "15", str(path)]) == 0
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("novel_*.png")}
    assert len(after) == 6 and kept.items() <= after.items()
    assert len(Dataset.open(folder).images) == 6


def test_what_was_deleted_or_moved_by_hand_is_not_done(iteration):
    project, values, _ = iteration
    labelled = next(project.data("enriched").glob("*/*__background_*.png"))
    assert is_done(project, WHEEL.find(13), values)
    other = "rejected" if labelled.parent.name != "rejected" else "good"
    labelled.rename(labelled.parent.parent / other / labelled.name)
    assert not is_done(project, WHEEL.find(13), values)
    run_all(project, values, (WHEEL.find(13),))
    assert Dataset.open(project.data("enriched")).get(labelled.name).label["reviewer"] == "folder"
    picture = project.data("enriched") / labelled.name
    picture.rename(picture.with_suffix(".aside"))
    assert not is_done(project, WHEEL.find(12), values)
    picture.with_suffix(".aside").rename(picture)


def test_human_mode_stops_with_a_sentence_and_goes_on_when_all_are_labelled(iteration, tmp_path, capsys):
    project, _, path = iteration
    told_human = yaml.safe_load(path.read_text()) | {"review_enriched": {"reviewer": "human"}}
    human = tmp_path / "human.yaml"
    human.write_text(yaml.safe_dump(told_human))
    dataset = Dataset.open(project.data("enriched"))
    assert main(["step", "13", str(human)]) == 1
    said = capsys.readouterr().err
    assert "19 of 20 pictures wait for a label" in said and str(project.outputs / "13_review_enriched.ipynb") in said
    executed = project.outputs / "13_review_enriched.ipynb"
    assert executed.stat().st_size < 300_000
    assert nbformat.read(executed, as_version=4).cells
    journal = Journal(dataset.folder / "journal.jsonl")
    for image in dataset.images:
        journal.append(image.filename, "good", ("looks right",))
    assert main(["step", "13", str(human)]) == 0
    assert results(project, "13_review_enriched")["labels"]["good"] == 20
