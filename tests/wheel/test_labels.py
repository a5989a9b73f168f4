"""Steps 1.3 and 1.7: policies are stated and marked, people never overruled, nothing guessed while pictures wait."""

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from flenlib import params
from flenlib.dataset import images
from flenlib.dataset.images import save_picture
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.wheel import labels, review, select

NOTEBOOK = Path("out/13_review_enriched.ipynb")
DISTANCES = {"near": 0.2, "drifted": 0.33, "far": 0.6, "style": NOT_MEASURED, "lost": NOT_MEASURED}


@pytest.fixture
def dataset(tmp_path):
    dataset = Dataset.open(tmp_path / "enriched" / "v1", create=True)
    for number, (name, distance) in enumerate(DISTANCES.items()):
        path = dataset.folder / f"{name}.png"
        save_picture(Image.new("RGB", (32, 32), (40 * number, 90, 60)), path, {"made_by": "mini"})
        measured = {"face_distance": distance, "threshold": 0.3, "face_expected": int(name == "lost")}
        dataset.add(ImageRecord(path.name, caption="c", kind="edit", depth=1, measurements=measured))
    dataset.save()
    return dataset


def auto(**more):
    return params.check("review_enriched", {"reviewer": "auto", **more})


def test_the_policy_labels_everything_and_says_why(dataset):
    settings = auto()
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    counts = labels.apply(dataset, journal, settings, NOTEBOOK)
    assert counts.to_dict() == {"good": 2, "needs_correction": 2, "reject": 1}
    table = labels.reasons_table(dataset)
    assert set(table["by"]) == {"auto"}
    assert "0.60 over 0.30" in table.loc["far.png", "why"]
    assert table.loc["lost.png", "label"] == "needs_correction"
    assert (dataset.folder / "good" / "near.png").is_file()
    assert (dataset.folder / "corrections" / "drifted.png").is_file()
    assert (dataset.folder / "rejected" / "far.png").is_file()


@pytest.mark.parametrize(("kept", "label"), [(0.34, "needs_correction"), (0.71, "good")])
def test_a_turned_head_without_a_face_to_measure_must_not_be_smeared(kept, label):
    measured = {"face_distance": NOT_MEASURED, "threshold": 0.3, "face_expected": 0, "sharpness_kept": kept}
    found, reasons = labels.identity_policy(auto())(ImageRecord("a.png", measurements=measured))
    assert found == label and ("34% as sharp" in reasons[0]) == (kept == 0.34)


def test_unmeasured_pictures_are_sent_back_when_the_settings_say_so(dataset):
    settings = auto(accept_unmeasured=False)
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    assert journal.decisions()["style.png"].label == "needs_correction"


def test_a_person_is_never_overruled_and_the_policy_is_quiet_when_nothing_changed(dataset):
    labels.open_journal(dataset).append("far.png", "good", ("I know her",), reviewer="human")
    settings = auto()
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    assert journal.decisions()["far.png"].reviewer == "human"
    lines = journal.path.read_text()
    labels.collect(dataset, settings, labels.identity_policy(settings))
    assert journal.path.read_text() == lines


def test_human_mode_says_how_many_wait_and_where(dataset):
    settings = auto(reviewer="human")
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    journal.append("near.png", "good")
    with pytest.raises(labels.PendingReview, match=r"4 of 5 pictures wait.*out/13_review_enriched\.ipynb"):
        labels.apply(dataset, journal, settings, NOTEBOOK)
    assert not (dataset.folder / "good").exists()


def test_the_policys_labels_do_not_count_as_a_persons(dataset):
    settings, human = auto(), auto(reviewer="human")
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    labels.apply(dataset, journal, settings, NOTEBOOK)
    assert len(labels.pending(dataset, labels.collect(dataset, human, labels.identity_policy(human)), human)) == 5


def test_a_label_on_a_picture_since_replaced_does_not_count(dataset):
    human = auto(reviewer="human")
    journal = labels.collect(dataset, human, labels.identity_policy(human))
    for record in dataset.images:
        labels.note(journal, None, record, "good", (), "human")
    assert labels.apply(dataset, journal, human, NOTEBOOK)["good"] == 5
    record = dataset.get("near.png")
    save_picture(Image.new("RGB", (32, 32), "red"), dataset.path(record), {"made_by": "mini"})
    record.sha256 = ""
    dataset.put(record)
    assert [r.filename for r in labels.pending(dataset, journal, human)] == ["near.png"]


def test_labels_from_a_file(dataset, tmp_path):
    file = tmp_path / "labels.csv"
    rows = [f"{name}.png,{'good' if name == 'near' else 'reject'},seen" for name in DISTANCES]
    file.write_text("filename,label,reasons\n" + "\n".join(rows))
    settings = auto(reviewer="file", file=str(file))
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    assert labels.apply(dataset, journal, settings, NOTEBOOK)["reject"] == 4
    assert {d.reviewer for d in journal.decisions().values()} == {"file"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("filename,label\nnear.png,good\nnobody.png,good\n", "nobody.png"),
        ("filename,label\nnear.png,great\n", "great"),
        (None, "missing.csv"),
    ],
)
def test_a_wrong_labels_file_is_one_sentence_and_changes_nothing(dataset, tmp_path, content, sentence):
    file = tmp_path / ("labels.csv" if content else "missing.csv")
    if content:
        file.write_text(content)
    settings = auto(reviewer="file", file=str(file))
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        labels.collect(dataset, settings, labels.identity_policy(settings))
    assert labels.open_journal(dataset).decisions() == {}


def test_a_labels_file_that_lacks_pictures_says_which(dataset, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("filename,label,reasons\nnear.png,good,\nfar.png,reject,seen\nstyle.png,good,\n")
    settings = auto(reviewer="file", file=str(file))
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    said = r"labels\.csv has no row for 2 of 5 pictures \(drifted\.png, lost\.png\): add one for each"
    with pytest.raises(labels.PendingReview, match=said) as pending:
        labels.apply(dataset, journal, settings, NOTEBOOK)
    assert "widget" not in str(pending.value)


def test_titles_of_what_was_refused_fit_under_their_pictures(dataset):
    settings = auto()
    labels.apply(dataset, labels.collect(dataset, settings, labels.identity_policy(settings)), settings, NOTEBOOK)
    titles = [labels.short_title(r) for r in dataset.images if r.label["label"] != "good"]
    assert titles == ["0.33 correct: identity drift", "0.60 reject: identity drift", "correct: no face found"]
    font = ImageFont.load_default(9)
    assert not any("..." in line for title in titles for line in images._wrap(title, font, 96))


def test_moves_made_in_a_file_manager_are_read_back(dataset):
    settings = auto()
    journal = labels.collect(dataset, settings, labels.identity_policy(settings))
    labels.apply(dataset, journal, settings, NOTEBOOK)
    (dataset.folder / "rejected" / "far.png").rename(dataset.folder / "good" / "far.png")
    counts = labels.apply(
        dataset, labels.collect(dataset, settings, labels.identity_policy(settings)), settings, NOTEBOOK
    )
    assert counts["good"] == 3 and dataset.get("far.png").label["reviewer"] == "folder"


def test_too_few_good_ones_are_said(dataset):
    settings = auto(minimum_good=30)
    labels.apply(dataset, labels.collect(dataset, settings, labels.identity_policy(settings)), settings, NOTEBOOK)
    enough = review.criteria(dataset, settings)[1]
    assert enough.blocking and not enough.holds and "28 more are needed" in enough.found


def synthetic(tmp_path):
    dataset = Dataset.open(tmp_path / "synthetic" / "v1", create=True)
    rows = [
        ("a", "front", 0.10),
        ("b", "front", 0.15),
        ("c", "half-left", 0.28),
        ("d", "half-right", 0.5),
        ("e", "back", None),
    ]
    for number, (name, angle, distance) in enumerate(rows):
        path = dataset.folder / f"{name}.png"
        save_picture(Image.new("RGB", (32, 32), (40 * number, 90, 60)), path, {"made_by": "mini"})
        found = NOT_MEASURED if distance is None else distance
        measured = {"face_distance": found, "threshold": 0.3}
        dataset.add(ImageRecord(path.name, caption="c", angle=angle, expression="neutral", measurements=measured))
    dataset.save()
    return dataset


def test_a_picture_edited_where_nobody_reads_corrections_is_said_and_not_kept(dataset, capsys):
    settings = auto()
    journal = labels.collect(dataset, settings, labels.identity_policy(settings), corrections=False)
    labels.apply(dataset, journal, settings, NOTEBOOK)
    Image.new("RGB", (32, 32), "white").save(dataset.folder / "corrections" / "drifted.png")
    labels.collect(dataset, settings, labels.identity_policy(settings), corrections=False)
    assert "drifted.png was edited; corrected pictures are read from step 1.3 alone" in capsys.readouterr().out
    assert not (dataset.folder / "corrected").exists()


def test_sheets_show_all_of_a_few_and_some_of_many(dataset, capsys):
    few, many = dataset.images, [dataset.images[n // 20] for n in range(100)]
    labels.sheet(dataset, few)
    assert capsys.readouterr().out == ""
    large = labels.sheet(dataset, many, [f"{n}" for n in range(100)])
    assert large.size == labels.sheet(dataset, many[:24], ["t"] * 24).size
    said = capsys.readouterr().out
    assert "24 of 100 pictures shown, evenly spread; all are in" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(("count", "holds"), [(9, False), (10, True), (20, True), (21, False)])
def test_the_strict_review_takes_ten_to_twenty(tmp_path, count, holds):
    pristine = Dataset.open(tmp_path / "v1", create=True)
    pristine.images = [
        ImageRecord(f"{n}.png", measurements={"face_distance": 0.1, "threshold": 0.3}) for n in range(count)
    ]
    few, many = select.criteria(pristine, [])[:2]
    assert (few.holds and many.holds, few.found) == (holds, str(count))
    assert few.blocking and not many.blocking


def test_the_strict_policy_prefers_gaps_to_nearness(tmp_path):
    dataset = synthetic(tmp_path)
    have = [ImageRecord("s.png", angle="front", expression="neutral")]
    settings = params.check("review_synthetic", {"select": 2, "near_copy": 0.12})
    policy = select.strict_policy(dataset, have, settings)
    decided = {r.filename: policy(r) for r in dataset.images}
    assert [name for name, (label, _) in decided.items() if label == "good"] == ["b.png", "c.png"]
    assert "near-copy" in decided["a.png"][1][0]
    assert "over 0.30" in decided["d.png"][1][0]
    assert "not measured" in decided["e.png"][1][0]


def test_pristine_keeps_lineage_and_measurements(tmp_path):
    from flenlib.project import open_iteration

    project = open_iteration({"name": "t", "trigger": "abc", "kind": "fictional"}, root=tmp_path)
    dataset = synthetic(tmp_path)
    settings = params.check("review_synthetic", {"reviewer": "auto", "select": 2})
    journal = labels.collect(dataset, settings, select.strict_policy(dataset, [], settings))
    labels.apply(dataset, journal, settings, NOTEBOOK)
    pristine = select.write_pristine(project, dataset)
    assert len(pristine.images) == 2 == len(list(pristine.folder.glob("*.png")))
    assert all(r.measurements["face_distance"] <= 0.3 for r in Dataset.open(pristine.folder).images)


def test_a_missing_measurement_is_named(dataset):
    settings = auto()
    dataset.images[0].measurements.pop("threshold")
    with pytest.raises(ValueError, match=r"near\.png has no threshold among its measurements: run the step"):
        labels.collect(dataset, settings, labels.identity_policy(settings))
