"""A generator draws at the size the settings ask for, and a size that nobody asks for leaves pictures as they were."""

import pytest

from flenlib import params
from flenlib.draw.generator import open_generator
from flenlib.judge import card
from flenlib.project import open_iteration


def test_a_picture_has_the_size_the_settings_ask_for(tiny_flux, tmp_path):
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    models = params.check("models", {"generator": str(tiny_flux), "device": "cpu", "precision": "fp32"})
    generator = open_generator(models)
    small, own = (card.jobs(project, params.Card(steps=1, **size), generator)[0] for size in ({"size": 32}, {}))
    assert [generator.draw(job).size for job in (small, own)] == [(32, 32), (64, 64)]
    assert small.key != own.key and "size" not in own.settings
    with pytest.raises(ValueError, match="multiple of 16"):
        params.check("card", {"size": 100})
