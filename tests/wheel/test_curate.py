"""Step 1.1: what is usable is imported, what is not is left out with reasons, and the raw folder is only read."""

import hashlib
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageFilter, PngImagePlugin

from flenlib import params
from flenlib.dataset import caption_rules, images
from flenlib.dataset.records import Dataset
from flenlib.mini.hand import Renderer
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render
from flenlib.project import open_iteration
from flenlib.wheel import candidates, curate
from tests.models import captioner_folders
from tests.studio import write_raw, write_sketches

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"))


def settings(folder, **more):
    return params.check("curate", {"folder": str(folder), "minimum_size": 64, **more})


def test_twelve_pictures_become_a_source_dataset(raw, tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    curated = curate.curate(project, settings(raw))
    assert all(c.holds for c in curated.criteria), [str(c) for c in curated.criteria]
    dataset = Dataset.open(project.data("source"))
    assert len(dataset.images) == 12
    assert sum(r.held_out for r in dataset.images) == 2
    assert all(r.measurements["faces_found"] == 1 for r in dataset.images if r.held_out)
    first = dataset.get("maya_00_front_neutral.png")
    assert (first.angle, first.expression, first.depth, first.kind) == ("front", "neutral", 0, "source")
    assert first.caption == "photo of ohwx_char person, neutral expression, front view"
    assert first.quality == "medium", "96 pixels where 64 are the least"
    assert dataset.path(first).with_suffix(".txt").read_text().strip() == first.caption


def test_bad_pictures_are_left_out_with_reasons_and_raw_is_untouched(raw, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in sorted(raw.glob("*.png")):
        (folder / path.name).write_bytes(path.read_bytes())
    good = sorted(raw.glob("*.png"))
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:800])
    Image.open(good[1]).resize((20, 20)).save(folder / "tiny_front.png")
    Image.open(good[2]).filter(ImageFilter.GaussianBlur(4)).save(folder / "blurred_front.png")
    Image.open(good[3]).save(folder / "again_front_angry.png", compress_level=1)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    table = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder)).table
    reasons = table["reasons"]
    assert "not a picture" in reasons["text.jpg"]
    assert "empty" in reasons["empty.png"]
    assert "damaged" in reasons["cut.png"]
    assert "too small: 20 px, want 64" in reasons["tiny_front.png"]
    assert "blurred" in reasons["blurred_front.png"] or "no face" in reasons["blurred_front.png"]
    assert "duplicate of" in reasons["again_front_angry.png"] or "duplicate of" in reasons["maya_03_front_angry.png"]
    assert int(table["usable"].sum()) == 12
    assert not any(str(folder) in reason for reason in reasons)
    assert before == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_curating_again_keeps_what_a_person_edited(raw, tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    dataset = curate.curate(project, settings(raw)).dataset
    dataset.images[0].caption = "photo of ohwx_char person, with a hat"
    dataset.save()
    again = curate.curate(project, settings(raw)).dataset
    assert again.images[0].caption == "photo of ohwx_char person, with a hat"
    assert [r.sha256 for r in again.images] == [r.sha256 for r in dataset.images]


def test_captions_follow_a_new_trigger_and_edits_in_the_txt(raw, tmp_path):
    dataset = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(raw)).dataset
    beside = dataset.path(dataset.images[0]).with_suffix(".txt")
    beside.write_text("photo of ohwx_char person, laughing\n")
    again = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(raw))
    assert again.dataset.images[0].caption == "photo of ohwx_char person, laughing"
    renamed = curate.curate(open_iteration(CHARACTER | {"trigger": "zq7_mia"}, root=tmp_path), settings(raw))
    assert all("zq7_mia person" in r.caption for r in renamed.dataset.images) and renamed.criteria[2].holds


def test_a_captioner_describes_what_nobody_captioned_and_running_again_keeps_it(raw, tmp_path):
    captioner = captioner_folders.write(tmp_path / "captioner", "llava")
    folder = tmp_path / "two"
    folder.mkdir()
    for path in sorted(raw.glob("*_front_*"))[:2]:
        shutil.copy(path, folder)
    first, second = sorted(folder.glob("*.png"))
    first.with_suffix(".txt").write_text("ohwx_char, by hand")
    table = params.Captions(captioner=str(captioner), captioner_precision="fp32")
    project = open_iteration(CHARACTER, root=tmp_path)
    once = curate.curate(project, settings(folder), table=table).dataset
    described = once.get(second.name)
    assert once.get(first.name).caption == "ohwx_char, by hand" and described.extra["described"]
    assert described.caption == caption_rules.edit(described.extra["described"], project.character, table).after
    again = curate.curate(project, settings(folder), table=table).dataset
    assert [r.caption for r in again.images] == [r.caption for r in once.images]
    plain = curate.curate(project, settings(folder), table=params.Captions()).dataset
    assert plain.get(second.name).caption.startswith("ohwx_char, front view")


def test_another_seed_draws_another_person(tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    first = curate.gather(project, params.check("curate", {"seed": 1}), Renderer())
    assert curate.gather(project, params.check("curate", {"seed": 2}), Renderer()) != first


def test_names_that_say_no_angle_get_an_estimate_or_a_sentence(raw, tmp_path):
    folder = tmp_path / "phone"
    folder.mkdir()
    angles = {}
    for number, path in enumerate(sorted(raw.glob("*.png"))):
        (folder / f"IMG_{number:04d}.png").write_bytes(path.read_bytes())
        angles[f"IMG_{number:04d}.png"] = path.stem.split("_")[2]
    (folder / "IMG_0099.PSD").write_bytes(b"x")
    project = open_iteration(CHARACTER, root=tmp_path)
    curated = curate.curate(project, settings(folder))
    profiles = [name for name, angle in angles.items() if angle.startswith("profile")]
    reason = curated.table.loc[profiles[0], "reasons"]
    assert f"say the angle in the name ({profiles[0][:-4]}_profile-left.png) or in a .txt" in reason
    assert curated.table.loc["IMG_0099.PSD", "reasons"] == ".psd is not read here; save it as PNG or JPEG"
    assert {r.filename: r.angle for r in curated.dataset.images} == {n: angles[n] for n in angles if n not in profiles}
    assert all(curate.estimated(r) for r in curated.dataset.images)
    assert curated.table.loc["IMG_0004.png", "angle"] == "half-left (estimated)"
    assert curated.criteria[1].holds and "half-left (estimated)" in curated.criteria[1].found

    edited = Dataset.open(project.data("source"))
    edited.get("IMG_0000.png").angle = "half-right"
    edited.get("IMG_0001.png").caption = "photo of ohwx_char person at the sea"
    edited.save()
    (folder / profiles[0]).with_suffix(".txt").write_text("left profile")
    for name in ("IMG_0000", "IMG_0001", "IMG_0004"):
        (folder / f"{name}.txt").write_text("half left view, smiling")
    again = curate.curate(project, settings(folder)).dataset
    assert again.get(profiles[0]).angle == "profile-left"
    assert again.get("IMG_0000.png").angle == "half-right"  # a person's word stands
    assert (again.get("IMG_0001.png").angle, again.get("IMG_0001.png").caption) == (
        "half-left", "photo of ohwx_char person at the sea",
    )  # fmt: skip
    assert not curate.estimated(again.get("IMG_0004.png"))


def test_an_estimated_angle_that_is_corrected_is_corrected_in_the_caption(raw, tmp_path):
    folder = tmp_path / "phone"
    folder.mkdir()
    shutil.copy(next(raw.glob("*half-left_neutral*")), folder / "a.png")
    project = open_iteration(CHARACTER, root=tmp_path)
    assert "left" in curate.curate(project, settings(folder)).dataset.images[0].caption
    shutil.move(folder / "a.png", folder / "a_front.png")
    record = curate.curate(project, settings(folder)).dataset.images[0]
    assert (record.angle, record.caption) == ("front", "photo of ohwx_char person, front view")


SEED_002 = "ohwx_char, waist-up shot, wearing beige sweater and jeans, modern café background"


def test_captions_are_kept_as_they_are_written_and_only_warned_of(raw, tmp_path):
    folder = tmp_path / "captioned"
    folder.mkdir()
    written = {
        "a": SEED_002,
        "b": "A person with a red scarf, smiling",
        "c": "half-body shot, red scarf",
        "d": "ohwx_char person" + ", tall" * 60,
    }
    for (name, words), path in zip(written.items(), sorted(raw.glob("*_half*")), strict=True):
        shutil.copy(path, folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(words)
    shutil.copy(next(raw.glob("*front_angry*")), folder / "e_front.png")
    project = open_iteration(CHARACTER, root=tmp_path)
    for _ in range(2):  # running the step again changes nothing
        curated = curate.curate(project, settings(folder))
        assert {r.filename: r.caption for r in curated.dataset.images} == {
            "a.png": SEED_002,
            "b.png": "ohwx_char person with a red scarf, smiling",
            "c.png": "ohwx_char, half-body shot, red scarf",
            "d.png": written["d"],
            "e_front.png": "photo of ohwx_char person, front view",
        }
        warned = curated.table["warnings"].to_dict()
        assert warned["a.png"] == "the caption of a.png has no class noun 'person'"
        assert warned["b.png"] == "trigger added: the caption had none"
        assert warned["c.png"] == "trigger added: the caption had none; the caption of c.png has no class noun 'person'"
        assert warned["d.png"] == warned["e_front.png"] == "", "what is too long is counted by the model's tokenizer"
        assert curated.criteria[2].holds
    assert (project.data("source") / "a.txt").read_text().strip() == SEED_002
    (folder / "c.txt").write_text("ohwx_char, in a blue coat")  # rewritten later
    assert curate.curate(project, settings(folder)).dataset.get("c.png").caption == "ohwx_char, in a blue coat"


def test_a_caption_in_a_metadata_file_beside_the_raw_pictures_is_kept(raw, tmp_path):
    folder = tmp_path / "described"
    folder.mkdir()
    shutil.copy(next(raw.glob("*front_angry*")), folder / "a.png")
    row = {"filename": "a.png", "caption": "ohwx_char, glaring, red dress", "angle": "front"}
    (folder / "metadata.json").write_text(json.dumps({"dataset_version": "v1", "images": [row]}))
    dataset = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder)).dataset
    assert dataset.images[0].caption == "ohwx_char, glaring, red dress"


def test_a_persons_caption_follows_a_new_trigger(raw, tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    dataset = curate.curate(project, settings(raw)).dataset
    dataset.images[0].caption = "ohwx_char, laughing at ohwx_charlie"
    dataset.save()
    for _ in range(2):
        assert curate.curate(project, settings(raw)).dataset.images[0].caption == "ohwx_char, laughing at ohwx_charlie"
    renamed = curate.curate(open_iteration(CHARACTER | {"trigger": "zq7_mia"}, root=tmp_path), settings(raw)).dataset
    assert renamed.images[0].caption == "zq7_mia, laughing at ohwx_charlie"


def test_of_a_jpeg_and_a_png_of_one_picture_the_lossless_is_kept_and_a_larger_before_both(raw, tmp_path):
    folder = tmp_path / "twice"
    folder.mkdir()
    front, half = (Image.open(next(raw.glob(f"*{name}*"))) for name in ("00_front_neutral", "half-left_smiling"))
    front.convert("RGB").save(folder / "a_front.jpg", quality=95)
    front.save(folder / "b_front.png")
    half.save(folder / "c_half-left.png")
    half.convert("RGB").resize((192, 192), Image.Resampling.LANCZOS).save(folder / "d_half-left.jpg", quality=95)
    asked = settings(folder, minimum_sharpness=0)
    table = curate.curate(open_iteration(CHARACTER, root=tmp_path), asked).table
    assert table["reasons"].to_dict() == {
        "a_front.jpg": "duplicate of b_front.png", "b_front.png": "",
        "c_half-left.png": "duplicate of d_half-left.png", "d_half-left.jpg": "",
    }  # fmt: skip


def test_too_few_pictures_are_said_not_hidden(raw, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(raw.glob("*front_neutral*.png")):
        (folder / path.name).write_bytes(path.read_bytes())
    criteria = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder)).criteria
    assert not criteria[0].holds and criteria[0].found == "2"
    assert not criteria[1].holds and "say the angle in the name" in criteria[1].found


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(tmp_path / "nowhere"))


def test_a_picture_of_somebody_else_is_named_and_kept(raw, tmp_path):
    folder = shutil.copytree(raw, tmp_path / "mixed")
    other = Image.fromarray(render(person(1_070_003), Scene(seed=3)))
    other.save(folder / "zoe_front.png")
    curated = curate.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder))
    criterion = next(c for c in curated.criteria if "somebody else" in c.name)
    assert not criterion.holds and criterion.found.startswith("zoe_front.png (0.")
    assert "from the nearest of the others" in curated.table.loc["zoe_front.png", "warnings"]
    assert curated.table["usable"].all() and len(curated.dataset.images) == 13
    assert (curated.table["warnings"] != "").sum() == 1


def test_odd_pictures_are_rejected_one_by_one_or_renamed_and_the_step_goes_on(raw, tmp_path, capsys):
    front, half, third, folder = *sorted(raw.glob("*half*"))[:3], tmp_path / "odd"
    folder.mkdir()
    said = {
        "list.png": "the provenance inside list.png is damaged (list where names and values should be)",
        "strip_front.png": "too long and narrow: 50000 x 64 pixels",
        "eps_front.png": "is not a picture",
        "words_front.png": "caption file words_front.txt is not UTF-8 text",
        "two\\nlines.png": "is empty",
        "byte\\udcff.png": "is empty",
    }
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("flenwheel", "[1]")
    Image.open(front).save(folder / "list.png", pnginfo=chunks)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("flenwheel", '{"made_by": [7], "person": {}, "scene": 1, "depth": "x", "original_sha256": 3}')
    Image.open(raw / "maya_07_half-right_smiling.png").convert("RGB").save(folder / "types.png", pnginfo=chunks)
    Image.new("RGB", (50_000, 64)).save(folder / "strip_front.png")
    Image.open(front).save(folder / "eps_front.png", "EPS")
    shutil.copy(front, folder / "words_front.png")
    (folder / "words_front.txt").write_bytes(b"caf\xe9")
    for name in ("two\nlines.png", os.fsdecode(b"byte\xff.png")):
        (folder / name).touch()
    moving = [Image.open(half).convert("RGB").resize((n, n)) for n in (128, 128)]
    moving[0].save(folder / "moving_half.gif", save_all=True, append_images=[moving[1].rotate(90)])
    shutil.copy(front, folder / f"half_{'n' * 223}.png")
    shutil.copy(third, folder / os.fsdecode(b"half_\xe9" + b"n" * 240 + b".png"))

    project = open_iteration(CHARACTER, root=tmp_path)
    for _ in range(2):  # running the step again finds the same names
        curated = curate.curate(project, settings(folder))
        for name, reason in said.items():
            assert reason in curated.table.loc[name, "reasons"], name
        new = [r.filename for r in curated.dataset.images if "nnnn" in r.filename]
        assert len(new) == 2 and all(len(name.encode()) == 124 and name.isprintable() for name in new)
        assert "becomes half_nnn" in capsys.readouterr().out
        assert "only the first is used" in curated.table.loc["moving_half.gif", "warnings"]
        assert all(name.isprintable() for name in curated.table.index)
        assert curated.table.loc["types.png", "usable"], "odd values inside are no fault of the picture"
    assert sorted(p.name for p in project.data("source").glob("half_*.png")) == sorted(new)
    assert images.read_provenance(project.data("source") / new[0])["original"].isprintable()


def test_photographs_are_not_held_in_memory(tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (700, 600, 3), dtype=np.uint8)
    for number in range(2):
        Image.fromarray(np.roll(noise, number * 99, 0)).save(folder / f"{number}_back.jpg", quality=60)
    found = [candidates.Candidate(path, path.name) for path in sorted(folder.iterdir())]
    tracemalloc.start()
    for candidate in found:
        candidates.check(candidate, settings(folder))
    assert tracemalloc.get_traced_memory()[0] < 0.5e6, "bytes of arrays that stay; one picture is 1.2 MB"
    assert not any(isinstance(value, Image.Image) for each in found for value in vars(each).values())
    tracemalloc.stop()


def test_sketches_without_a_face_become_sources(tmp_path):
    folder = write_sketches(tmp_path / "sketches")
    (folder / "sketch_00_profile-left.png").rename(folder / "sketch_00_front.png")
    (folder / "sketch_01_back.png").rename(folder / "sketch_01.png")
    project = open_iteration(CHARACTER, root=tmp_path)
    refused = curate.curate(project, settings(folder)).table["reasons"]
    assert all("set expect_face to false" in refused[name] for name in ("sketch_00_front.png", "sketch_01.png"))
    curated = curate.curate(project, settings(folder, expect_face=False))
    assert len(curated.dataset.images) == 12 and curated.table["faces"].sum() == 0
    assert sum(r.held_out for r in curated.dataset.images) == 2
    holds = {c.name: (c.holds, c.found) for c in curated.criteria}
    assert not holds["no picture looks like somebody else"][0]
    assert "not measured" in holds["no picture looks like somebody else"][1]
    assert sum(held for held, _ in holds.values()) == len(holds) - 1
