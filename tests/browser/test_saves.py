"""JupyterLab with the kit's settings saves what a cell printed, also what it printed while a save was under way."""

import sys
import time

import nbformat
import pytest

from flenlib.flow.lab import CONFIG

pytestmark = pytest.mark.browser
lab = pytest.importorskip("tests.browser.lab", reason="playwright is not installed: pip install playwright")
if lab.CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install Debian's package chromium", allow_module_level=True)

SLOW = 0.5


def test_what_changes_during_a_save_is_saved_by_itself(tmp_path, page, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(CONFIG))
    path = tmp_path / "book.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('the ' + 'last line')")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    writes = []

    def slowly(route):
        if route.request.method == "PUT":
            writes.append(time.monotonic())
            page.wait_for_timeout(1000 * SLOW)
        route.continue_()

    command = [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={tmp_path}"]
    with lab.serving(command, tmp_path) as address:
        lab.open_notebook(page, address, path.name)
        page.route("**/api/contents/book.ipynb*", slowly)
        page.evaluate("() => void window.jupyterapp.commands.execute('docmanager:save')")
        while not writes:  # what is written now was read before the cell below ran
            page.wait_for_timeout(50)
        lab.run_cells(page)
        deadline = time.monotonic() + 30
        while "the last line\\n" not in path.read_text() and time.monotonic() < deadline:
            page.wait_for_timeout(100)
    assert "the last line\\n" in path.read_text()
    assert len(writes) > 1
