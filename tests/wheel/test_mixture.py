"""What a character LoRA learns from: sources are at least half of it."""

import pytest

from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.params import Character, Train
from flenlib.wheel import mixture

CHARACTER = Character(name="tester", trigger="ohwx", kind="fictional", age="adult")


def test_sources_are_at_least_half_of_what_is_drawn_and_held_out_ones_never(tmp_path):
    source, enriched = Dataset(tmp_path / "s", "v1"), Dataset(tmp_path / "e", "v1")
    source.images = [ImageRecord(f"s{n}.png", held_out=n > 9) for n in range(12)]
    enriched.images = [ImageRecord(f"e{n}.png") for n in range(43)]
    samples = mixture.mixture(CHARACTER, source, [("enriched", enriched, enriched.images)], Train())
    shares = mixture.mixture_table(samples)
    assert shares.loc["source", "share"] >= 0.5 and shares.loc["source", "pictures"] == 10
    assert not {"source/s10.png", "source/s11.png"} & {s.name for s in samples}
    source.images = []
    with pytest.raises(ValueError, match=r"step 1\.1"):
        mixture.mixture(CHARACTER, source, [], Train())


def test_sources_a_model_drew_count_as_made_and_not_as_real(tmp_path):
    source = Dataset(tmp_path / "s", "v1")
    source.images = [ImageRecord(f"s{n}.png", depth=int(n > 1), held_out=n == 8) for n in range(9)]
    table = mixture.mixture_table(mixture.mixture(CHARACTER, source, [], Train()))
    assert table["pictures"].to_dict() == {"source": 2, "generated source": 6}
    assert table.loc["source", "share"] >= 0.5
    source.images = source.images[2:]
    assert {s.name.split("/")[0] for s in mixture.mixture(CHARACTER, source, [], Train())} == {"generated source"}
