"""A killed kernel, a full disk, Ctrl-C: what ends a notebook from outside is one sentence, and nothing is lost."""

import os
import resource
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from flenlib.flow import WHEEL, copies
from flenlib.flow.run import StepFailed, run_step
from flenlib.params import Iteration
from flenlib.project import open_iteration

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
STEP = WHEEL.find(11)


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Return what puts one cell in the place of step 1.1's notebook."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(copies, "NOTEBOOKS", tmp_path / "notebooks")

    def write(cell):
        cells = [nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(cell)]
        made = nbformat.v4.new_notebook(cells=cells)
        made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(made, tmp_path / "notebooks" / f"{STEP.name}.ipynb")

    return write


def run(tmp_path):
    with pytest.raises(StepFailed) as caught:
        run_step(open_iteration(CHARACTER, root=tmp_path), STEP, Iteration(character=CHARACTER))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_killed_kernel(notebook, tmp_path):
    notebook("import os; os.kill(os.getpid(), 9)")
    assert run(tmp_path) == "11_curate_source: its kernel died, as it does when memory runs out; run it again"


def test_a_disk_that_is_full_while_the_notebook_is_saved(notebook, tmp_path, capsys):
    """A limit on the size of a file makes the write fail as a full disk does."""
    notebook("print('x' * 300_000)")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        said = run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "could not be saved ([Errno 27] File too large); what it made is kept: make room and run it again" in said
    notebook("1")
    run(tmp_path)
    said = capsys.readouterr().out
    assert "11_curate_source.ipynb is damaged or cut short: it is kept as 11_curate_source.yours.ipynb" in said


RUN = """
import sys
from pathlib import Path
from flenlib.flow import copies
from flenlib.flow.__main__ import main
copies.NOTEBOOKS = Path(sys.argv[1])
sys.exit(main(["step", "11", sys.argv[2]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the runner", "to its kernel too"])
def test_ctrl_c(notebook, tmp_path, send):
    notebook(f"import os, time; open({str(tmp_path / 'at')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    (tmp_path / "v1.yaml").write_text("character: {name: tester, trigger: ohwx_char, kind: fictional, age: adult}")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "notebooks"), str(tmp_path / "v1.yaml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"FLENWHEEL_HOME": str(tmp_path)},
    )  # fmt: skip
    while not (tmp_path / "at").is_file():
        assert process.poll() is None
        time.sleep(0.2)
    send(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped: what is finished is kept, and the same command goes on from there"
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "at").read_text()), 0)
