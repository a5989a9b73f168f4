"""Both wheels on one base: FLUX.2 klein edits the sources, learns the character and draws, and learns to edit."""

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.images import open_image, read_provenance, save_picture
from flenlib.dataset.records import Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.draw.editor import open_editor
from flenlib.draw.generator import open_generator
from flenlib.draw.load import Waiting
from flenlib.flow import WHEEL
from flenlib.flow.run import call
from flenlib.mini import relatives
from flenlib.models import lora, registry
from flenlib.models.families.flux2_klein import Flux2Klein
from flenlib.models.settings import iteration
from flenlib.project import Project, open_iteration
from flenlib.steps import record
from flenlib.wheel import curate, enrich, generate
from flenlib.wheel import train as character
from flenlib.wheel.editor import train as editing
from tests.models.common import picture
from tests.studio import write_raw
from tests.train.common import draw

CHARACTER = {"name": "tester", "trigger": "ohwx", "kind": "fictional", "age": "adult"}
TRAIN = {"steps": 2, "batch_size": 1, "warmup": 1, "learning_rate": 1e-2, "checkpoint_every": 2, "sample_every": 2,
         "validate_every": 2, "rank": 2}  # fmt: skip


@pytest.fixture
def models(tiny_flux2_klein):
    return params.Models(generator=str(tiny_flux2_klein), editor=str(tiny_flux2_klein), device="cpu")


@pytest.fixture
def project(tmp_path):
    return open_iteration(CHARACTER, root=tmp_path)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """The folder of a tiny klein that says it is distilled, with the base's weights."""
    folder = tmp_path_factory.mktemp("models") / "tiny-klein-distilled"
    return relatives.save(folder, lambda: relatives.flux2_klein(distilled=True))


def test_a_source_is_edited_by_the_model_that_then_learns_and_draws(models, project, tmp_path):
    folder = write_raw(tmp_path / "raw", count=3)
    curate.curate(project, params.check("curate", {"folder": str(folder), "minimum_size": 64}))
    asked = params.check("enrich", {"edits_per_source": 1, "kinds": ["background"], "steps": 1, "tries": 1})
    editor, source = open_editor(models), Dataset.open(project.data("source"))
    edited = enrich.enrich(project, source, editor, asked, params.check("review_enriched", {})).dataset
    assert edited.images and {each.models["name"] for each in edited.images} == {"tiny-flux2-klein"}
    editor.free()

    generator = open_generator(models, transformer=False)
    trained = character.train_character(
        project, generator, draw(tmp_path / "pictures", 2), params.check("train", TRAIN), "v1"
    )
    assert lora.families_of(trained.lora) == [Flux2Klein] and np.isfinite(trained.log["loss"]).all()
    asked = params.check("generate", {"prompts": 1, "seeds_per_prompt": 1, "steps": 2, "guidance": 2.0})
    drawn = generate.generate(project, open_generator(models, [f"{trained.lora}:0.8"]), asked)
    assert read_provenance(drawn.path(drawn.images[0]))["models"]["loras"][0]["weight"] == 0.8


def test_it_learns_from_triplets_of_several_references_and_a_distilled_model_draws_with_it(
    models, project, distilled, tmp_path
):
    folder, pairs = project.data("corrections"), []
    for n in range(2):
        for seed, name in ((n, f"s{n}.png"), (n + 50, f"t{n}.png")):
            save_picture(picture(seed, 96, 64), folder / name, {"made_by": "import"})
        pairs.append(Triplet(f"s{n}.png", "Change background to forest", f"t{n}.png", kind="background"))
    triplets.write(folder, pairs)
    editor, asked = open_editor(models, transformer=False), params.check("train_editor", TRAIN | {"sampling_steps": 1})
    trained = editing.train_editor(project, editor, folder, pairs, asked)
    assert trained.steps == 2 and all(key.endswith(".weight") for key in load_file(trained.lora))
    fast = registry.resolve(distilled).family.load(distilled, device="cpu")
    how = {"seed": 1, "steps": 2, "references": [picture(9), picture(10, 96, 64)]}
    text = editing.samples(project.character, folder, pairs)[0].caption
    base = np.asarray(fast.sample(text, **how)).astype(int)
    assert np.array_equal(base, fast.sample(text, guidance=9.0, **how)), "it has no guidance"
    lora.stack(fast, [(trained.lora, 1.0)])
    assert abs(np.asarray(fast.sample(text, **how)).astype(int) - base).max() > 0


def test_a_distilled_model_is_not_trained(distilled, project, tmp_path):
    models = params.Models(generator=str(distilled), device="cpu")
    with pytest.raises(ValueError, match=r"is distilled to few steps, .* train the model it was distilled from, and"):
        character.train_character(
            project, open_generator(models, transformer=False), draw(tmp_path / "pictures", 2),
            params.check("train", TRAIN), "v1",
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"flux2-klein-4b is distilled .*: train flux2-klein-base-4b, and draw with"):
        character.check_fits(_waiting("flux2-klein-4b"), params.check("train", TRAIN))
    with pytest.raises(ValueError, match="flux2_klein family takes at most 4 reference pictures and 5 were given"):
        character.check_fits(_waiting("flux2-klein-base-4b"), params.check("train", TRAIN), references=5)


def _waiting(name):
    return Waiting(registry.resolve(name), "nf4", "none", "cpu", (), False)


@pytest.mark.slow
def test_both_wheels_turn(models, tmp_path):
    """Every step of an iteration, in order; the renderer corrects what review sends back."""
    klein = models.generator
    settings = iteration(
        character=CHARACTER,
        anyway=True,  # what tiny random models draw is noise
        models={"generator": klein, "editor": klein, "precision": "fp32"},
        curate={"folder": str(write_raw(tmp_path / "raw")), "minimum_size": 64},
        enrich={"edits_per_source": 1, "steps": 1, "tries": 1, "guidance": 1.0},
        review_enriched={"reviewer": "auto", "margin": 1.01},
        train=TRAIN,
        generate={"prompts": 3, "seeds_per_prompt": 1, "steps": 1, "guidance": 1.0},
        filter={"threshold": 0.6},
        review_synthetic={"reviewer": "auto", "select": 2},
        retrain=TRAIN,
        card={"seeds_per_cell": 1, "steps": 1, "guidance": 1.0},
        corrections={"hand": "renderer", "reviewer": "auto", "labels": ["needs_correction", "reject"], "minimum": 2},
        train_editor=TRAIN | {"sampling_steps": 1, "guidance": 1.0},
        compare_editors={"edits_per_source": 1, "steps": 1, "guidance": 1.0, "kinds": ["background"]},
    )
    project = Project(tmp_path, settings.character, "v1")
    steps = [step for step in WHEEL.wanted(settings) if step.number >= 11]
    for step in steps:
        call(project, step, settings)
    assert {11, 12, 13, 14, 15, 16, 17, 18, 21, 22, 23, 31} <= {step.number for step in steps}
    for path in (project.lora("v1"), project.lora("v1_refined"), project.editor_lora):
        lora.check(path, Flux2Klein)
    made = record.read(project, "21_curate_corrections")
    assert made.results["by"]["renderer"] >= 2
    assert isinstance(open_image(next((project.outputs / "card_v1_refined").glob("*.png"))), Image.Image)
