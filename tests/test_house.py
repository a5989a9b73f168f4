"""The plan of the house: which room may import which, how notebooks are committed, what README and Makefile promise."""

import ast
import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from flenlib import params
from flenlib.flow import WHEEL
from flenlib.models import settings
from flenlib.project import ROOT

ROOMS = (
    "words", "params", "content", "project", "dataset", "measure", "models", "predict", "steps", "draw", "judge",
    "train", "export", "review", "mini", "wheel", "studio", "flow",
)  # fmt: skip
LEVELS = {room: level for level, room in enumerate(ROOMS)}
"""The rooms from the ground up: each imports only rooms above it in this list."""
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "flenlib" / "mini" / "DATA_CARD.md"]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "flenlib").parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "flenlib":
            rooms |= {alias.name for alias in node.names if alias.name in LEVELS}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flenlib."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("flenlib.")}
    return rooms


def test_imports_between_rooms_run_one_way():
    entrances = ("__main__.py",)  # a command is an entrance to the house and not a part of its room
    files = [p for p in (ROOT / "flenlib").rglob("*.py") if p.parent != ROOT / "flenlib" and p.name not in entrances]
    files += [p for p in (ROOT / "flenlib").glob("*.py") if p.name != "__init__.py"]
    assert len(files) > 30
    wrong = [
        f"{path.relative_to(ROOT)} imports {target}"
        for path in files
        for target in imported_rooms(path)
        if target != room_of(path) and LEVELS[target] >= LEVELS[room_of(path)]
    ]
    assert wrong == []


def test_only_the_flow_knows_the_mini_studio():
    """What makes real pictures imports no renderer: it comes in as a hand."""
    files = [p for p in (ROOT / "flenlib").rglob("*.py") if room_of(p) not in ("mini", "flow", "__init__")]
    assert [str(path) for path in files if "mini" in imported_rooms(path)] == []


@pytest.mark.parametrize(
    "module",
    ["flenlib.dataset.records", "flenlib.dataset.imports", "flenlib.mini", "flenlib.models.shipped", "flenlib.params"],
)
def test_light_rooms_do_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def committed(path):
    """Return a file as git has it: whoever ran a notebook where it stands keeps its outputs on disk."""
    shown = subprocess.run(
        ["git", "-C", str(ROOT), "show", f":{path.relative_to(ROOT)}"], capture_output=True, text=True, check=False
    )
    return shown.stdout if shown.returncode == 0 else path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_committed_clean_and_thin(path):
    notebook = nbformat.reads(committed(path), as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    assert all(not c.outputs and c.execution_count is None for c in code)
    assert all(len(c.source.splitlines()) <= 15 for c in code)
    assert not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for c in code for n in ast.walk(ast.parse(c.source)))
    assert notebook.cells[0].source.startswith("# ") and "*Reads*" in notebook.cells[0].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_says_why_and_shows_what_to_expect(path):
    """The first cell: title, purpose, at least two sentences of why, one small picture, what it reads."""
    cell = nbformat.read(path, as_version=4).cells[0]
    ((name, content),) = cell.attachments.items()
    assert cell.source.count(f"](attachment:{name})") == 1
    assert len(base64.b64decode(content["image/jpeg"])) < 20 * 1024
    before = cell.source.split("*Reads*")[0].splitlines()
    prose = " ".join(line for line in before if not line.startswith(("#", "!")))
    assert len(re.findall(r"[\w)*`]\.(?=\s|$)", prose)) >= 3
    assert max(map(len, cell.source.splitlines())) <= 110


MAYA = {"name": "mini_maya", "trigger": "ohwx_char", "class_noun": "person", "kind": "fictional", "age": "adult"}
MINI = {"character": MAYA}
FILES = (
    MINI,
    MINI | {"models": {"generator": "flux-dev"}, "train": {"rank": 4}},
    MINI | {"train": None, "models": None},
    MINI | {"models": {"editor": "qwen-image-edit-2509", "precision": "int8"}, "enrich": {}, "curate": {"seed": 1}},
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("values", FILES, ids=["nothing", "flux-dev", "empty", "qwen-image-edit-2509"])
def test_a_notebook_under_plain_papermill_and_the_runner_have_the_same_settings(tmp_path, path, values):
    """Papermill replaces variables of the parameters cell by what a file says, whole sections at a time."""
    notebook = nbformat.read(path, as_version=4)
    cell: dict = {}
    exec(next(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])), {}, cell)
    file = tmp_path / "v1.yaml"
    file.write_text(yaml.safe_dump(values))
    wanted = settings.load_iteration(file)
    assert (cell.pop("iteration"), cell.pop("anyway")) == (wanted.iteration, wanted.anyway)
    assert params.check("character", cell.pop("character")) == wanted.character
    assert set(cell) == {"models", *WHEEL.find(path.stem).sections}
    given = {section: values.get(section, default) for section, default in cell.items()}
    assert settings.check(**given) == tuple(getattr(wanted, section) for section in given)


def test_every_params_file_is_valid():
    files = sorted((ROOT / "params").rglob("*.yaml"))
    assert len(files) >= 2
    for path in files:
        (settings.load_run if path.parent.name == "train" else settings.load_iteration)(path)


def test_the_readmes_table_is_the_list_of_steps():
    assert WHEEL.table() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_documentation_wraps_and_its_links_lead_somewhere(path):
    """Lines end at 110, tables excepted, and a relative link names a file of the checkout."""
    text = path.read_text()
    assert [line for line in text.splitlines() if len(line) > 110 and not line.startswith("|")] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_readme_shows_the_commands_the_makefile_has():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("help", "setup", "demo", "test", "lint", "lab", "plan", "iterate", "step", "clean"):
        assert f"\n{target}:" in makefile
    for command in ("make demo", "make test", "make lab", "make plan", "make iterate", "make step"):
        assert command in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()
