"""A second flow (`tests.flow.studio`): its three steps are run, recorded, skipped and reported like the wheel's."""

import dataclasses
import inspect
import sys
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from flenlib.flow import WHEEL, copies, report, stamps
from flenlib.flow.__main__ import main
from flenlib.flow.run import call
from flenlib.params import Iteration
from flenlib.project import open_iteration
from flenlib.steps import Blocked, record
from tests.flow.studio import DONE, STUDIO, Describe, Frame, Settings, Sketch, StudioSettings, describe, frame, sketch

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture
def flow(monkeypatch):
    DONE.clear()
    for run in (describe, sketch, frame):
        monkeypatch.setitem(sys.modules, f"studio_{run.__name__}", SimpleNamespace(run=run))
    return STUDIO


@pytest.fixture
def project(tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    project.outputs.mkdir(parents=True)
    return project


def run(project, flow, **studio):
    settings = StudioSettings(character=CHARACTER, studio=Settings(**studio))
    return [call(project, step, settings, flow) for step in flow.wanted(settings)]


def test_a_flow_of_its_own_runs_and_records(project, flow):
    results = run(project, flow)
    assert [type(result) for result in results] == [Describe, Sketch, Frame] and results[-1].size == 5
    assert DONE == ["describe", "sketch", "frame"]
    assert record.needed(project, Frame).size == 5
    text = report.summary(project, flow.steps, flow)
    assert text.index("41_describe") < text.index("42_sketch") < text.index("43_frame")
    assert "the studio's own words" in text and "12_enrich" not in text


def test_what_has_not_changed_is_not_done_again(project, flow):
    run(project, flow)
    run(project, flow)
    assert DONE == ["describe", "sketch", "frame"]
    run(project, flow, seed=2)
    assert DONE[3:] == ["sketch", "frame"], "the description does not depend on the seed"
    (project.outputs / "frame").unlink()
    run(project, flow, seed=2)
    assert DONE[5:] == ["frame"]


def test_a_blocking_criterion_stops_the_flow(project, flow):
    with pytest.raises(Blocked, match=r"41_describe stops here\. It needs at least 2 words; it found 1"):
        run(project, flow, text="woman")
    with pytest.raises(Blocked, match=r"42_sketch cannot begin\. 41_describe needs at least 2 words"):
        call(project, flow.find(42), StudioSettings(character=CHARACTER, studio=Settings(text="woman")), flow)


def test_the_wheel_is_untouched(project, flow):
    assert not {step.name for step in flow.steps} & {step.name for step in WHEEL.steps}
    assert not stamps.is_done(project, WHEEL.find(11), Iteration(character=CHARACTER))


CELLS = (
    """
    from flenlib import params
    from flenlib.flow import Clock
    from flenlib.project import open_iteration
    from tests.flow import studio as flow
    project = open_iteration(character, iteration)
    studio = params.check("studio", studio, of=flow.StudioSettings)
    clock = Clock(project, "41_describe", anyway=anyway, flow=flow.STUDIO, studio=studio)
    """,
    "clock.finish(flow.describe(project, clock.settings))",
)


def test_its_notebook_runs_from_a_params_file_like_the_wheels(tmp_path, monkeypatch, capsys):
    cells = [nbformat.v4.new_code_cell(f"character, iteration, anyway, studio = {CHARACTER}, 'v1', False, {{}}")]
    cells[0].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(inspect.cleandoc(cell)) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "41_describe.ipynb")
    file = tmp_path / "v1.yaml"
    file.write_text(yaml.safe_dump({"character": CHARACTER, "studio": {"text": "two words"}}))
    monkeypatch.setattr(copies, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    flow = dataclasses.replace(STUDIO, steps=STUDIO.steps[:1])
    assert main(["iterate", str(file)], flow) == 0
    assert main(["iterate", str(file)], flow) == 0
    assert "there was nothing to do" in capsys.readouterr().out
    assert main(["report", str(file)], flow) == 0
    project = open_iteration(CHARACTER)
    assert record.needed(project, Describe).words == 2
    assert "2 words" in next(project.outputs.glob("*.html")).read_text()
    file.write_text(yaml.safe_dump({"character": CHARACTER, "studio": {"txt": "two words"}}))
    assert main(["iterate", str(file)], flow) == 1
    assert "did you mean 'text'" in capsys.readouterr().err
