"""Step 1.6: what the filter shows, and in which order."""

from PIL import Image

from flenlib.dataset.images import save_picture
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.identity import DROPPED
from flenlib.wheel import filter as step


def test_dropped_pictures_are_shown_by_the_number_of_their_distance_not_by_its_text(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    shades = {10.5: 250, 9.25: 150, 0.7: 50}
    for distance, shade in shades.items():
        name = f"{shade}.png"
        save_picture(Image.new("RGB", (32, 32), (shade, 0, 0)), dataset.folder / name, {"made_by": "import"})
        dataset.add(ImageRecord(name, caption="c", measurements={"face_distance": distance, "threshold": 0.4}))
    sheet = step.sheet(dataset, DROPPED)
    assert [sheet.getpixel((4 + 100 * column + 48, 4 + 48))[0] for column in range(3)] == [50, 150, 250]


def test_pictures_without_a_face_keep_their_order(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for shade in (200, 40):
        name = f"{shade}.png"
        save_picture(Image.new("RGB", (32, 32), (shade, 0, 0)), dataset.folder / name, {"made_by": "import"})
        dataset.add(ImageRecord(name, caption="c", measurements={"face_distance": NOT_MEASURED}))
    sheet = step.sheet(dataset, NOT_MEASURED)
    assert [sheet.getpixel((4 + 100 * column + 48, 4 + 48))[0] for column in range(2)] == [200, 40]
