import random

import numpy as np
import pytest
import torch
from PIL import Image

from flenlib.content import Allowed
from flenlib.models.families.flux import Flux
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.params import Train
from flenlib.train import feed, flow
from flenlib.train.cache import Cache, Sample, read
from flenlib.train.feed import Feed


@pytest.fixture(scope="module")
def family(tiny_flux):
    return Flux.load(tiny_flux, precision="fp32", offload="none", device="cpu")


def picture(path, seed, size=(64, 64)):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def of(path):
    return Sample(path, Allowed("photo"))


def test_the_key_is_the_content_not_the_name(family, tmp_path):
    store = Cache(tmp_path / "cache", family)
    first = store.image(of(picture(tmp_path / "a.png", 1)))
    assert store.image(of(picture(tmp_path / "copy.png", 1))) == first
    assert store.image(of(picture(tmp_path / "b.png", 2))) != first
    assert store.image(of(picture(tmp_path / "a.png", 3))) != first, "a picture changed under its name is encoded anew"
    assert store.image(of(tmp_path / "copy.png"), 32) != first
    assert (
        store.text(Allowed("photo of ohwx person"))
        == store.text(Allowed("photo of ohwx person"))
        != store.text(Allowed("photo of a person"))
    )


def test_what_is_cached_is_what_is_encoded(family, tmp_path):
    store = Cache(tmp_path / "cache", family)
    path = picture(tmp_path / "a.png", 1)
    parts = (read(store.image(of(path))) | read(store.text(Allowed("photo")))).tensors()
    fresh = family.encode(image=Image.open(path).convert("RGB"), text=Allowed("photo")).tensors()
    assert parts.keys() == fresh.keys()
    assert all(torch.equal(parts[name], fresh[name]) for name in parts)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.safetensors")}
    Cache(tmp_path / "cache", family).image(of(path))
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.safetensors")}


def test_other_weights_are_another_cache(family, tmp_path):
    path = picture(tmp_path / "a.png", 1)
    before = Cache(tmp_path / "cache", family).image(of(path))
    weight = next(family.pipeline.vae.parameters())
    with torch.no_grad():
        weight += 1e-3
    try:
        assert Cache(tmp_path / "cache", family).image(of(path)) != before
    finally:
        with torch.no_grad():
            weight -= 1e-3


def test_every_picture_keeps_its_own_caption_when_shuffled(family, tmp_path):
    """The trap of caching by dataloader step: latents of one picture meet the caption of another."""
    samples = [Sample(picture(tmp_path / f"{n}.png", n), Allowed(f"picture number {n}")) for n in range(7)]
    store = Cache(tmp_path / "cache", family)
    want = {}
    for sample in samples:
        latents, text = read(store.image(sample)).latents, read(store.text(sample.caption)).text
        want[latents.numpy().tobytes()] = text.numpy().tobytes()
    assert len(want) == len(set(want.values())) == 7
    random.Random(0).shuffle(samples)
    made = Feed(store, samples, Train(batch_size=3, caption_dropout=0.0), lambda done: None)
    seen = set()
    for number in range(12):
        batch = made.batch(number, flow.generator(number))
        for latents, text in zip(batch.latents, batch.text, strict=True):
            assert want[latents.numpy().tobytes()] == text.numpy().tobytes()
            seen.add(latents.numpy().tobytes())
    assert len(seen) == 7


def test_dropout_takes_the_words_and_keeps_the_picture(family, tmp_path):
    store = Cache(tmp_path / "cache", family)
    sample = Sample(picture(tmp_path / "a.png", 1), Allowed("photo of ohwx person"))
    made = Feed(store, [sample], Train(caption_dropout=1.0), lambda done: None)
    batch = made.batch(0, flow.generator(0))
    assert torch.equal(batch.text[0], family.encode(text=family.caption_empty).text)


def test_an_editor_learns_with_its_references(tiny_qwen_edit, tmp_path):
    family = QwenEdit.load(tiny_qwen_edit, precision="fp32", offload="none", device="cpu")
    store = Cache(tmp_path / "cache", family)
    one, two = picture(tmp_path / "a.png", 1), picture(tmp_path / "b.png", 2)
    assert store.text(Allowed("make it smile"), [one]) != store.text(Allowed("make it smile"), [two])
    samples = [
        Sample(one, Allowed("smile"), references=(two,)),
        Sample(two, Allowed("make it smile, please"), references=(one,)),
    ]
    made = Feed(store, samples, Train(batch_size=2, caption_dropout=0.0), lambda done: None)
    batch = made.batch(0, flow.generator(0))
    assert len(batch.latents) == len(batch.reference) == len(batch.text) == 2


def test_an_epoch_has_every_sample_as_often_as_it_repeats():
    shapes, repeats = [("wide",)] * 3 + [("tall",)] * 2, [1, 2, 1, 3, 1]
    epochs = [feed.batches(shapes, repeats, 2, seed=5, epoch=epoch) for epoch in range(4)]
    for epoch in epochs:
        flat = [number for batch in epoch for number in batch]
        assert [flat.count(number) for number in range(5)] == repeats
        assert all(len({shapes[number] for number in batch}) == 1 and len(batch) <= 2 for batch in epoch)
    assert len({str(epoch) for epoch in epochs}) == 4 and len({len(epoch) for epoch in epochs}) == 1
    assert feed.batches(shapes, repeats, 2, seed=5, epoch=0) == epochs[0]


def test_an_edited_picture_lies_on_its_reference_whatever_their_shape(tiny_qwen_edit, tmp_path):
    """A target cropped otherwise than its reference teaches an editor to zoom."""
    family = QwenEdit.load(tiny_qwen_edit, precision="fp32", offload="none", device="cpu")
    assert family.reference_area == family.resolution**2
    store, path = Cache(tmp_path / "cache", family), picture(tmp_path / "a.png", 1, (96, 288))
    same = Sample(path, Allowed("keep it"), references=(path,))
    parts = read(store.image(same)) | read(store.text(same.caption, same.references))
    assert torch.equal(parts.latents, parts.reference) and parts.grid.tolist() == parts.reference_grid[0].tolist()
    drawn = family.sample(Allowed("keep it"), seed=1, steps=1, guidance=1.0, references=(Image.open(path),))
    assert drawn.size == tuple(16 * side for side in reversed(parts.grid.tolist()))
    assert family.fitted(Image.new("RGB", (768, 1024)), 1024, True).size == (896, 1184)


@pytest.mark.parametrize("resolution", [72, 100, 1000, 1024])
def test_a_picture_is_resized_once(family, tiny_qwen_edit, resolution):
    """What encoding would round away is not there: the sides are whole tokens at every resolution."""
    editor = QwenEdit.load(tiny_qwen_edit, precision="fp32", device="cpu")
    for size in ((64, 64), (60, 100)):
        for how in (family.fitted, editor.fitted):
            for references in (False, True):
                sides = how(Image.new("RGB", size), resolution, references).size
                assert not any(side % family.multiple for side in sides), sides
                assert 0.75 < sides[0] * sides[1] / resolution**2 < 1.33


def test_everything_is_encoded_anew_when_the_code_for_it_is_mended(family, tmp_path, monkeypatch):
    sample = of(picture(tmp_path / "a.png", 1))

    def files():
        store = Cache(tmp_path / "cache", family)
        return {store.image(sample), store.text(sample.caption), store.conditions(sample.caption)}

    before = files()
    monkeypatch.setattr(type(family), "encoding", family.encoding + 1)
    assert not before & files()


def test_a_text_is_encoded_anew_when_the_template_or_a_size_changes(family, tiny_qwen_edit, tmp_path):
    editor = QwenEdit.load(tiny_qwen_edit, precision="fp32", offload="none", device="cpu")
    references, store = [picture(tmp_path / "a.png", 1)], Cache(tmp_path / "cache", editor)
    seen = {store.text(Allowed("smile"), references)}
    editor.reference_area //= 4
    seen.add(store.text(Allowed("smile"), references))
    editor.pipeline.prompt_template_encode = editor.pipeline.prompt_template_encode.replace("user", "person")
    seen.add(store.text(Allowed("smile"), references))
    assert len(seen) == 3
    store = Cache(tmp_path / "cache", family)
    before, length = store.text(Allowed("photo")), family.text_length
    family.text_length = length // 2
    try:
        assert store.text(Allowed("photo")) != before
    finally:
        family.text_length = length


@pytest.mark.parametrize("damage", [lambda whole: whole[:-8], lambda whole: b"", lambda whole: b"\xff" * 64])
def test_a_damaged_file_is_encoded_anew(family, tmp_path, damage):
    sample = of(picture(tmp_path / "a.png", 1))
    path = Cache(tmp_path / "cache", family).image(sample)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=r"encoded input .* is damaged \(.*\); delete it and call again"):
        read(path)
    assert Cache(tmp_path / "cache", family).image(sample).read_bytes() == whole
