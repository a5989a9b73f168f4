"""Whose texts are refused in the tests of this room, and which."""

from PIL import Image

from flenlib.dataset.images import save_picture

BAD = "nude"
"""What an adult's profile without adult content, and any minor's, refuses."""

ADULT = {"name": "tester", "trigger": "ohwx_char", "class_noun": "person", "kind": "fictional", "age": "adult"}
MINOR = ADULT | {"age": "minor"}


def plain(path, colour):
    save_picture(Image.new("RGB", (64, 64), colour), path, {})
