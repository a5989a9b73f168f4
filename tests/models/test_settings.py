"""Effective settings: what a file says, over the model's own, over its family's, over the schema's."""

import json
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest

from flenlib import params
from flenlib.models import placement, registry, settings
from flenlib.params import __main__ as program
from flenlib.project import ROOT

FOUR_LINES = """\
character: {name: maya, trigger: ohwx_char, class_noun: woman, kind: fictional, age: adult}
models:
  generator: black-forest-labs/FLUX.1-dev
  editor: Qwen/Qwen-Image-Edit-2509
"""
DEMO = json.loads((Path(__file__).parent / "demo_settings.json").read_text())
"""The demo's settings when all of them stood in params/mini/v1.yaml or were the schema's defaults."""


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(placement, "gpu_gib", lambda device: None)


def load(folder, text):
    (folder / "v1.yaml").write_text(text)
    return settings.load_iteration(folder / "v1.yaml")


def test_four_lines_give_flux_dev_its_own_settings(tmp_path):
    found = load(tmp_path, FOUR_LINES)
    for training in (found.train, found.retrain):
        assert (training.learning_rate, training.batch_size, training.targets) == (1e-4, 1, "attention")
        assert (training.resolution, training.optimizer) == ([1024], "adamw8bit") and training.gradient_checkpointing
        assert training.checkpoint_every == training.sample_every == training.validate_every
    assert found.review_enriched.reviewer == found.review_synthetic.reviewer == found.corrections.reviewer == "human"
    assert (found.corrections.hand, found.corrections.minimum, found.curate.minimum_size) == ("person", 10, 512)
    assert (found.generate.steps, found.card.guidance) == (28, 3.5)
    assert (found.enrich.steps, found.enrich.guidance, found.train_editor.sampling_steps) == (40, 4.0, 40)


def test_a_published_model_alone_is_not_paired_with_a_small_one(tmp_path):
    two_lines = "\n".join(line for line in FOUR_LINES.splitlines() if "editor" not in line)
    assert load(tmp_path, two_lines).models.editor == "qwen-image-edit-2509"
    only_editor = "\n".join(line for line in FOUR_LINES.splitlines() if "generator" not in line)
    found = load(tmp_path, only_editor)
    assert found.models.generator == "flux-dev" and found.corrections.hand == "person"
    (models,) = settings.check(models={"generator": "flux-dev"})
    assert models.editor == "qwen-image-edit-2509"


def test_a_model_of_both_roles_is_its_own_partner(tmp_path):
    """Both wheels turn on klein's base; beside a distilled one, which trains nothing, stands its base."""
    base = "flux2-klein-base-4b"
    for role, other in (("generator", "editor"), ("editor", "generator")):
        for name in (base, "flux2-klein-4b"):
            (models,) = settings.check(models={role: name})
            assert getattr(models, role) == name and getattr(models, other) == base
    two_lines = "\n".join(line for line in FOUR_LINES.splitlines() if "editor" not in line)
    found = load(tmp_path, two_lines.replace("black-forest-labs/FLUX.1-dev", base))
    assert (found.models.precision, found.models.offload) == ("bf16", "none")
    assert (found.enrich.steps, found.generate.guidance, found.train_editor.accumulate) == (50, 4.0, 4)
    fast = load(tmp_path, two_lines.replace("black-forest-labs/FLUX.1-dev", base) + "\n  editor: flux2-klein-4b\n")
    assert (fast.enrich.steps, fast.enrich.guidance, fast.generate.steps) == (4, 1.0, 50)


def test_one_training_of_a_model_of_two_roles_says_which(tmp_path):
    file = tmp_path / "run.yaml"
    text = "character: {name: maya, trigger: ohwx_char, kind: fictional, age: adult}\nmodel: qwen-image-edit-2509\n"
    steps = []
    for role in ("", "role: generator\n"):
        file.write_text(f"{text}{role}data: [x]\noutput: y\n")
        steps.append(settings.load_run(file).train.steps)
    assert steps == [1000, 2800]
    file.write_text(f"{text.replace('qwen-image-edit-2509', 'flux-dev')}role: editor\ndata: [x]\noutput: y\n")
    with pytest.raises(ValueError, match="cannot be used as editor"):
        settings.load_run(file)


def test_a_qwen_generator_learns_as_one_and_a_qwen_editor_as_an_editor(tmp_path):
    found = load(tmp_path, FOUR_LINES.replace("black-forest-labs/FLUX.1-dev", "qwen-image-edit-2509"))
    assert (found.train.learning_rate, found.train.accumulate) == (2e-4, 4)
    assert (found.train_editor.learning_rate, found.generate.guidance, found.enrich.steps) == (1e-4, 4.0, 40)


@pytest.mark.parametrize(
    ("gib", "generator", "editor", "wanted"),
    [
        (None, "flux-dev", "qwen-image-edit-2509", ("nf4", "model")),
        (23.5, "flux-dev", "qwen-image-edit-2509", ("nf4", "model")),
        (47.5, "flux-dev", "qwen-image-edit-2509", ("int8", "model")),
        (79.2, "flux-dev", "qwen-image-edit-2509", ("bf16", "none")),
        (None, "flux-dev", "mini-qwen-edit", ("nf4", "model")),
        (31.4, "flux-dev", "mini-qwen-edit", ("bf16", "model")),
        (47.5, "flux-dev", "mini-qwen-edit", ("bf16", "none")),
        (79.2, "mini-flux", "mini-qwen-edit", ("fp32", "none")),
    ],
)
def test_the_larger_model_chooses_the_precision_for_the_gpus_memory(monkeypatch, gib, generator, editor, wanted):
    monkeypatch.setattr(placement, "gpu_gib", lambda device: gib)
    (models,) = settings.check(models={"generator": generator, "editor": editor})
    assert (models.precision, models.offload) == wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"generator": "mini-flux", "editor": "mini-qwen-edit"}, ("auto", 64, "renderer", 6)),
        ({"generator": "flux-dev", "editor": "mini-qwen-edit"}, ("human", 512, "person", 10)),
        ({"generator": "mini-flux", "editor": "qwen-image-edit-2509"}, ("human", 512, "person", 10)),
    ],
)
def test_only_two_small_models_are_reviewed_and_corrected_without_a_person(asked, wanted):
    _, review, curate, corrections = settings.check(models=asked, review_enriched={}, curate={}, corrections={})
    assert (review.reviewer, curate.minimum_size, corrections.hand, corrections.minimum) == wanted


def test_gradients_are_clipped_more_at_nf4():
    for precision, norm in (("nf4", 0.1), ("bf16", 1.0)):
        asked = {"generator": "flux-dev", "precision": precision}
        _, train, own = settings.check(models=asked, train={}, retrain={"max_grad_norm": 0.5})
        assert (train.max_grad_norm, own.max_grad_norm) == (norm, 0.5)


@pytest.mark.parametrize("name", registry.KNOWN)
def test_what_models_and_families_set_is_known_and_valid(name):
    model = registry.KNOWN[name]
    for given in (model.settings, model.family.settings, *model.family.settings_at.values()):
        for section, fields in given.items():
            params.check(section, fields)


def test_a_checked_section_is_returned_as_it_is():
    models, train = settings.check(models={"generator": "flux-dev"}, train={"rank": "8"})
    assert train.rank == 8 and settings.check(models=models, train=train) == (models, train)
    assert settings.check(models=models.model_dump(), train=train.model_dump()) == (models, train)


def test_a_mistake_is_one_sentence():
    with pytest.raises(ValueError, match=r"^train: unknown parameter 'stepz'; did you mean 'steps'\?$"):
        settings.check(models={}, train={"stepz": 1})
    with pytest.raises(ValueError, match="model 'flux-def' is not known; did you mean 'flux-dev'"):
        settings.check(models={"generator": "flux-def"})


def test_the_demo_is_what_it_was():
    v1, v2 = (settings.load_iteration(ROOT / "params" / "mini" / f"{name}.yaml").model_dump() for name in ("v1", "v2"))
    learnt = params.Captions(style="template", light="describe").model_dump()
    same = {"anyway": False, "captions": learnt}
    assert v1 == DEMO | same
    v2["generate"]["seed"], v2["compare_editors"]["adopt"], v2["models"]["editor_loras"] = 23, "ours", []
    assert v2 == DEMO | same | {"iteration": "v2"}


def test_the_turns_are_what_they_were():
    """In all that four turns of wheel 1 act on; the second wheel does not turn there."""
    found = settings.load_iteration(ROOT / "params" / "mini" / "turns.yaml").model_dump()
    every = {"steps": 400, "checkpoint_every": 400, "sample_every": 400, "validate_every": 400}
    wanted = {
        "models": DEMO["models"],
        "curate": DEMO["curate"],
        "enrich": DEMO["enrich"] | {"edits_per_source": 3, "tries": 1, "slack": 1.75},
        "review_enriched": DEMO["review_enriched"],
        "train": DEMO["train"] | every,
        "generate": DEMO["generate"] | {"prompts": 36, "seeds_per_prompt": 1},
        "filter": DEMO["filter"],
        "review_synthetic": DEMO["review_synthetic"],
        "retrain": DEMO["retrain"] | every,
        "card": DEMO["card"] | {"seeds_per_cell": 2},
        "guards": DEMO["guards"],
    }
    assert {section: found[section] for section in wanted} == wanted


def test_every_setting_says_where_it_comes_from(tmp_path, capsys):
    (tmp_path / "v1.yaml").write_text(FOUR_LINES + "train: {rank: 8}\n")
    (tmp_path / "v2.yaml").write_text("extends: v1.yaml\niteration: v2\ntrain: {seed: 3}\n")
    assert program.main(["show", str(tmp_path / "v2.yaml")]) == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()}
    assert rows["iteration"] == f"v2 {tmp_path / 'v2.yaml'}" and rows["train.seed"] == f"3 {tmp_path / 'v2.yaml'}"
    assert rows["train.rank"] == f"8 {tmp_path / 'v1.yaml'}"
    assert rows["train.resolution"] == "[1024] flux-dev" and rows["train.learning_rate"] == "0.0001 family flux"
    assert rows["train.max_grad_norm"] == "0.1 family flux at nf4" and rows["train.warmup"] == "20 schema"
    assert rows["models.precision"] == "nf4 family qwen_edit for 24 GiB, no GPU being here"


def test_the_settings_of_one_training_are_shown_too(capsys):
    assert program.main(["show", str(ROOT / "params" / "train" / "qwen_edit_4090.yaml")]) == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()}
    assert rows["train.max_grad_norm"] == "0.1 family qwen_edit at nf4"
    assert rows["preview_steps"] == "40 family qwen_edit" and rows["prior_weight"] == "1.0 schema"


def test_the_whole_file_extends_no_other_and_means_the_same(tmp_path, capsys):
    path = ROOT / "params" / "mini" / "v2.yaml"
    assert program.main(["whole", str(path)]) == 0
    assert load(tmp_path, capsys.readouterr().out) == settings.load_iteration(path)


def test_a_wrong_file_is_one_sentence(tmp_path, capsys):
    assert program.main(["show", str(tmp_path / "none.yaml")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_notebook_refuses_extends_which_papermill_does_not_follow(monkeypatch):
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(user_ns={"extends": "v1.yaml"}))
    with pytest.raises(ValueError, match="papermill does not follow extends: give it the whole file"):
        settings.check(models={})


def test_a_training_outside_the_notebooks_has_its_models_settings(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(FOUR_LINES.split("models:")[0] + "model: Qwen/Qwen-Image-Edit-2509\ndata: [d]\noutput: o\n")
    run = settings.load_run(path)
    assert (run.precision, run.offload, run.preview_steps, run.preview_guidance) == ("nf4", "model", 40, 4.0)
    assert (run.train.steps, run.train.accumulate, run.train.max_grad_norm) == (1000, 4, 0.1)
    path.write_text(path.read_text().replace("Qwen/Qwen-Image-Edit-2509", "mini-flux") + "train: {rank: 4}\n")
    run = settings.load_run(path)
    assert (run.precision, run.preview_steps, run.train.learning_rate, run.train.rank) == ("fp32", 16, 2e-3, 4)
