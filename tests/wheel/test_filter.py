"""Step 1.6: what the filter shows, and in which order."""

from PIL import Image

from flenlib import params
from flenlib.dataset.images import save_picture
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.identity import DROPPED
from flenlib.project import open_iteration
from flenlib.wheel import filter, select


def test_dropped_pictures_are_shown_by_the_number_of_their_distance_not_by_its_text(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    shades = {10.5: 250, 9.25: 150, 0.7: 50}
    for distance, shade in shades.items():
        name = f"{shade}.png"
        save_picture(Image.new("RGB", (32, 32), (shade, 0, 0)), dataset.folder / name, {"made_by": "import"})
        dataset.add(ImageRecord(name, caption="c", measurements={"face_distance": distance, "threshold": 0.4}))
    sheet = filter.sheet(dataset, DROPPED)
    assert [sheet.getpixel((4 + 100 * column + 48, 4 + 48))[0] for column in range(3)] == [50, 150, 250]


def test_pictures_without_a_face_keep_their_order(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for shade in (200, 40):
        name = f"{shade}.png"
        save_picture(Image.new("RGB", (32, 32), (shade, 0, 0)), dataset.folder / name, {"made_by": "import"})
        dataset.add(ImageRecord(name, caption="c", measurements={"face_distance": NOT_MEASURED}))
    sheet = filter.sheet(dataset, NOT_MEASURED)
    assert [sheet.getpixel((4 + 100 * column + 48, 4 + 48))[0] for column in range(2)] == [200, 40]


def test_without_a_face_among_the_sources_every_picture_goes_to_review(tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    for stage in ("source", "synthetic"):
        dataset = Dataset.open(project.data(stage), create=True)
        for shade in (50, 150, 250):
            name = f"{stage}_{shade}.png"
            save_picture(Image.new("RGB", (32, 32), (shade, 0, 0)), dataset.folder / name, {"made_by": "import"})
            dataset.add(ImageRecord(name, caption="c"))
        dataset.save()
    filtered = filter.filter_identity(project, Dataset.open(project.data("source")), params.Filter(threshold=0.5))
    result = filter.result(filtered)
    assert result.verdicts == {"kept": 0, "dropped": 0, NOT_MEASURED: 3}
    assert result.threshold is None and not any(c.holds for c in result.criteria)
    synthetic = filtered.dataset
    assert len(select.candidates(synthetic)) == 3
    journal = Journal(tmp_path / "journal.jsonl")
    select.refuse_filtered(
        synthetic, journal, select.strict_policy(synthetic, [], params.check("review_synthetic", {}))
    )
    assert journal.decisions() == {}, "a person sees them all"
