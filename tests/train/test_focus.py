"""Where in a picture the loss counts."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from flenlib.content import Allowed
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.params import Train
from flenlib.train import flow, focus
from flenlib.train.cache import Cache, Sample, read
from flenlib.train.feed import Feed
from tests.studio import write_raw
from tests.train.common import open_flux, picture


def box(size, *corners):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return mask


def test_a_mask_becomes_one_value_a_token_rows_first():
    found = focus.of_mask(box((64, 32), 0, 16, 31, 31), (2, 4))
    assert found.tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_an_edit_counts_where_it_changed_something(tmp_path):
    before = Image.open(picture(tmp_path / "a.png", 1)).convert("RGB")
    after = before.copy()
    after.paste((0, 0, 0), (32, 32, 64, 64))
    found = focus.of_edit(after, before, (4, 4)).view(4, 4)
    assert found[2:, 2:].min() > 0.5 and found[:2, :1].max() == 0
    assert focus.of_edit(before, before, (4, 4)).tolist() == [1] * 16


def test_an_edit_is_looked_for_in_the_whole_reference(tiny_qwen_edit, tmp_path):
    """An editor sees its reference whole, resized to the picture and not cropped, also where it is of another shape."""
    editor = QwenEdit.load(tiny_qwen_edit, precision="fp32", device="cpu")
    before = Image.open(picture(tmp_path / "before.png", 1, (192, 96)))
    for name, size in (("same", (192, 96)), ("square", (96, 96))):
        after = before.resize(size, Image.Resampling.BICUBIC)
        after.paste((0, 0, 0), (0, 0, size[0] // 8, size[1]))
        after.save(tmp_path / f"{name}.png")
        sample = Sample(tmp_path / f"{name}.png", Allowed("edit"), references=(tmp_path / "before.png",))
        store = Cache(tmp_path / "cache", editor)
        rows, columns = read(store.image(sample)).grid.tolist()
        found = read(store.focus(sample, "edit")).focus.view(rows, columns)
        assert found[:, 0].min() > 0.3 > found[:, 2:].max(), name


def test_a_face_counts_and_a_picture_without_one_counts_whole(tmp_path):
    front = Image.open(sorted(write_raw(tmp_path / "raw").glob("*.png"))[0]).convert("RGB")
    found = focus.of_faces(front, (6, 6)).view(6, 6)
    assert found[2:4, 2:4].min() == 1 and found[0, 0] < 0.5 and found[-1, 0] < 0.5
    assert focus.of_faces(Image.new("RGB", (96, 96), "grey"), (6, 6)).tolist() == [1] * 36


def test_weights_are_one_on_average():
    found = focus.weights(torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.1)
    assert found.mean().item() == pytest.approx(1) and (found[0] / found[1]).item() == pytest.approx(10)


def test_the_loss_counts_by_focus():
    clean, noise, velocity = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.tensor([[[1.0] * 3, [3.0] * 3]])
    assert flow.losses(velocity, clean, noise).tolist() == [5.0]
    assert flow.losses(velocity, clean, noise, torch.tensor([[2.0, 0.0]])).tolist() == [1.0]
    assert flow.losses(velocity, clean, noise, torch.ones(1, 2)).tolist() == [5.0]


@pytest.fixture(scope="module")
def family(tiny_flux):
    return open_flux(tiny_flux)


def test_a_mask_is_cropped_and_mirrored_as_its_picture(family, tmp_path):
    path = picture(tmp_path / "tall.png", 1, (64, 192))
    mask = np.zeros((192, 64, 3), np.uint8)
    mask[:96, :32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    sample = Sample(path, Allowed("photo"), mask=tmp_path / "mask.png")
    settings = Train(focus="mask", unfocused=0.0, flip=True, caption_dropout=0, batch_size=1)
    made = Feed(Cache(tmp_path / "cache", family), [sample], settings, lambda done: None)
    batches = [made.batch(number, flow.generator(number)) for number in range(2)]
    shapes = [batch.focus.view(*batch.grid[0].tolist()) > 0.5 for batch in batches]
    rows, columns = shapes[0].shape
    assert rows > columns and torch.equal(shapes[0], shapes[1].flip(1)) and 0 < shapes[0].sum() < rows * columns
    left = next(s for s in shapes if s[0, 0])
    assert not left[:, columns // 2 + 1 :].any() and not left[-1].any()


def test_a_mask_of_another_size_is_refused(family, tmp_path):
    sample = Sample(picture(tmp_path / "a.png", 1), Allowed("photo"), mask=picture(tmp_path / "mask.png", 2, (32, 32)))
    with pytest.raises(ValueError, match=r"mask\.png is \(32, 32\) pixels and its picture .*a\.png \(64, 64\)"):
        Cache(tmp_path / "cache", family).focus(sample, "mask")
