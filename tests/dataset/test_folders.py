"""Repeats folders become pictures with captions, and what is wrong with them is one sentence."""

import pytest
from PIL import Image

from flenlib.dataset import folders


def put(folder, name, caption=None):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / name)
    if caption is not None:
        (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")


@pytest.fixture
def maya(tmp_path):
    for number in range(3):
        put(tmp_path / "40_maya_char", f"{number}.png", "ohwx_char woman, smiling")
    for number in range(2):
        put(tmp_path / "20_maya_char_realbody", f"{number}.jpg", "ohwx_char woman, standing\n")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_repeats_and_concepts_come_from_the_folder_names(maya):
    items = folders.read_repeats(maya, "ohwx_char")
    assert [(i.image.name, i.repeats, i.concept) for i in items] == [
        ("0.jpg", 20, "maya_char_realbody"),
        ("1.jpg", 20, "maya_char_realbody"),
        *((f"{n}.png", 40, "maya_char") for n in range(3)),
    ]
    assert items[0].caption == "ohwx_char woman, standing"


def test_the_effective_mix(maya):
    table = folders.mix(folders.read_repeats(maya, "ohwx_char"))
    assert table.loc["maya_char"].to_dict() == {"pictures": 3, "repeats": 40, "drawn": 120, "share": 0.75}
    assert table.loc["maya_char_realbody", "drawn"] == 40 and table["share"].sum() == 1


def test_one_concept_in_two_folders_stays_two_rows(tmp_path):
    put(tmp_path / "1_x", "a.png", "t")
    put(tmp_path / "2_x", "a.png", "t")
    assert folders.mix(folders.read_repeats(tmp_path, "t"))["repeats"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "folder, name, caption, words",
    [
        ("10_x", "a.png", None, r"10_x: a\.png without a caption; write a \.txt beside it"),
        ("10_x", "a.png", " \n", r"a\.png without a caption"),
        ("10_x", "a.png", "a woman", r"a\.png with a caption without the trigger 'ohwx_char' \(the first is 'a woman'"),
        ("10_x", "a.png", "ohwx_char2 woman", "without the trigger"),
        ("maya_char", "a.png", "ohwx_char", r"maya_char does not begin with a number .* such as 10_maya_char"),
        ("10maya", "a.png", "ohwx_char", "does not begin with a number and an underscore"),
        ("0_maya", "a.png", "ohwx_char", "asks for 0 repeats"),
        (".", "a.png", "ohwx_char", r"holds a\.png outside any folder"),
        ("40_maya_char", "0.jpg", "ohwx_char", r"0\.png and 0\.jpg would share one caption file"),
    ],
)
def test_what_can_be_wrong(folder, name, caption, words, maya):
    put(maya / folder, name, caption)
    with pytest.raises(ValueError, match=words) as caught:
        folders.read_repeats(maya, "ohwx_char")
    assert "\n" not in str(caught.value)


def test_many_are_counted_and_empty_folders_told(maya):
    for number in range(5):
        put(maya / "60_x", f"{number}.png")
    with pytest.raises(ValueError, match=r"0\.png, 1\.png, 2\.png and 2 more without a caption"):
        folders.read_repeats(maya, "ohwx_char")
    with pytest.raises(ValueError, match="holds no folders; put the pictures into one such as"):
        folders.read_repeats(maya / ".cache", "x")
    (maya / "5_empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        folders.read_repeats(maya, "")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        folders.read_repeats(maya / "nowhere", "x")


def test_pictures_of_the_class_need_no_trigger(tmp_path):
    put(tmp_path / "1_woman", "a.png", "a woman")
    assert folders.read_repeats(tmp_path, "")[0].caption == "a woman"
