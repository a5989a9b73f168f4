"""One worker at a time in one iteration: who holds it is said, and the dead hold nothing."""

import os
import subprocess
import sys

import pytest

from flenlib.flow import Clock, lock
from flenlib.params import Curate
from flenlib.project import open_iteration
from flenlib.wheel import results

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
OTHER = f"""
import sys, os
from flenlib.flow import lock
from flenlib.project import open_iteration
lock.take(open_iteration({CHARACTER}, root=sys.argv[1]), "13_review_enriched")
if "fork" in sys.argv and os.fork() == 0:
    os.execlp("sleep", "sleep", "30") if "exec" in sys.argv else sys.stdin.read()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def project(tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    yield project
    lock.release(project)


def other(project, *more):
    """Start another process that takes the iteration, and wait until it has."""
    command = [sys.executable, "-c", OTHER, str(project.root), *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n"
    return process


def test_the_second_hears_who_holds_it_and_the_dead_hold_nothing(project):
    holder = other(project, "fork")  # a child of its own, as when pictures are rendered in parallel, outlives it
    said = rf"13_review_enriched \(process {holder.pid}, since 2\d\d\d-.*\): wait until it has finished"
    with pytest.raises(lock.Busy, match=said):
        Clock(project, "11_curate_source", curate=Curate())
    with pytest.raises(lock.Busy, match=said), lock.held(project, "make iterate"):
        pass
    assert lock.HELD not in os.environ
    holder.kill()
    holder.wait()
    lock.take(project, "make iterate")
    holder.stdin.close()


def test_a_notebook_holds_its_iteration_from_its_second_cell_to_its_last(project, capsys):
    clock = Clock(project, "11_curate_source", curate=Curate())
    clock = Clock(project, "11_curate_source", curate=Curate())  # the cell can be run again
    with pytest.raises(AssertionError):
        other(project)
    clock.finish(results.CurateSource(sentence="done", pictures=12, usable=12))
    holder = other(project)
    holder.stdin.close()
    assert holder.wait() == 0


def test_the_kernels_of_a_runner_are_its_own(project):
    with lock.held(project, "make iterate"):
        kernel = other(project)
        Clock(project, "11_curate_source", curate=Curate())
        lock.release(open_iteration(CHARACTER, "v2", root=project.root))
    assert lock.HELD not in os.environ
    for each in (kernel, other(project)):
        each.kill()


def test_who_takes_an_iteration_sweeps_what_killed_writers_left(project):
    left = [
        project.outputs / "a" / ".editor.json.0123abcd.tmp",
        project.data("enriched") / ".metadata.json.89abcdef.tmp",
    ]
    kept = [
        project.outputs / ".notes.tmp", project.outputs / "report.tmp", project.outputs / ".x.0123abcd.tmp" / "file",
        project.data("enriched", "v2") / ".metadata.json.89abcdef.tmp", project.data("raw") / ".mine.png.0123abcd.tmp",
    ]  # fmt: skip
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    holder = other(open_iteration(CHARACTER, "v1", root=project.root))
    assert [path.exists() for path in left] == [False, False] and all(path.exists() for path in kept)
    left[0].touch()
    with pytest.raises(lock.Busy):
        lock.take(project, "make iterate")
    assert left[0].exists(), "the holder may be writing it"
    holder.stdin.close()
    holder.wait()
    lock.take(project, "make iterate")
    assert not left[0].exists()
