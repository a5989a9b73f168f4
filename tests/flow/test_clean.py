"""The git filter: what a run puts into a notebook never reaches a commit, and `git status` does not see it."""

import asyncio
import shutil
import subprocess
import threading

import nbformat
import pytest

from flenlib.flow import clean
from flenlib.project import ROOT
from tests.test_house import committed

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    """A checkout of our own with what the filter needs, and one notebook; `make setup` has not been run."""
    server = "flenlib/flow/jupyter/jupyter_server_config.py"
    for name in (".gitattributes", ".gitignore", "flenlib/flow/clean.py", server, "notebooks/12_enrich.ipynb"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "a" / name)
    git(tmp_path / "a", "init", "-q")
    git(tmp_path / "a", "add", ".")
    git(tmp_path / "a", "commit", "-qm", "a")
    return tmp_path / "a"


def setup(folder):
    """Do what `make setup` does, with an environment beside the checkout."""
    clean.setup(folder, folder.parent / "environment")


def run_in_place(path):
    """Fill a notebook with all that Lab, VS Code and papermill leave in it, and save it as Lab does."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.update(papermill={"status": "completed"}, vscode={"languageId": "python"}, collapsed=True)
        if cell.cell_type == "code":
            picture = nbformat.v4.new_output("display_data", {"image/png": "cGljdHVyZQ=="})
            cell.update(outputs=[picture], execution_count=7)
    injected = nbformat.v4.new_code_cell("# Parameters\ncharacter = 'Ann'", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(2, injected)
    notebook.metadata.update(widgets={"state": {}}, papermill={"parameters": {}})
    notebook.metadata.language_info.version = "3.11.2"
    nbformat.write(notebook, path)
    clean.refresh(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_what_the_filter_makes_of_it(path):
    assert clean.clean(committed(path)) == committed(path)


def test_a_run_in_place_is_seen_by_nobody(checkout):
    setup(checkout)
    path = checkout / "notebooks" / "12_enrich.ipynb"
    run_in_place(path)
    assert git(checkout, "status", "--porcelain") == "" and git(checkout, "diff") == ""
    assert "cGljdHVyZQ" in path.read_text(), "the notebook on disk keeps its outputs"


def test_what_a_person_writes_is_committed_and_nothing_else(checkout):
    setup(checkout)
    path = checkout / "notebooks" / "12_enrich.ipynb"
    before = path.read_text()
    run_in_place(path)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# A better title"
    nbformat.write(notebook, path)
    clean.refresh(path)
    assert git(checkout, "status", "--porcelain") == " M notebooks/12_enrich.ipynb\n"
    git(checkout, "commit", "-qam", "more")
    committed = git(checkout, "show", "HEAD:notebooks/12_enrich.ipynb")
    assert set(committed.split("\n")) - set(before.split("\n")) == {'    "# A better title"'}
    assert "cGljdHVyZQ" not in committed and "Ann" not in committed


def test_a_clone_before_setup_is_clean_and_works(checkout, tmp_path):
    git(tmp_path, "clone", "-q", "a", "b")
    assert git(tmp_path / "b", "status", "--porcelain") == ""
    setup(tmp_path / "b")
    run_in_place(tmp_path / "b" / "notebooks" / "12_enrich.ipynb")
    assert git(tmp_path / "b", "status", "--porcelain") == ""


def test_git_refuses_a_notebook_it_cannot_clean(checkout):
    setup(checkout)
    (checkout / "flenlib/flow/clean.py").unlink()
    run_in_place(checkout / "notebooks" / "12_enrich.ipynb")
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "commit", "-qam", "pictures")


def test_a_run_by_vs_code_is_no_change_after_the_next_make(checkout, monkeypatch):
    """VS Code does not tell git; there is nothing to commit nevertheless."""
    setup(checkout)
    monkeypatch.setattr(clean, "refresh", lambda _: None)
    run_in_place(checkout / "notebooks" / "12_enrich.ipynb")
    assert git(checkout, "diff") == ""
    monkeypatch.undo()
    setup(checkout)
    assert git(checkout, "status", "--porcelain") == ""


def test_jupyters_own_saving_calls_it(checkout):
    """The settings that `make setup` gives the environment's Jupyter name the function that tells git."""
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
    from traitlets.config import PyFileConfigLoader

    setup(checkout)
    config = PyFileConfigLoader(str(checkout.parent / "environment/etc/jupyter/jupyter_server_config.py")).load_config()
    manager = AsyncLargeFileManager(config=config, root_dir=str(checkout))
    path = checkout / "notebooks" / "12_enrich.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="a run")]
    asyncio.run(manager.save({"type": "notebook", "content": notebook}, "notebooks/12_enrich.ipynb"))
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    assert "a run" in path.read_text() and git(checkout, "status", "--porcelain") == ""


def test_what_is_no_notebook_yet_passes_as_it_is():
    for text in ("", '<<<<<<< HEAD\n{"cells": []}'):
        assert clean.clean(text) == text


def test_an_unpacked_archive_has_nothing_to_set_up(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "archive").mkdir()
    clean.setup(tmp_path / "archive", tmp_path)
    assert "filter" not in (tmp_path / ".git" / "config").read_text()
