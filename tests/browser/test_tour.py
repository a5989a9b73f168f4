"""The tour: steps 1.1 to 1.4 in a real JupyterLab, reviewed by keys; then the runner goes on, and git sees nothing."""

import shutil
import subprocess
import sys
import time

import pytest
import yaml

from flenlib.flow import WHEEL, clean, copies
from flenlib.models.settings import load_iteration
from flenlib.project import ROOT, open_iteration
from flenlib.steps import record
from tests.studio import write_raw

pytestmark = pytest.mark.browser
lab = pytest.importorskip("tests.browser.lab", reason="playwright is not installed: pip install playwright")
if lab.CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package chromium", allow_module_level=True)

FLOW = [sys.executable, "-m", "flenlib.flow"]
CHECKOUT = (".gitattributes", ".gitignore", "flenlib/flow/clean.py", "flenlib/flow/jupyter", "notebooks")
SECTIONS = {
    "character": {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"},
    "anyway": True,  # fewer edits than a real iteration needs
    "enrich": {"edits_per_source": 1, "steps": 2, "tries": 1, "guidance": 1.0, "slack": 1.0},
    "review_enriched": {"reviewer": "human"},
    "train": {"steps": 6, "batch_size": 2, "warmup": 1, "checkpoint_every": 3, "sample_every": 6, "rank": 4},
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A checkout of our own after `make setup`, which is also where data and outputs go."""
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a checkout")
    clean.setup(tmp_path, tmp_path / ".venv")
    for name, value in {"FLENWHEEL_HOME": tmp_path, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1}.items():
        monkeypatch.setenv(name, str(value))
    write_raw(tmp_path / "data" / "pictures")
    return tmp_path


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def until(holds, seconds=240):
    """Wait until something holds; a busy machine is no fault."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finished(page, project, step):
    """Wait for a step's record, and then for its outputs on disk: nobody saves the notebook."""
    path = project.outputs / f"{step}.ipynb"
    until(lambda: record.read(project, step))
    on_disk(project, step, path)
    lab.idle(page)


def on_disk(project, step, path):
    """Wait for the outputs of a finished step, less long than JupyterLab by itself takes to save (two minutes)."""
    sentence = record.read(project, step).results["sentence"]
    until(lambda: sentence in printed(path), seconds=100)


def printed(path):
    cells = copies.read(path).cells  # none while JupyterLab is writing it
    return "".join(o.text for cell in cells for o in cell.get("outputs", ()) if o.get("name") == "stdout")


def test_the_tour(home, page):
    file = home / "data" / "v1.yaml"
    file.write_text(yaml.safe_dump({**SECTIONS, "curate": {"folder": str(home / "data" / "pictures")}}))
    project = open_iteration(SECTIONS["character"])
    with lab.serving([*FLOW, "lab", str(file), "--"], home / "data") as address:
        for step in ("11_curate_source", "12_enrich"):
            lab.open_notebook(page, address, f"outputs/tester/v1/{step}.ipynb")
            lab.run_cells(page)
            finished(page, project, step)
        review(page, project, address, file)
        lab.open_notebook(page, address, "outputs/tester/v1/14_train_character.ipynb")
        lab.run_cells(page)
        finished(page, project, "14_train_character")
        in_place(page, address, home)
    goes_on(file)
    assert git(home, "status", "--porcelain") == ""


def review(page, project, address, file):
    """Label every edit by keys; meanwhile the runner hears who works here."""
    lab.open_notebook(page, address, "outputs/tester/v1/13_review_enriched.ipynb")
    lab.run_cells(page)
    lab.wait_for_tiles(page)
    names = lab.shown(page)
    assert len(names) == 10
    refused = subprocess.run([*FLOW, "iterate", str(file)], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "is in use by 13_review_enriched (process " in refused.stderr
    lab.tile(page, names[0]).click()
    for name in names:
        page.keyboard.press("1")
        lab.saved(page, name, "good")
    lab.idle(page)
    lab.run_from(page, "labels.apply(")
    finished(page, project, "13_review_enriched")
    assert record.read(project, "13_review_enriched").results["labels"]["good"] == 10


def in_place(page, address, home):
    """A shipped notebook run where it is: it counts, and git does not see its outputs."""
    shipped = load_iteration(ROOT / "params" / "mini" / "v1.yaml")
    project = open_iteration(shipped.character)
    path = home / "notebooks" / "11_curate_source.ipynb"
    lab.open_notebook(page, address, "notebooks/11_curate_source.ipynb")
    lab.run_cells(page)
    until(lambda: record.read(project, "11_curate_source"))
    on_disk(project, "11_curate_source", path)
    lab.idle(page)
    assert "image/png" in path.read_text()
    until(lambda: git(home, "status", "--porcelain") == "")


def goes_on(file):
    """The runner finds what Lab did done, and goes on behind it."""
    runner = subprocess.Popen([*FLOW, "iterate", str(file)], stdout=subprocess.PIPE, text=True)
    said = {}
    for line in runner.stdout:
        step, _, what = line.strip().partition(": ")
        said[step] = what
        if step == WHEEL.find(15).name:
            break
    runner.kill()
    runner.wait()
    assert said["15_generate_synthetic"] == "running ..."
    for number in (11, 12, 13, 14):
        assert said[WHEEL.find(number).name].startswith("done already")
