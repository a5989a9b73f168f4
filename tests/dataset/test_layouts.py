"""Pair layouts of other trainers: each is written and read back, and a faulty one is named."""

import json

import pytest

from flenlib.dataset import layouts, triplets
from tests.dataset.test_triplets import folder, make, picture

__all__ = ["folder"]


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
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
