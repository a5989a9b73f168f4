"""The examples of CONTRIBUTING.md run, in their order, and do what the text says."""

import re
import sys
from types import SimpleNamespace

import pytest

from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.flow import stamps
from flenlib.models import registry
from flenlib.models.families import FAMILIES
from flenlib.params import Curate, Iteration
from flenlib.project import ROOT, open_iteration
from flenlib.steps import record

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Run every example in one namespace, as a reader would type them, and return it."""
    project = open_iteration(CHARACTER, root=tmp_path_factory.mktemp("home"))
    source = Dataset.open(project.data("source"), create=True)
    for angle in ("front", "back"):
        (source.folder / f"{angle}.png").write_bytes(b"picture")
        source.add(ImageRecord(f"{angle}.png", angle=angle))
    source.save()
    names = {"project": project, "__name__": "contributing"}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert all(len([line for line in block.splitlines() if line.strip()]) <= 11 for block in blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "my_steps", SimpleNamespace(run=lambda *given: names["run"](*given)))
        for block in blocks:
            exec(compile(block, "CONTRIBUTING.md", "exec"), names)
        yield names
        del FAMILIES["flux_schnell"], registry.KNOWN["flux-schnell"]


def test_a_step_and_a_flow(examples):
    project, step = examples["project"], examples["step"]
    assert examples["result"].angles == 2
    assert record.result(project, examples["CountAngles"]).sentence == "2 angles"
    settings = Iteration(character=project.character)
    assert stamps.is_done(project, step, settings)
    assert stamps.is_done(project, step, settings.model_copy(update={"iteration": "v1", "anyway": True}))
    assert not stamps.is_done(project, step, settings.model_copy(update={"curate": Curate(seed=99)}))


def test_a_measure(examples):
    assert examples["found"] == {"redness": 255.0}
    assert examples["REDNESS"].label == "redness (of 255, lower is better)"


def test_a_family(examples):
    assert registry.resolve("flux-schnell", "generator").family is examples["Schnell"]
    with pytest.raises(ValueError, match="cannot be used as editor"):
        registry.resolve("flux-schnell", "editor")
