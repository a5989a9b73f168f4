"""Wheel 1 with other families than FLUX in the generator's role: only ``models.generator`` names them.

The models are tiny and random, so what they draw is noise without faces: ``anyway`` goes on, and what asks for an
identity must not hold.
"""

import pytest

from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.flow import WHEEL
from flenlib.flow.run import call
from flenlib.models import lora, registry
from flenlib.models.settings import iteration
from flenlib.project import Project
from flenlib.steps import record
from tests.studio import write_raw

TRAIN = {"steps": 2, "batch_size": 1, "warmup": 1, "checkpoint_every": 2, "sample_every": 2, "rank": 2}
WHEEL_1 = [step for step in WHEEL.steps if 11 <= step.number <= 18 or step.number == 31]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("generator", ["tiny_qwen_image", pytest.param("tiny_qwen_edit", marks=pytest.mark.slow)])
def test_wheel_1_turns(generator, pictures, tiny_qwen_edit, tmp_path, request):
    settings = iteration(
        character={"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"},
        anyway=True,
        models={
            "generator": str(request.getfixturevalue(generator)),
            "editor": str(tiny_qwen_edit),
            "precision": "fp32",
        },
        curate={"folder": str(pictures), "minimum_size": 64},
        enrich={"edits_per_source": 1, "steps": 1, "tries": 1, "guidance": 1.0},
        review_enriched={"reviewer": "auto", "margin": 9.0},
        train=TRAIN,
        generate={"prompts": 3, "seeds_per_prompt": 1, "steps": 1, "guidance": 1.0},
        filter={"threshold": 0.6},
        review_synthetic={"reviewer": "auto", "select": 2},
        retrain=TRAIN,
        card={"seeds_per_cell": 1, "steps": 1, "guidance": 1.0},
    )
    project = Project(tmp_path, settings.character, "v1")
    for step in WHEEL_1:
        call(project, step, settings)

    for version in ("v1", "v1_refined"):
        lora.check(project.lora(version), registry.resolve(settings.models.generator, "generator").family)
    drawn = Dataset.open(project.data("synthetic"))
    assert len(drawn.images) == 3 and all(r.measurements["face_distance"] == NOT_MEASURED for r in drawn.images)
    assert drawn.images[0].models["loras"][0]["file"] == "char_lora_v1.safetensors"
    assert len(list((project.outputs / "card_v1_refined").glob("*.png"))) == 23
    unmet = {step.number: [c.name for c in record.read(project, step.name).criteria if not c.holds] for step in WHEEL_1}
    assert any("candidates left" in name for name in unmet[16])
    assert any("nearer to held-out sources than the base model" in name for name in unmet[18])
    assert any("of first tries" in name for name in unmet[31])
