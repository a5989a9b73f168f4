"""A person's folder of pictures: found, named, guessed about, never touched."""

import itertools
import json
import os

import pytest

from flenlib.dataset import imports, prompts
from flenlib.dataset.files import write_atomic


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_pictures_are_listed_sorted_and_nothing_else(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", "c.webp", "notes.txt", "._a.jpg", ".hidden.png", "d.bmp", "e.jpeg", "f.psd")
    touch(tmp_path, "g.HEIC", "h.avif", "i.tif", "j.gif")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in imports.list_pictures(tmp_path)] == [
        "a.jpg", "b.PNG", "c.webp", "d.bmp", "e.jpeg", "g.HEIC", "h.avif", "i.tif", "j.gif"
    ]  # fmt: skip


def test_missing_file_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give the folder"):
        imports.list_pictures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no pictures; wanted are files ending in \.png"):
        imports.list_pictures(tmp_path)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        imports.list_pictures(touch(tmp_path, "a.png") / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_pictures_in_other_formats_are_named_not_dropped(tmp_path):
    touch(tmp_path, "b.JXL", "a.psd", "notes.txt", "._c.psd")
    assert [path.name for path in imports.list_unread(tmp_path)] == ["a.psd", "b.JXL"]
    with pytest.raises(ValueError, match=r"it has 2 in \.jxl, \.psd: save them as PNG or JPEG"):
        imports.list_pictures(tmp_path)


def test_two_files_with_one_name_are_both_kept(tmp_path):
    names = ("maya_01.jpg", "maya_01.png", "MAYA_01.webp", "maya_02.jpg", "maya_01_jpg.png", "maya_01.JPG")
    pictures = imports.list_pictures(touch(tmp_path, *names))
    new, report = imports.new_names(pictures)
    assert list(new) == pictures
    chosen = {path.name: name for path, name in new.items()}
    assert chosen["maya_01.png"] == "maya_01.png" and chosen["maya_02.jpg"] == "maya_02.png"
    assert chosen["maya_01_jpg.png"] == "maya_01_jpg.png"
    assert len({name.casefold() for name in chosen.values()}) == len(names)
    assert len(report) == 3 and all("both are kept" in sentence for sentence in report)
    assert imports.new_names([p for p in pictures if p.name in ("maya_01.jpg", "maya_01.png")])[1] == [
        "maya_01.jpg has the same name as maya_01.png: it becomes maya_01_jpg.png, both are kept"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_names_that_break_programs_become_plain_and_stay_distinct(tmp_path):
    odd = (b"back\\slash.png", b"new\nline.png", b"caf\xe9.png", b"bell\a.png", "Zoë 明.png".encode(), b"new_line.jpg")
    long = [f"{'n' * (length - 5)}{last}.png".encode() for length, last in ((124, 1), (125, 1), (232, 1), (232, 2))]
    wide = f"{'明' * 83}.png".encode()  # 253 bytes, and each letter three of them
    for name in (*odd, *long, wide):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    names, report = imports.new_names(imports.list_pictures(tmp_path))
    new = {os.fsencode(path.name): name for path, name in names.items()}
    assert [new[name] for name in odd] == [
        "back_slash.png", "new_line.png", "caf_.png", "bell_.png", "Zoë 明.png", "new_line_jpg.png"
    ]  # fmt: skip
    assert new[long[0]] == os.fsdecode(long[0]) and all(len(new[name]) == 124 for name in long[1:])
    assert len(set(new.values())) == len(new) and all(len(name.encode()) <= 130 for name in new.values())
    assert new[wide].startswith("明" * 37) and all(name.isprintable() for name in (*new.values(), *report))
    assert "new\\nline.png is too long or has characters no file name should have: it becomes new_line.png" in report
    assert len(report) == 9 and imports.new_names(imports.list_pictures(tmp_path))[0] == names


def test_the_longest_name_leaves_room_for_what_steps_append(tmp_path):
    """A file of an edit's second try, while it is written: 255 bytes are what file systems take."""
    long = touch(tmp_path, f"{'明' * 80}.jpeg") / f"{'明' * 80}.jpeg"
    stem = imports.new_names([long])[0][long].removesuffix(".png")
    edits = prompts.enrichment_plan(prompts.edits_offered(prompts.EDITS), 0, prompts.EDITS)
    names = [f"{stem}__{kind}_{value.replace(' ', '-')}__10__10.png" for kind, value in edits]
    write_atomic(tmp_path / max(names, key=len), b"x")
    assert len(names) == 15 and max(len(f".{name}.01234567.tmp".encode()) for name in names) < 200


@pytest.mark.parametrize(
    ("name", "guesses"),
    [
        ("maya_front_smile.png", {"angle": "front", "expression": "smiling"}),
        ("Maya-Profile-Right-Angry.jpg", {"angle": "profile-right", "expression": "angry"}),
        ("left side.png", {"angle": "profile-left"}),
        ("maya 3-4 right sunset.png", {"angle": "half-right", "light": "sunset"}),
        ("maya_3_4.png", {"angle": "half-left"}),
        ("maya_profile.png", {"angle": "profile-left"}),
        ("maya_left.png", {"angle": "half-left"}),
        ("maya_back_tpose.png", {"angle": "back", "pose": "t-pose"}),
        ("front_forest_background.png", {"angle": "front", "background": "forest"}),
        ("IMG_20240105_1203.jpg", {}),
        ("leftover_sadness_cityscape.png", {}),
    ],
)
def test_attributes_from_a_filename(tmp_path, name, guesses):
    assert imports.attributes_from_name(tmp_path / name) == guesses


@pytest.mark.parametrize(
    ("words", "angle"),
    [
        ("half-body shot", None),
        ("maya_half_body", None),
        ("half-length portrait", None),
        ("3/4 length", None),
        ("three-quarter shot, red dress", None),
        ("close-up portrait", None),
        ("waist-up shot", None),
        ("full-body", None),
        ("upper body shot, side lighting", None),
        ("back lit, standing in front of a window", None),
        ("waving the right hand", None),
        ("light from the left", None),
        ("window on the right", None),
        ("a half smile", None),
        ("sun from behind", None),
        ("a side table", None),
        ("facing left, light from the right", "half-left"),
        ("half-body left", "half-left"),
        ("front half-body shot", "front"),
        ("half-body_from-behind", "back"),
        ("half-body shot, half-right view", "half-right"),
        ("3/4 view, half-body shot", "half-left"),
        ("full body, three-quarter right", "half-right"),
        ("grace_char, profile view, athletic wear, focused expression, side lighting", "profile-left"),
        ("close-up, left side", "profile-left"),
    ],
)
def test_a_framing_is_no_angle(tmp_path, words, angle):
    (tmp_path / "a.txt").write_text(words)
    found = imports.attributes_from_name(tmp_path / "a.png")
    assert found.get("angle") == angle
    cut = ("half body", "half length", "waist up", "close up", "3 4 length", "quarter shot")
    if any(word in words.replace("-", " ").replace("_", " ").replace("/", " ") for word in cut):
        assert found["pose"] == "portrait"


def test_our_own_captions_are_read_back(tmp_path):
    wanted = itertools.product(prompts.ANGLES, prompts.EXPRESSIONS, prompts.POSES, prompts.BACKGROUNDS, prompts.LIGHTS)
    for angle, expression, pose, background, light in itertools.islice(wanted, 0, None, 7):
        attributes = {"angle": angle, "expression": expression, "pose": pose, "background": background, "light": light}
        (tmp_path / "a.txt").write_text(prompts.caption("ohwx_maya woman", **attributes))
        found = imports.attributes_from_name(tmp_path / "a.png")
        assert found | {"pose": pose} == attributes and found.get("pose", "portrait") == pose


def test_the_caption_comes_before_the_name_and_the_record_before_both(tmp_path):
    path = touch(tmp_path, "maya_front_sad.png") / "maya_front_sad.png"
    (tmp_path / "maya_front_sad.txt").write_text("portrait of maya, left profile")
    assert imports.attributes_from_name(path) == {"angle": "profile-left", "expression": "sad", "pose": "portrait"}
    record = {"filename": path.name, "caption": "photo, beach background", "angle": "back", "expression": "puzzled"}
    (tmp_path / "metadata.json").write_text(json.dumps({"images": [record]}))
    guesses = imports.attributes_from_name(path)
    assert guesses["angle"] == "back" and guesses["expression"] == "sad" and guesses["background"] == "beach"


def test_a_damaged_metadata_file_beside_the_pictures_is_named(tmp_path):
    (tmp_path / "metadata.json").write_text('{"images": [{"filen')
    with pytest.raises(ValueError, match=r"metadata\.json is damaged or cut short"):
        imports.attributes_from_name(touch(tmp_path, "a.png") / "a.png")
    assert (tmp_path / "metadata.json").read_text() == '{"images": [{"filen'


BEACH = "photo of maya woman in a light blue dress on a sunny beach, soft daylight"
SEED = "grace_char, waist-up shot, wearing beige sweater and jeans, modern café background, front view"


@pytest.mark.parametrize(
    ("caption", "attribute", "words", "now"),
    [
        (SEED, "light", "sunset light", f"{SEED}, sunset light"),
        (
            SEED, "background", "forest background",
            "grace_char, waist-up shot, wearing beige sweater and jeans, front view, forest background",
        ),
        (
            SEED, "angle", "half-left view",
            "grace_char, waist-up shot, wearing beige sweater and jeans, modern café background, half-left view",
        ),
        (SEED, "style", "watercolor", f"{SEED}, watercolor"),
        (
            BEACH, "background", "urban background",
            "photo of maya woman in a light blue dress, soft daylight, urban background",
        ),
        (
            BEACH, "light", "nighttime",
            "photo of maya woman in a light blue dress on a sunny beach, nighttime",
        ),
        ("maya woman from behind, red coat", "angle", "front view", "maya woman, red coat, front view"),
        ("maya woman, red coat, seen from above", "height", "", "maya woman, red coat"),
    ],
)  # fmt: skip
def test_an_edit_keeps_what_a_person_wrote_but_for_what_it_changes(caption, attribute, words, now):
    assert imports.changed(caption, attribute, words) == now
