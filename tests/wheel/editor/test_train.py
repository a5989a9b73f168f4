"""Step 2.2 on a tiny editor: triplets are learnt with their reference, held-out ones score the checkpoints."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flenlib import content, params
from flenlib.content import Allowed
from flenlib.dataset import triplets
from flenlib.dataset.images import read_provenance, save_picture
from flenlib.dataset.triplets import Triplet
from flenlib.draw.editor import open_editor
from flenlib.measure.faces import ReferenceSet
from flenlib.models import lora
from flenlib.project import open_iteration
from flenlib.wheel.editor import train
from tests.models.common import picture

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
NOBODY = ReferenceSet(("a", "b"), np.zeros((2, 128)))
SETTINGS = {"steps": 4, "batch_size": 2, "warmup": 1, "checkpoint_every": 2, "validate_every": 2, "rank": 2,
            "caption_dropout": 0.5, "learning_rate": 1e-2, "sampling_steps": 2, "guidance": 1.0}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_qwen_edit, tmp_path_factory):
    """A trained tiny editor: (project, editor, folder, pairs, settings, result)."""
    project = open_iteration(CHARACTER, root=tmp_path_factory.mktemp("home"))
    folder = project.data("corrections")
    pairs = []
    for n in range(5):
        for seed, name in ((n, f"s{n}.png"), (n + 50, f"t{n}.png")):
            save_picture(picture(seed), folder / name, {"made_by": "import"})
        pairs.append(Triplet(f"s{n}.png", "Change background to forest", f"t{n}.png", kind="background"))
    pairs[4] = replace(pairs[4], held_out=True)
    triplets.write(folder, pairs)
    editor = open_editor(params.Models(editor=str(tiny_qwen_edit), device="cpu"), transformer=False)
    settings = params.check("train_editor", SETTINGS)
    return project, editor, folder, pairs, settings, train.train_editor(project, editor, folder, pairs, settings)


def test_held_out_triplets_are_never_learnt_and_references_always_are(trained):
    project, editor, folder, pairs, _, result = trained
    recorded = json.loads((project.outputs / "editor_training" / "training.json").read_text())
    assert editor.family.caption_empty == " ", "the empty prompt of the pipeline"
    assert len(recorded["samples"]) == 4 and all(len(s["references"]) == 1 for s in recorded["samples"])
    assert [s.image.name for s in train.samples(project.character, folder, pairs, held_out=True)] == ["t4.png"]
    assert result.watched["validation_loss"].notna().any()


def test_checkpoints_are_scored_on_what_was_held_out_and_the_best_is_kept(trained):
    project, editor, folder, pairs, settings, result = trained
    assert not editor.family.can_encode_text, "let go for training; what scoring draws with is loaded again"
    scored = train.score(project, editor, result, folder, pairs, settings, NOBODY)
    assert list(scored["step"]) == [0, 2, 4] and set(scored["target"]) == {"t4.png"}
    assert scored["colour_difference"].notna().all() and scored["edit_done"].isna().all()
    drawn = sorted((result.lora.parent / "scored").glob("*.png"))
    facts = read_provenance(drawn[-1])
    assert (facts["character"], facts["character_kind"]) == ("tester", "fictional") and not facts["consent"]
    assert facts["made_by"] == facts["models"]["name"] == "tiny-qwen-edit" and len(facts["models"]["loras"]) == 1
    stamps = [path.stat().st_mtime_ns for path in drawn]
    again = train.score(project, editor, result, folder, pairs, settings, NOBODY)
    assert again.equals(scored) and stamps == [path.stat().st_mtime_ns for path in drawn]
    best = train.best_step(scored, result)
    assert best == int(scored[scored["step"] > 0].sort_values("colour_difference")["step"].iloc[0])
    path = train.keep(project, result, best)
    assert lora.fingerprint(path) == lora.fingerprint(train.checkpoints(result)[best])
    assert train.sheet(folder, pairs, scored).width > 300
    assert [c.name for c in train.criteria(result, settings, scored, path)][3] == "the LoRA is saved"


def test_the_lora_loads_and_changes_what_is_drawn(trained):
    project, editor, _, _, _, result = trained
    family = editor.family
    train.keep(project, result, 4)
    family.reload()
    recipe = {"seed": 1, "steps": 2, "guidance": 1.0, "references": (picture(9),)}
    base = np.asarray(family.sample(Allowed("Change background to forest"), **recipe)).astype(int)
    lora.stack(family, [(project.editor_lora, 1.0)])
    assert abs(np.asarray(family.sample(Allowed("Change background to forest"), **recipe)).astype(int) - base).max() > 0
    lora.unstack(family)


def test_a_damaged_checkpoint_is_not_kept(trained):
    project, _, _, _, _, result = trained
    train.keep(project, result, 4)
    path = train.checkpoints(result)[2]
    whole, kept = path.read_bytes(), project.editor_lora.read_bytes()
    path.write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"step_000002/lora\.safetensors is damaged: its sha256 is not the recorded one"
    ):
        train.keep(project, result, 2)
    assert project.editor_lora.read_bytes() == kept
    path.write_bytes(whole)


def test_no_checkpoint_is_trained_or_scored_once_consent_is_withdrawn(trained, tmp_path):
    project, editor, folder, pairs, settings, result = trained
    note = content.consent.note(project.root, "tester")
    note.write_text('{"withdrawn": "2026-01-31"}')
    longer = settings.model_copy(update={"seed": 5})
    try:
        with pytest.raises(content.Refused, match="was withdrawn"):
            train.train_editor(project, editor, folder, pairs, longer)
        fresh = replace(result, lora=tmp_path / "lora.safetensors")
        with pytest.raises(content.Refused, match="was withdrawn"):
            train.score(project, editor, fresh, folder, pairs, settings, NOBODY)
    finally:
        note.unlink()


def test_a_scored_picture_of_one_colour_is_named_and_not_kept(trained, tmp_path, monkeypatch):
    project, editor, folder, pairs, settings, result = trained
    monkeypatch.setattr(type(editor.family), "sample", lambda *_, **how: Image.new("RGB", (64, 64)))
    fresh = replace(result, lora=tmp_path / "lora.safetensors")
    with pytest.raises(RuntimeError, match=r"step_000000_t4\.png was drawn as one colour all over"):
        train.score(project, editor, fresh, folder, pairs, settings, NOBODY)
    assert not list(tmp_path.rglob("*.png"))


def test_without_held_out_triplets_the_last_checkpoint_is_kept(trained):
    project, editor, folder, pairs, settings, result = trained
    none = [replace(pair, held_out=False) for pair in pairs]
    scored = train.score(project, editor, result, folder, none, settings, NOBODY)
    assert scored.empty and train.best_step(scored, result) == 4
    assert "not measured" in train.criteria(result, settings, scored, project.editor_lora)[2].found


def scores(**steps):
    """A table of checkpoints: (face distance, colour difference, unchanged) of two held-out pictures each."""
    return pd.DataFrame(
        [
            {"step": int(name[1:]), "source": f"s{n}", "target": f"t{n}", "face_distance": face,
             "colour_difference": colour, "edit_done": np.nan, "unchanged": same, "face_found": float(face == face)}
            for name, (face, colour, same) in steps.items() for n in (1, 2)
        ]
    )  # fmt: skip


def test_a_checkpoint_that_hands_the_source_back_is_never_the_best(trained):
    """Where no judge knows whether an edit was done, the nearest face of all is the source's own."""
    result = trained[-1]
    scored = scores(s0=(0.30, 20.0, 0), s2=(0.25, 15.0, 0), s4=(0.0, 24.0, 1))
    assert train.best_step(scored, result) == 2
    assert train.best_step(scores(s0=(0.30, 20.0, 0), s2=(0.01, 19.9, 1), s4=(0.31, 20.5, 0)), result) == 4


def test_a_near_copy_loses_to_what_lies_nearer_to_the_targets(trained):
    scored = scores(s0=(0.30, 20.0, 0), s2=(0.27, 12.0, 0), s4=(0.20, 25.0, 0))
    assert train.best_step(scored, trained[-1]) == 2
    without_faces = scores(s0=(0.30, 20.0, 0), s2=(np.nan, 12.0, 0), s4=(0.1, 15.0, 0))
    assert train.fit(train.by_step(without_faces)).index.tolist() == [4]  # the second lost the faces
    assert train.nearness(train.by_step(without_faces))[4] == 0.75  # by colours alone


def test_nothing_fit_is_no_success_and_the_number_of_pictures_is_said(trained):
    project, _, _, _, settings, result = trained
    scored = scores(s0=(0.30, 20.0, 0), s2=(0.0, 24.0, 1), s4=(0.0, 26.0, 1))
    assert train.best_step(scored, result) == 2
    found = train.criteria(result, settings, scored, project.editor_lora)[2]
    assert not found.holds and "on 2 held-out triplets of 2 sources" in found.found
