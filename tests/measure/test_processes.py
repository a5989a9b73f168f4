"""Many faces from a plain script: worker processes start only where they would not run the script again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
from pathlib import Path
from PIL import Image
from flenlib.measure.faces import find_many

with Path("ran.txt").open("a") as file:
    file.write("once\\n")
"""
PLAIN = "print(len(find_many([Image.new('RGB', (48, 48), 'white')] * 64)), 'pictures')\n"
GUARDED = f'if __name__ == "__main__":\n    {PLAIN}'


@pytest.mark.parametrize(("last", "alone"), [(PLAIN, True), (GUARDED, False)], ids=["plain", "guarded"])
def test_a_script_without_a_main_guard_works_in_one_process_and_says_so(tmp_path, last, alone):
    (tmp_path / "mine.py").write_text(SCRIPT + last)
    run = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "64 pictures" in run.stdout
    ran = (tmp_path / "ran.txt").read_text().count("once")
    assert (ran == 1) == alone, "a worker runs the script again"
    assert ('add `if __name__ == "__main__":` to mine.py' in run.stdout) == alone


def test_a_script_piped_in_works_in_one_process(tmp_path):
    run = subprocess.run(
        [sys.executable], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, input=SCRIPT + GUARDED, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "64 pictures" in run.stdout and "in one process" in run.stdout


@pytest.mark.parametrize(("command", "text"), [(["-m", "mine"], PLAIN), (["mine.py"], f"{PLAIN}{GUARDED}")])
def test_a_module_and_a_call_above_the_guard_end_in_one_process(tmp_path, command, text):
    (tmp_path / "mine.py").write_text(SCRIPT + text)
    run = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "64 pictures" in run.stdout and "in one process" in run.stdout
