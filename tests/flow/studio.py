"""A small flow of its own, as somebody beside the wheel would write one: settings, results, steps and their list."""

from flenlib.params import FlowSettings, Section
from flenlib.steps import Artifact, Criterion, Flow, Step, StepResult, record

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


class Settings(Section):
    """Settings of the flow's own: one section."""

    text: str = "a tall woman"
    seed: int = 1


class StudioSettings(FlowSettings):
    studio: Settings = Settings()


def _file(name):
    def digest(project, settings):
        path = project.outputs / name
        return path.read_text() if path.is_file() else None

    return Artifact(name, digest)


def describe(project, settings):
    DONE.append("describe")
    project.outputs.mkdir(parents=True, exist_ok=True)
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


words, drawn, framed = _file("words"), _file("sketch"), _file("frame")
STUDIO = Flow(
    "studio",
    StudioSettings,
    (
        Step(Describe, "studio_describe", "words for a face", ("studio.text",), makes=(words,)),
        Step(Sketch, "studio_sketch", "a sketch", ("studio.seed",), reads=(words,), makes=(drawn,)),
        Step(Frame, "studio_frame", "a frame", (), reads=(drawn,), makes=(framed,)),
    ),
    beside=lambda project: ["the studio's own words"],
)
