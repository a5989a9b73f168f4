"""Pair layouts of other trainers: each is written and read back, and a faulty one is named."""

import json

import pytest

from flenlib.dataset import layouts, triplets
from flenlib.dataset.triplets import Triplet
from flenlib.words import LAYOUTS
from tests.dataset.test_triplets import folder, make, picture

__all__ = ["folder"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_is_read_back(folder, tmp_path, layout):
    made = make(folder, 3)
    out = layouts.export(folder, made, tmp_path / "out", layout)
    back = layouts.read(out)
    assert [t.edit_prompt for t in back] == [t.edit_prompt for t in made]
    assert [t.source_sha256 for t in back] == [t.source_sha256 for t in made]
    assert [t.target_sha256 for t in back] == [t.target_sha256 for t in made]
    triplets.check(tmp_path, back, minimum=3)


def test_the_columns_are_those_the_trainers_read(folder, tmp_path):
    made = make(folder, 1)
    musubi = layouts.export(folder, made, tmp_path / "m", "musubi-tuner")
    row = json.loads((musubi / "dataset.jsonl").read_text())
    assert row.keys() == {"image_path", "control_path", "caption"} and row["image_path"].startswith("/")
    diffsynth = layouts.export(folder, made, tmp_path / "d", "diffsynth")
    (row,) = json.loads((diffsynth / "metadata.json").read_text())
    assert row.keys() == {"image", "edit_image", "prompt"} and (diffsynth / row["edit_image"]).is_file()
    hub = layouts.export(folder, made, tmp_path / "h", "imagefolder")
    row = json.loads((hub / "metadata.jsonl").read_text())
    assert row.keys() == {"source_file_name", "target_file_name", "prompt"}
    toolkit = layouts.export(folder, made, tmp_path / "a", "ai-toolkit")
    names = {path.relative_to(toolkit).as_posix() for path in toolkit.rglob("*.*")}
    assert names == {"control/0001_t0.png", "target/0001_t0.png", "target/0001_t0.txt"}


def test_pairs_of_others_are_read(tmp_path):
    """Names other tools use: several control pictures, corrected_file_name, another name of the .jsonl."""
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png", "red")
    row = {"image_path": str(tmp_path / "b.png"), "control_path_0": str(tmp_path / "a.png"), "caption": "do"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    assert layouts.read(tmp_path)[0].edit_prompt == "do"
    (tmp_path / "mine.jsonl").unlink()
    row = {"source_file_name": "a.png", "corrected_file_name": "b.png", "prompt": "do"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    assert layouts.read(tmp_path)[0].target_image == str(tmp_path / "b.png")
    (tmp_path / "metadata.json").write_text(json.dumps([{"image": "b.png", "edit_image": ["a.png"], "prompt": "do"}]))
    assert layouts.read(tmp_path)[0].source_image == str(tmp_path / "a.png")


def test_faulty_folders_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        layouts.read(tmp_path / "none")
    with pytest.raises(ValueError, match="no known layout"):
        layouts.read(tmp_path)
    (tmp_path / "metadata.json").write_text('[{"image": "b.png"}]')
    with pytest.raises(ValueError, match=r"metadata.json, row 1 has no edit_image and no prompt"):
        layouts.read(tmp_path)
    (tmp_path / "metadata.json").write_text('[{"image": "b.png", "edit_image": "a.png", "prompt": "do"}]')
    with pytest.raises(FileNotFoundError, match=r"row 1 names .*a.png"):
        layouts.read(tmp_path)
    with pytest.raises(ValueError, match=r"layout 'kohya' is not known"):
        layouts.export(folder, make(folder, 1), tmp_path / "o", "kohya")
    with pytest.raises(ValueError, match="holds files already"):
        layouts.export(folder, make(folder, 1), tmp_path, "diffsynth")
    with pytest.raises(ValueError, match="no pairs to write"):
        layouts.export(folder, [], tmp_path / "o", "diffsynth")


def test_folders_of_pairs_must_match(folder, tmp_path):
    out = layouts.export(folder, make(folder, 2), tmp_path / "out", "ai-toolkit")
    (out / "target" / "0001_t0.txt").unlink()
    with pytest.raises(ValueError, match=r"0001_t0.png has no instruction"):
        layouts.read(out)
    (out / "control" / "0001_t0.png").unlink()
    with pytest.raises(ValueError, match=r"no picture of the same name"):
        layouts.read(out)


def test_another_triplets_file_is_read_whole(folder, tmp_path):
    (made,) = make(folder, 1)
    picture(folder / "b.png", "red")
    more = {"issue": "nose", "improvement": "by hand", "before_image": "b.png", "kind": "camera", "value": "higher"}
    facts = {"asked": {"height": "high"}, "by": "person", "iteration": "v1", "depth": 3, "measurements": {"x": 1.5}}
    whole = Triplet(**{**made.__dict__, **more, **facts})
    triplets.write(folder, [whole, Triplet(made.source_image, "do", made.target_image, positive=True)])
    with pytest.raises(ValueError, match=r"triplets.json, triplet 1 names .*s0.png, which lies outside of"):
        layouts.read(folder)
    first, second = layouts.read(folder, [folder.parents[1]])
    source, target = whole.paths(folder)
    places = {"source_image": str(source), "target_image": str(target), "before_image": str(folder / "b.png")}
    assert first == Triplet(**{**whole.__dict__, **places})
    assert second.positive and second.target_sha256 == made.target_sha256
    target.unlink()
    with pytest.raises(FileNotFoundError, match=r"triplets.json names the target .*t0.png, which does not exist"):
        layouts.read(folder, [folder.parents[1]])


@pytest.mark.parametrize(
    ("name", "columns"),
    [("metadata_edit.csv", "image,edit_image,prompt"), ("metadata.csv", "target_file_name,source_file_name,prompt")],
)
def test_tables_are_read(tmp_path, name, columns):
    for letter in ("a", "b"):
        picture(tmp_path / f"{letter}.png", "red")
    (tmp_path / name).write_text(f'{columns}\nb.png,a.png,"do, and well"\n')
    (tmp_path / "dataset_info.json").write_text("{}")  # a stranger's file is no fault
    (tmp_path / "metadata_all.csv").write_text("image,prompt\nb.png,all\n")
    (found,) = layouts.read(tmp_path)
    assert found.edit_prompt == "do, and well"
    assert (found.source_image, found.target_image) == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    (tmp_path / name).write_text(f"{columns}\nb.png,a.png,do, and well\n")
    (tmp_path / "metadata_all.csv").unlink()
    (tmp_path / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match=rf"{name}, row 1 has more values than there are columns"):
        layouts.read(tmp_path)


def test_two_folders_of_any_name_are_read(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    out = layouts.export(folder, make(folder, 2), tmp_path / "out", "ai-toolkit")
    (out / "control").rename(tmp_path / "before")
    (out / "target").rename(tmp_path / "after")
    found = layouts.read({"control": "before", "target": "after"})
    assert [t.source_image for t in found] == [str(tmp_path / "before" / f"000{n}_t{n - 1}.png") for n in (1, 2)]
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        layouts.read({"control": "before", "target": "none"})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": 5, "edit_image": "a.png", "prompt": "do"}, "image is 5; it must be text"),
        ({"image": "b.png", "edit_image": [7], "prompt": "do"}, "edit_image is .7.; it must be text"),
        ({"image": "b.png", "edit_image": "a.png", "prompt": ["x", "y"]}, "prompt is .'x', 'y'.; it must be text"),
    ],
)
def test_a_row_of_the_wrong_type_is_named(tmp_path, row, words):
    for letter in ("a", "b"):
        picture(tmp_path / f"{letter}.png", "red")
    (tmp_path / "metadata.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=rf"metadata.json, row 1: {words}"):
        layouts.read(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_is_written_anew_only_when_it_differs(folder, tmp_path, layout):
    made = make(folder, 3)
    out = layouts.refresh(folder, made[:2], tmp_path / "out", layout)
    (out / "cache.bin").write_text("a trainer's own")
    stamp = {p: p.stat().st_ino for p in out.rglob("*.*")}
    layouts.refresh(folder, made[:2], out, layout)
    assert stamp == {p: p.stat().st_ino for p in out.rglob("*.*")}
    layouts.refresh(folder, made, out, layout)
    assert len(layouts.read(out)) == 3 and (out / "cache.bin").is_file()
    layouts.refresh(folder, made[1:2], out, layout)
    assert [t.target_sha256 for t in layouts.read(out)] == [made[1].target_sha256]
