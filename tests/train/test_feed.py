"""Which samples, at which size, in which order."""

from collections import Counter

import pytest
import torch

from flenlib.content import Allowed
from flenlib.params import Train
from flenlib.train import feed, flow
from flenlib.train.cache import Cache, Sample, read
from flenlib.train.feed import Feed
from tests.train.common import draw, open_flux, picture


@pytest.fixture(scope="module")
def family(tiny_flux):
    return open_flux(tiny_flux)


def make(family, folder, samples, **settings):
    store = Cache(folder / "cache", family)
    return Feed(store, samples, Train(caption_dropout=0.0, **settings), lambda done: None)


def drawn(made, numbers):
    return [made.batch(number, flow.generator(number)) for number in numbers]


def test_several_resolutions_are_drawn_equally_often_and_small_pictures_are_not_enlarged(family, tmp_path):
    large, small = picture(tmp_path / "large.png", 1, (128, 128)), picture(tmp_path / "small.png", 2, (64, 64))
    samples = [Sample(large, Allowed("a"), repeats=2), Sample(small, Allowed("b"), repeats=2)]
    made = make(family, tmp_path, samples, resolution=[32, 64, 128], batch_size=1)
    grids = [tuple(batch.grid[0].tolist()) for batch in drawn(made, range(12))]
    assert Counter(grids) == {(2, 2): 2 + 4, (4, 4): 2 + 2, (8, 8): 2}
    assert feed.suiting_sizes((500, 500), [1024, 512, 768]) == [512]
    assert feed.suiting_sizes((832, 1216), [512, 768, 1024]) == [512, 768, 1024]


def test_pictures_of_many_shapes_make_batches_of_one_shape(family, tmp_path):
    samples = draw(tmp_path / "pictures", 8, sizes=((64, 64), (64, 96), (96, 64)))
    made = make(family, tmp_path, samples, batch_size=3)
    batches = drawn(made, range(2 * made.parts[0].batches))
    assert {tuple(b.grid[0].tolist()) for b in batches} == {(4, 4), (5, 3), (3, 5)}
    assert all((batch.grid == batch.grid[0]).all() for batch in batches)
    assert sum(len(b.grid) for b in batches) == 2 * sum(s.repeats for s in samples)


def test_mirrored_pictures_only_when_asked(family, tmp_path):
    samples = draw(tmp_path / "pictures", 1)
    assert len(make(family, tmp_path, samples).entries) == 1
    both = make(family, tmp_path, samples, flip=True)
    first, second = (read(entry.image).latents for entry in both.entries)
    assert not torch.equal(first, second)


def test_an_edit_is_not_mirrored_without_its_reference(family, tmp_path):
    sample = Sample(picture(tmp_path / "a.png", 1), Allowed("smile"), references=(picture(tmp_path / "b.png", 2),))
    with pytest.raises(ValueError, match=r"flip mirrors .*a\.png and not the reference pictures"):
        make(family, tmp_path, [sample], flip=True)


def test_phases_draw_their_kinds_one_after_another(family, tmp_path):
    samples = draw(tmp_path / "pictures", 6, kinds=("head", "head", "body"))
    phases = [{"kinds": ["head"], "until": 3}, {"kinds": ["head", "body"]}]
    made = make(family, tmp_path, samples, batch_size=2, accumulate=2, steps=9, phases=phases)
    body = {read(e.image).latents.numpy().tobytes() for e in made.entries if e.kind == "body"}
    has_body = [any(x.numpy().tobytes() in body for x in batch.latents) for batch in drawn(made, range(18))]
    assert not any(has_body[:6]) and any(has_body[6:])
    again = [batch.latents for batch in drawn(made, reversed(range(18)))]
    assert all(torch.equal(a, b.latents) for a, b in zip(reversed(again), drawn(made, range(18)), strict=True))


def test_a_phase_of_nothing_is_named(family, tmp_path):
    samples = draw(tmp_path / "pictures", 2, kinds=("head", "body"))
    with pytest.raises(ValueError, match="phase kind 'feet' is of no sample; the samples' kinds are body, head"):
        make(family, tmp_path, samples, phases=[{"kinds": ["feet"]}])


def test_pictures_that_every_resolution_enlarges_are_told_of(tmp_path):
    samples = draw(tmp_path, 4, sizes=((64, 64), (64, 96)))
    assert not feed.enlarged(samples, Train(resolution=[64, 256]), 96) and not feed.enlarged(samples, Train(), 64)
    said = feed.enlarged(samples, Train(resolution=[84]), 64)
    assert said.startswith("2 of 4 pictures are enlarged to the 84 x 84 pixels they are learnt at")
    assert "the smallest, 0.png, from 64 x 64" in said and "\n" not in said
    assert feed.enlarged(samples, Train(), 1024).startswith("4 of 4 pictures are enlarged to the 1024 x 1024 ")


def test_a_changed_caption_encodes_only_itself(family, tmp_path):
    samples = draw(tmp_path / "pictures", 4)
    make(family, tmp_path, samples)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    samples[2] = Sample(samples[2].image, Allowed("another caption"), samples[2].repeats)
    make(family, tmp_path, samples)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    new = after.keys() - before.keys()
    assert [path.parent.name for path in new] == ["text"]
    assert {path: after[path] for path in before} == before


def test_a_cache_written_by_another_autoencoder_is_not_used(tiny_flux, tmp_path):
    samples = draw(tmp_path / "pictures", 3)
    store = Cache(tmp_path / "cache", open_flux(tiny_flux))
    old = {store.image(s): store.text(s.caption) for s in samples}
    changed = open_flux(tiny_flux)
    with torch.no_grad():
        next(changed.pipeline.vae.parameters()).add_(1e-3)
    made = Feed(Cache(tmp_path / "cache", changed), samples, Train(caption_dropout=0.0), lambda done: None)
    assert not {entry.image for entry in made.entries} & old.keys()
    assert {entry.text for entry in made.entries} == set(old.values()), "the text encoders are the same"


def test_weights_reach_the_batch_only_where_they_differ(family, tmp_path):
    samples = draw(tmp_path / "pictures", 2)
    assert "weight" not in drawn(make(family, tmp_path, samples), [0])[0]
    prior = Sample(samples[0].image, Allowed("photo of a person"), weight=0.5, kind="prior")
    weights = [w for b in drawn(make(family, tmp_path, [*samples, prior], batch_size=4), [0]) for w in b.weight]
    assert sorted(map(float, weights)) == [0.5, 1.0, 1.0, 1.0]
