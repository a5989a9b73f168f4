"""What the gate refuses and lets through: by category, form, age and rating. Terms only."""

import pytest

from flenlib.content import Refused, allow
from flenlib.params import Character

MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional"}


def test_a_nude_is_refused_and_a_photo_is_not():
    assert allow(Character(**MAYA, age="adult"), "photo") == "photo"
    with pytest.raises(Refused):
        allow(Character(**MAYA, age="adult"), "nude")
