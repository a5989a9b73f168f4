"""A second flow: three steps of its own, defined here, are run, recorded, skipped and reported like the wheel's."""

import sys
from types import SimpleNamespace

import pytest
from pydantic import Field

from flenlib.flow import WHEEL, report, stamps
from flenlib.flow.run import call
from flenlib.params import FlowSettings, Iteration, Section
from flenlib.project import open_iteration
from flenlib.steps import Artifact, Blocked, Criterion, Flow, Step, StepResult, record

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
DONE = []


class Describe(StepResult):
    notebook = "41_describe"
    words: int


class Sketch(StepResult):
    notebook = "42_sketch"
    lines: int


class Frame(StepResult):
    notebook = "43_frame"
    size: int


class Studio(Section):
    """Settings of the flow's own: one section."""

    text: str = "a tall woman"
    seed: int = 1


class StudioSettings(FlowSettings):
    studio: Studio = Field(default=Studio())


def _file(name):
    def digest(project, settings):
        path = project.outputs / name
        return path.read_text() if path.is_file() else None

    return Artifact(name, digest)


def describe(project, settings):
    DONE.append("describe")
    (project.outputs / "words").write_text(settings.studio.text)
    words = len(settings.studio.text.split())
    enough = Criterion("at least 2 words", words >= 2, str(words), blocking=True)
    return Describe(sentence=f"{words} words", criteria=[enough], words=words).check(settings.anyway)


def sketch(project, settings):
    DONE.append("sketch")
    lines = record.needed(project, Describe).words * settings.studio.seed
    (project.outputs / "sketch").write_text("|" * lines)
    return Sketch(sentence=f"{lines} lines", lines=lines)


def frame(project, settings):
    DONE.append("frame")
    size = record.needed(project, Sketch).lines + 2
    (project.outputs / "frame").write_text("#" * size)
    return Frame(sentence=f"size {size}", size=size)


@pytest.fixture
def flow(monkeypatch):
    DONE.clear()
    for run in (describe, sketch, frame):
        monkeypatch.setitem(sys.modules, f"studio_{run.__name__}", SimpleNamespace(run=run))
    words, drawn, framed = _file("words"), _file("sketch"), _file("frame")
    return Flow(
        "studio",
        StudioSettings,
        (
            Step(Describe, "studio_describe", "words for a face", ("studio.text",), makes=(words,)),
            Step(Sketch, "studio_sketch", "a sketch", ("studio.seed",), reads=(words,), makes=(drawn,)),
            Step(Frame, "studio_frame", "a frame", (), reads=(drawn,), makes=(framed,)),
        ),
        beside=lambda project: ["the studio's own words"],
    )


@pytest.fixture
def project(tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    project.outputs.mkdir(parents=True)
    return project


def run(project, flow, **studio):
    settings = StudioSettings(character=CHARACTER, studio=Studio(**studio))
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
        call(project, flow.find(42), StudioSettings(character=CHARACTER, studio=Studio(text="woman")), flow)


def test_the_wheel_is_untouched(project, flow):
    assert not {step.name for step in flow.steps} & {step.name for step in WHEEL.steps}
    assert not stamps.is_done(project, WHEEL.find(11), Iteration(character=CHARACTER))
