"""The recipe of the shipped weights runs stage by stage, continues where it stopped, and keeps its promises."""

import random

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FluxPipeline

from flenlib import mini
from flenlib.dataset.images import open_image, read_provenance
from flenlib.dataset.imports import attributes_from_name
from flenlib.dataset.prompts import FACE_ANGLES
from flenlib.mini import autoencoders, build, corpus
from flenlib.mini.build import new_pipeline
from flenlib.mini.people import TRAINING_SEEDS
from flenlib.mini.training import Trainee
from flenlib.models import shipped


def stage(data, name, *more):
    common = [
        "--data",
        str(data),
        "--weights",
        str(data / "weights"),
        "--size",
        "tiny",
        "--max-steps",
        "2",
        "--minutes",
        "1",
    ]
    build.main(["--stage", name, *common, *more])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A work folder in which every stage has run two steps on a tiny corpus."""
    data = tmp_path_factory.mktemp("build")
    stage(data, "corpus", "--groups", "2", "--singles", "2")
    for name in ("ae-flux", "ae-qwen", "latents", "flux", "edit", "assemble"):
        stage(data, name)
    return data


def test_stages_ship_loadable_pipelines(built):
    assert (built / "weights" / "mini-qwen-edit" / "flenlib.json").exists()
    pipeline = FluxPipeline.from_pretrained(built / "weights" / "mini-flux", torch_dtype=torch.float32)
    image = pipeline("photo of person", height=64, width=64, num_inference_steps=1, max_sequence_length=32).images[0]
    assert image.size == (64, 64)


@pytest.mark.parametrize(("name", "file"), [("flux", "flux.pt"), ("edit", "qwen.pt"), ("ae-flux", "ae_flux.pt")])
def test_a_training_continues_from_its_checkpoint(built, name, file):
    before = torch.load(built / file, weights_only=True)["steps"]
    stage(built, name)
    assert torch.load(built / file, weights_only=True)["steps"] == before + 2


@pytest.mark.slow
def test_all_stages_run_by_themselves_and_do_not_start_over(tmp_path):
    common = ["--data", str(tmp_path), "--weights", str(tmp_path / "weights"), "--size", "tiny", "--max-steps", "2"]
    build.main([*common, "--groups", "2", "--singles", "2"])
    assert (tmp_path / "weights" / "mini-flux" / "model_index.json").exists()
    corpus_file = next(tmp_path.glob("corpus_*.npz"))
    before = corpus_file.stat().st_mtime_ns
    build.main(common)
    assert corpus_file.stat().st_mtime_ns == before
    assert torch.load(tmp_path / "flux.pt", weights_only=True)["steps"] == 4


def test_shipped_weights_can_be_carried_on(built, tmp_path):
    carried = ["--data", str(tmp_path), "--weights", str(built / "weights"), "--size", "tiny", "--max-steps", "2"]
    build.main(["--stage", "unpack", *carried])
    corpus_file = next(built.glob("corpus_*.npz"))
    (tmp_path / corpus_file.name).write_bytes(corpus_file.read_bytes())
    for name in ("latents", "flux", "edit", "ae-qwen"):
        build.main(["--stage", name, "--minutes", "1", *carried])
    old = torch.load(built / "flux.pt", weights_only=True)["average"]
    new = torch.load(tmp_path / "flux.pt", weights_only=True)["average"]
    name = "transformer.x_embedder.weight"
    torch.testing.assert_close(new[name], old[name], atol=2e-2, rtol=2e-2)  # stored in bfloat16, then two steps
    with pytest.raises(FileExistsError, match="there already"):
        build.main(["--stage", "unpack", *carried])


def test_assembled_autoencoder_equals_the_trained_one(built):
    """Folding the normalisation and writing 2D kernels back changes nothing but the units of the latents."""
    from flenlib.mini.training import load_average

    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    for family in ("flux", "qwen"):
        codec = autoencoders.Codec(new_pipeline(family, "tiny").vae).eval()
        load_average(codec, built / f"ae_{family}.pt")
        vae = build.assemble(built, family, "tiny").vae.eval()
        with torch.no_grad():
            wanted = codec.decode(codec.encode(pictures)).clamp(-1, 1)
            five = isinstance(vae, AutoencoderKLQwenImage)
            inputs = pictures.unsqueeze(2) if five else pictures
            out = vae.decode(vae.encode(inputs).latent_dist.mode()).sample
        out = out[:, :, 0] if five else out
        torch.testing.assert_close(out.clamp(-1, 1), wanted, atol=2e-4, rtol=1e-3)


def test_latents_of_another_corpus_are_refused(built, tmp_path):
    for name in ("latents_flux.pt", "flux.pt"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    stage(tmp_path, "corpus", "--groups", "1", "--singles", "0")
    with pytest.raises(ValueError, match="run --stage latents again"):
        stage(tmp_path, "flux")


def test_corpus_draws_training_people_only(tmp_path):
    with pytest.raises(ValueError, match="training seeds"):
        corpus.draw_corpus(tmp_path, 1, 1, first=TRAINING_SEEDS.stop - 1)
    with pytest.raises(FileNotFoundError, match="--stage corpus"):
        corpus.load_corpus(tmp_path)


def test_captions_and_edits_say_what_is_shown(built):
    rows = corpus.load_corpus(built).rows
    rng = random.Random(0)
    for row in rows:
        text = corpus.write_caption(row, rng)
        for angle in ("half-left", "half-right", "profile-left", "profile-right"):
            assert angle not in text or row.scene["angle"] == angle
    mirrored = [row.mirrored().mirrored() for row in rows]
    assert mirrored == rows
    pairs = corpus.edit_pairs(rows)
    assert {kind for _, _, kind in pairs} >= {"background", "light", "style", "expression"}
    a, b, _ = next(pair for pair in pairs if pair[2] == "light")
    assert corpus.write_edit(rows[a], rows[b], "light", rng).startswith("Change lighting to ")


def test_a_group_varies_what_edits_change():
    """Every group lets each kind of edit be learnt, mostly with views in which a face must survive."""
    groups = [corpus.group_scenes(np.random.default_rng([7, seed]), seed) for seed in range(40)]
    for scenes in groups:
        base, *variants = scenes
        changed = [name for v in variants for name in corpus._FIELDS if getattr(v, name) != getattr(base, name)]
        counts = {name: changed.count(name) for name in set(changed)}
        assert counts == {"background": 1, "light": 2, "style": 1, "expression": 2, "angle": 2, "height": 1}
        assert len(set(scenes)) == len(scenes) and base.style == "photo" and base.angle != "back"
    angles = [scene.angle for scenes in groups for scene in scenes]
    assert sum(angle in FACE_ANGLES for angle in angles) > 0.7 * len(angles)


def test_tokens_on_a_face_are_known_in_both_directions(built):
    from flenlib.mini import pretrain

    whole = corpus.load_corpus(built)
    shares = pretrain.face_shares(whole, 4)
    assert shares.shape == (2, len(whole.rows), 16) and shares.min() >= 0 and shares.max() <= 1
    grid = shares.view(2, -1, 4, 4)
    torch.testing.assert_close(grid[1], grid[0].flip(-1))
    left, top, right, bottom = whole.boxes[0]
    torch.testing.assert_close(shares[0, 0].sum().item() * 16 * 16, float((right - left) * (bottom - top)))
    behind = [n for n, row in enumerate(whole.rows) if row.scene["angle"] == "back"]
    assert not shares[:, behind].any()


def test_a_killed_save_leaves_the_checkpoint_whole(tmp_path, monkeypatch):
    trainee = Trainee(torch.nn.Linear(2, 2), tmp_path / "x.pt", lr=0.1, minutes=1)
    trainee.save()
    before = (tmp_path / "x.pt").read_bytes()

    def killed(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainee.save()
    assert (tmp_path / "x.pt").read_bytes() == before


def test_sources_are_of_unseen_people_and_carry_provenance(tmp_path):
    paths = mini.draw_sources(0, tmp_path, 3)
    assert [path.name for path in paths] == ["maya_01.png", "maya_02.png", "maya_03.png"]
    assert read_provenance(paths[0])["made_by"] == "renderer"
    assert attributes_from_name(paths[1])["angle"] == "half-left"
    image = open_image(paths[0])
    assert image.size == (96, 96) and np.asarray(image).std() > 5


@pytest.mark.parametrize("name", shipped.NAMES)
def test_shipped_weights_are_small(name):
    total = sum(path.stat().st_size for path in shipped.folder(name).rglob("*") if path.is_file())
    assert total <= 20e6


def test_unknown_pipeline_names_the_choices():
    with pytest.raises(ValueError, match="mini-flux, mini-qwen-edit"):
        shipped.folder("mini-fluks")


def test_guidance_moves_the_target_only_above_one(built):
    """In the second part of a FLUX run guidance 1 keeps the plain velocity; more is pushed away from no words."""
    from flenlib.mini import pretrain

    pipeline = new_pipeline("flux", "tiny")
    model = pretrain.learner(pipeline)
    latents = torch.load(built / "latents_flux.pt", weights_only=True)["latents"]
    task = pretrain.FluxTask(pipeline, latents, corpus.load_corpus(built), model)
    clean = pretrain.pack(pretrain.take(latents, [(0, 0), (1, 1)] * 2))
    noisy, times, target = pretrain.noised(clean)
    moved = task._guide(noisy, times, target, ["person smiling"] * 4, torch.tensor([1.0, 1.0, 1.0, 4.0]))
    torch.testing.assert_close(moved[:3], target[:3])
    assert not torch.allclose(moved[3], target[3])
    assert task.loss(model, 4, 1.0, random.Random(0)).isfinite()
