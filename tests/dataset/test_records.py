"""metadata.json: what goes in comes out, what is damaged is named and left alone."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from flenlib.dataset import records
from flenlib.dataset.images import sha256
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord

SEED_001 = {
    "dataset_version": "v1",
    "camera": "borrowed",
    "images": [
        {
            "filename": "source_001.jpg",
            "caption": "photo of ohwx_char person, neutral expression, front view",
            "angle": "front",
            "expression": "neutral",
            "quality": "high",
            "photographer": {"name": "Zoë"},
        }
    ],
}
FULL = ImageRecord(
    "a.png", "0" * 64, "photo of ohwx person", "front", "sad", "low", "edit", 1, "f" * 64, "Change background", 7,
    {"editor": {"name": "mini"}}, {"distance": 0.25, "sharpness": NOT_MEASURED},
    {"label": "good", "reasons": ["sharp", "alike"], "reviewer": "auto", "when": "2026-01-01T00:00:00+00:00"},
    True, {"background": "forest"}, {"stars": 5},
)  # fmt: skip


def write(folder, content):
    (folder / "metadata.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_seed_001s_minimal_file_opens_and_keeps_what_it_said(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "source_001.jpg")
    dataset = Dataset.open(write(tmp_path, SEED_001))
    record = dataset.get("source_001.jpg")
    assert (dataset.version, record.angle, record.kind, record.depth) == ("v1", "front", "source", 0)
    assert record.sha256 == sha256(tmp_path / "source_001.jpg")
    dataset.save()
    grown = json.loads((tmp_path / "metadata.json").read_text())
    assert grown["camera"] == "borrowed"
    assert grown["images"][0].items() >= SEED_001["images"][0].items()


def test_a_full_record_survives_saving(tmp_path):
    dataset = Dataset.open(tmp_path / "v3", create=True)
    dataset.add(FULL)
    dataset.save()
    again = Dataset.open(tmp_path / "v3")
    assert again.images == [FULL] and again.version == "v3"
    assert {item.name for item in again.folder.iterdir()} <= {"metadata.json", ".metadata.json.lock"}


def test_a_missing_dataset_is_named_and_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dataset .*v9 has no metadata.json; run the step"):
        Dataset.open(tmp_path / "v9")
    assert not (tmp_path / "v9").exists()


WHOLE = json.dumps(SEED_001)
IMAGE = SEED_001["images"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WHOLE[: len(WHOLE) // 2], "is damaged or cut short"),
        ("", "is damaged or cut short"),
        ("[]", "is not a dataset"),
        ({"dataset_version": "v1"}, "is not a dataset"),
        ({"dataset_version": "v1", "images": {}}, "is not a dataset"),
        ({"dataset_version": 1, "images": []}, "dataset_version is 1"),
        ({"images": ["a.png"]}, "image 1 has no 'filename'"),
        ({"images": [{"caption": "x"}]}, "image 1 has no 'filename'"),
        ({"images": [IMAGE, IMAGE]}, "'source_001.jpg' is there twice"),
        ({"images": [IMAGE | {"depth": "one"}]}, "depth of 'source_001.jpg' is 'one'; it must be a whole number"),
        ({"images": [IMAGE | {"seed": True}]}, "seed of 'source_001.jpg' is True"),
        ({"images": [IMAGE | {"filename": "../../etc/x.png"}]}, "must be a plain name inside"),
        ({"images": [IMAGE | {"filename": ""}]}, "must be a plain name inside"),
        ({"images": [IMAGE | {"measurements": {"d": "lots"}}]}, "measurement d of 'source_001.jpg' is 'lots'"),
        ({"images": [IMAGE | {"measurements": {"d": None}}]}, "measurement d of 'source_001.jpg' is None"),
        ({"images": [IMAGE | {"label": {"label": "great"}}]}, "label 'great' is not known; it must be one of good"),
        ({"images": [IMAGE | {"label": "good"}]}, "label of 'source_001.jpg' is 'good'; it must be a dict or null"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_a_damaged_file_gets_one_sentence_and_stays_as_it_was(tmp_path, content, said, create):
    path = write(tmp_path, content) / "metadata.json"
    before = path.read_bytes()
    with pytest.raises(ValueError) as caught:
        Dataset.open(tmp_path, create=create)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "metadata.json").write_bytes(b'{"images": [{"filename": "\xff"}]}')
    with pytest.raises(ValueError, match=r"is damaged or cut short .* move it away and run that step again"):
        Dataset.open(tmp_path)


def test_two_files_with_one_name_are_refused(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    dataset.add(ImageRecord("a.png", caption="first"))
    for name in ("a.png", "A.PNG"):
        with pytest.raises(ValueError, match=r"already has 'a\.png'; give '(a\.png|A\.PNG)' another name"):
            dataset.add(ImageRecord(name))
    assert [record.caption for record in dataset.images] == ["first"]


def test_put_replaces_in_place_or_adds(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for name in ("a.png", "b.png"):
        dataset.put(ImageRecord(name))
    dataset.put(ImageRecord("a.png", caption="new"))
    assert [(record.filename, record.caption) for record in dataset.images] == [("a.png", "new"), ("b.png", "")]
    with pytest.raises(ValueError, match=r"'c\.png' is not in dataset"):
        dataset.get("c.png")


def test_the_hash_of_an_added_file_is_filled_in(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    dataset = Dataset.open(tmp_path, create=True)
    dataset.add(ImageRecord("a.png"))
    assert dataset.get("a.png").sha256 == sha256(tmp_path / "a.png")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many", None, np.float32("nan")])
def test_a_bad_measurement_is_not_written(tmp_path, value):
    dataset = Dataset.open(tmp_path, create=True)
    dataset.add(ImageRecord("a.png"))
    dataset.save()
    before = (tmp_path / "metadata.json").read_bytes()
    dataset.images[0].measurements["distance"] = value
    with pytest.raises(ValueError, match="it must be a finite number or 'not measured'"):
        dataset.save()
    assert (tmp_path / "metadata.json").read_bytes() == before


def test_what_json_cannot_say_is_refused_and_numpy_numbers_are_not(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    dataset.add(ImageRecord("a.png", seed=np.int64(3), measurements={"d": np.float32(0.5)}))
    dataset.save()
    assert Dataset.open(tmp_path).images[0].measurements == {"d": 0.5}
    before = (tmp_path / "metadata.json").read_bytes()
    dataset.images[0].models = {"editor": object()}
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        dataset.save()
    assert (tmp_path / "metadata.json").read_bytes() == before


def test_a_held_lock_is_waited_for_then_named(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LOCK_SECONDS", 0.1)
    dataset = Dataset.open(tmp_path, create=True)
    with FileLock(tmp_path / ".metadata.json.lock"), pytest.raises(RuntimeError, match="locked by another process"):
        dataset.save()
    dataset.save()


def test_readers_never_see_half_a_file(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for number in range(200):
        dataset.add(ImageRecord(f"{number}.png", caption="words " * 20))
    dataset.save()
    writers = [threading.Thread(target=lambda: [dataset.save() for _ in range(10)]) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(Dataset.open(tmp_path).images) == 200


def test_the_table(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    assert {"filename", "label", "reasons"} <= set(dataset.to_frame().columns) and len(dataset.to_frame()) == 0
    dataset.images = [FULL, ImageRecord("b.png", measurements={"sharpness": 9})]
    table = dataset.to_frame().set_index("filename")
    assert table.loc["a.png", "label"] == "good" and table.loc["a.png", "reasons"] == "sharp; alike"
    assert table.loc["a.png", "a_background"] == "forest" and table["m_distance"].median() == 0.25
    assert table["m_sharpness"].isna().tolist() == [True, False]


def test_labelled(tmp_path):
    dataset = Dataset(tmp_path, "v1", [FULL, ImageRecord("b.png")])
    assert dataset.labelled("good") == [FULL] and dataset.labelled("reject") == []
    with pytest.raises(ValueError, match="label 'bad' is not known"):
        dataset.labelled("bad")


def test_lineage_leads_back_to_the_source(tmp_path):
    source = Dataset(tmp_path / "source" / "v1", "v1", [ImageRecord("s.png", "aa")])
    edits = Dataset(tmp_path / "enriched" / "v1", "v1", [ImageRecord("e.png", "bb", parent="aa", depth=1)])
    made = ImageRecord("g.png", "cc", parent="enriched/v1/e.png", depth=2)
    line = records.lineage(made, [source, edits])
    assert [record.filename for record in line] == ["g.png", "e.png", "s.png"]
    with pytest.raises(ValueError, match=r"parent 'aa' of 'e\.png' is in none of the datasets"):
        records.lineage(made, [edits])
    source.images[0].parent = "bb"
    with pytest.raises(ValueError, match="run in a circle"):
        records.lineage(made, [source, edits])


def test_the_dataset_room_does_not_import_torch():
    modules = "images, records, journal, captions, imports, prompts"
    code = f"import sys; from flenlib.dataset import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_record_kept_is_there_after_a_kill_and_folded_by_save(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for number in range(5):
        dataset.keep(ImageRecord(f"{number}.png", seed=np.int64(number)))
    dataset.keep(ImageRecord("1.png", caption="drawn again"))
    assert len(json.loads((tmp_path / "metadata.json").read_text())["images"]) == 1, "one write, then appends"
    again = Dataset.open(tmp_path)
    assert again.images == dataset.images and again.get("1.png").caption == "drawn again"
    with (tmp_path / ".records.jsonl").open("ab") as file:
        file.write(b'{"record": {"filena')  # the kill came while it was written
    assert Dataset.open(tmp_path).images == dataset.images
    again.keep(ImageRecord("5.png"))
    assert not (tmp_path / ".records.jsonl").exists(), "what a killed run kept is folded first"
    assert len(json.loads((tmp_path / "metadata.json").read_text())["images"]) == 6


def test_a_kill_between_folding_and_removing_brings_nothing_old_back(tmp_path, monkeypatch):
    dataset = Dataset.open(tmp_path, create=True)
    for name in ("a.png", "b.png", "c.png"):
        dataset.keep(ImageRecord(name))
    dataset.images = [dataset.get("a.png"), ImageRecord("b.png", caption="new")]
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    dataset.save()
    monkeypatch.undo()
    assert (tmp_path / ".records.jsonl").exists() and Dataset.open(tmp_path).images == dataset.images


def test_a_full_disk_while_folding_keeps_what_was_kept(tmp_path, monkeypatch):
    dataset = Dataset.open(tmp_path, create=True)
    dataset.keep(ImageRecord("a.png"))
    dataset.keep(ImageRecord("b.png"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        dataset.save()
    monkeypatch.undo()
    dataset.keep(ImageRecord("c.png"))
    assert [r.filename for r in Dataset.open(tmp_path).images] == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("line", ["[1]", '{"filename": "a.png"}', '{"record": {}}', '{"record": {"filename": "../x"}}'])
def test_a_line_of_kept_records_that_is_none_is_named(tmp_path, line):
    Dataset.open(tmp_path, create=True).keep(ImageRecord("a.png"))
    (tmp_path / ".records.jsonl").write_text(line + '\n{"record": {"filename": "b.png"}}\n')
    with pytest.raises(ValueError, match=r"\.records\.jsonl, line 1"):
        Dataset.open(tmp_path)


NAMES = ["journal.jsonl", "metadata.json", "Metadata.JSON", "pairs.jsonl", "views.json", ".hidden.png",
         ".records.jsonl", "good", "corrected", "tries", "maya.txt"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_kits_own_files_are_refused(tmp_path, name):
    dataset = Dataset.open(tmp_path, create=True)
    for put in (dataset.add, dataset.put, dataset.keep):
        with pytest.raises(ValueError, match=r"is a name of the kit's own files; give the picture another"):
            put(ImageRecord(name))
    write(tmp_path, {"images": [{"filename": name}]})
    with pytest.raises(ValueError, match=r"metadata\.json: image 1: .* is a name of the kit's own files"):
        Dataset.open(tmp_path)


def test_records_are_found_after_the_list_was_changed_by_hand(tmp_path):
    dataset = Dataset(tmp_path, "v1", [ImageRecord(f"{n}.png", f"{n}") for n in range(9)])
    assert dataset.get("3.png").sha256 == "3" and dataset.of_hash("4").filename == "4.png"
    dataset.images.reverse()
    assert dataset.get("3.png").sha256 == "3" and dataset.of_hash("4").filename == "4.png"
    dataset.images.remove(dataset.get("3.png"))
    assert dataset.find("3.png") is None and dataset.of_hash("3") is None
    dataset.images = [ImageRecord("x.png")]
    assert dataset.find("x.png") and dataset.find("4.png") is None
    dataset.images[0] = ImageRecord("y.png")
    dataset.add(ImageRecord("y.png"))  # set behind its back: nothing is written then
    with pytest.raises(ValueError, match=r"'y\.png' is there twice"):
        dataset.save()
