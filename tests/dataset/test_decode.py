"""Other people's picture files: eight formats are opened and no other decoder is reached; all become 8-bit sRGB."""

import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from flenlib.dataset import decode, images
from flenlib.project import ROOT

SMOOTH = Image.fromarray(np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)[..., None].repeat(3, 2))


def save(path, image=SMOOTH, kind="PNG", **more):
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    path.write_bytes(buffer.getvalue())
    return path


def profile(gamma=1.0):
    """An RGB profile with the primaries of sRGB and another curve, as an ICC file of version 2."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 8) + b"a curve\0" + bytes(78), b"cprt": b"text" + bytes(5)}
    tags |= {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)}
    columns = {b"r": (0.4361, 0.2225, 0.0139), b"g": (0.3851, 0.7169, 0.0971), b"b": (0.1431, 0.0606, 0.7141)}
    tags |= {name + b"XYZ": b"XYZ " + bytes(4) + fixed(*column) for name, column in columns.items()}
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags |= {name + b"TRC": curve for name in columns}
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(data), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head = (head + bytes(12) + b"acsp").ljust(68, b"\0") + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + data


@pytest.mark.parametrize("kind", [*decode.FORMATS, "MPO"])
def test_eight_formats_are_opened_whatever_their_name(tmp_path, kind):
    opened = images.open_image(save(tmp_path / "a.png", kind=kind))
    assert (opened.mode, opened.size) == ("RGB", SMOOTH.size)
    assert np.abs(np.asarray(opened).astype(int) - np.asarray(SMOOTH)).max() < 12
    assert decode.read_picture(tmp_path / "a.png", decode.oddities) == []


def test_no_other_decoder_is_reached(tmp_path):
    Image.init()
    others = sorted(set(Image.SAVE) & set(Image.OPEN) - {*decode.FORMATS, "MPO", "DIB"})
    tried = 0
    for kind in others:
        for mode in ("RGB", "L", "1", "F", "RGBA"):
            try:
                path = save(tmp_path / f"{kind}.png", SMOOTH.convert(mode), kind)
                break
            except (OSError, ValueError, KeyError, AttributeError):
                continue
        else:
            continue
        tried += 1
        with pytest.raises(ValueError, match="is not a picture, whatever its name says, or in a format not read here"):
            images.open_image(path)
    assert tried > 10 and "EPS" in others


def test_an_eps_named_png_starts_no_ghostscript(tmp_path, monkeypatch):
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # where it is, is looked for again
    path = save(tmp_path / "a.png", kind="EPS")
    with pytest.raises(ValueError, match="in a format not read here"):
        images.open_image(path)
    assert not started.exists()


def test_only_one_place_opens_pictures():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("flenlib", "benchmarks", "experiments")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"\bImage\.open\(|\bimread\(", line) and "formats=" not in line
    ]
    assert found == []


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "TIFF"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "JPEG")]
)
def test_colours_are_converted_to_srgb_once(tmp_path, mode, kind):
    grey = Image.new("RGB", (32, 32), (128, 128, 128)).convert(mode, palette=Image.Palette.ADAPTIVE)
    opened = images.open_image(save(tmp_path / "a.png", grey, kind, icc_profile=profile()))
    assert all(abs(value - 188) <= 1 for value in opened.getpixel((5, 5))), "half of all light is 188 of 255 in sRGB"
    images.save_picture(opened, tmp_path / "b.png", {})
    assert images.open_image(tmp_path / "b.png").getpixel((5, 5)) == opened.getpixel((5, 5))


def test_a_picture_that_says_it_is_srgb_keeps_its_pixels(tmp_path):
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opened = images.open_image(save(tmp_path / "a.png", icc_profile=content))
    assert images.pixel_hash(opened) == images.pixel_hash(SMOOTH)
    assert decode.read_picture(tmp_path / "a.png", decode.oddities) == []


def test_a_profile_that_cannot_be_used_is_left_out_and_said(tmp_path):
    said = ["its colour profile is damaged or for other colours: left out"]
    for name, image, content in (
        ("junk", SMOOTH, b"no profile at all"),
        ("cut", SMOOTH, profile()[:140]),
        ("other", SMOOTH.convert("CMYK"), profile()),
    ):
        path = save(tmp_path / f"{name}.jpg", image, "JPEG", icc_profile=content)
        assert images.open_image(path).size == SMOOTH.size
        assert decode.read_picture(path, decode.oddities) == said, name


def test_the_first_picture_of_an_animation_is_used_and_that_is_said(tmp_path):
    white = Image.new("RGB", SMOOTH.size, "white")
    for kind in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        path = save(tmp_path / kind, kind=kind, save_all=True, append_images=[white])
        assert "only the first is used" in decode.read_picture(path, decode.oddities)[0]
        assert np.asarray(images.open_image(path)).mean() < 80, kind
    photo = save(tmp_path / "photo.jpg", kind="MPO", save_all=True, append_images=[white])
    assert decode.read_picture(photo, decode.oddities) == [], "a photograph with its depth map is no animation"


def png16(colour, channels):
    """A PNG of one colour, 16 bits a channel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">H", colour) * channels * 20
    head = struct.pack(">IIBBBBB", 20, 20, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(row * 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def test_16_bits_become_8_and_are_said(tmp_path):
    for name, content in {f"{n}.png": png16(32768, n) for n in (1, 3)}.items():
        (tmp_path / name).write_bytes(content)
        assert decode.read_picture(tmp_path / name, decode.oddities) == ["more than 8 bits a channel: 8 are used"]
        assert images.open_image(tmp_path / name).getpixel((0, 0)) == (128, 128, 128)
    deep = save(tmp_path / "deep.tif", Image.fromarray(np.full((20, 20), 32768, np.uint16)), "TIFF")
    assert decode.read_picture(deep, decode.oddities) == ["more than 8 bits a channel: 8 are used"]
    light = save(tmp_path / "light.tif", Image.fromarray(np.full((20, 20), 0.5, np.float32)), "TIFF")
    with pytest.raises(ValueError, match=r"light\.tif has 32 bits a channel, .* save it with 8 or 16"):
        images.open_image(light)


def test_a_strip_is_refused_before_it_is_decoded(tmp_path):
    assert images.open_image(save(tmp_path / "a.png", Image.new("RGB", (640, 64)))).size == (640, 64)
    for size in ((641, 64), (64, 641), (50_000, 64), (65_000, 1)):
        with pytest.raises(ValueError, match=rf"too long and narrow: {size[0]} x {size[1]} pixels, at most 10 to 1"):
            images.open_image(save(tmp_path / "b.png", Image.new("1", size)))


@pytest.mark.parametrize("kind", ["JPEG", "HEIF", "WEBP", "AVIF", "TIFF", "PNG"])
def test_every_format_is_turned_once(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    dark_left = Image.new("L", (64, 32), 240)
    dark_left.paste(20, (0, 0, 32, 32))
    opened = images.open_image(save(tmp_path / "a", dark_left.convert("RGB"), kind, exif=exif.tobytes()))
    assert opened.size == (32, 64) and opened.getpixel((16, 8))[0] < 90 and opened.getpixel((16, 56))[0] > 200


def test_a_file_of_more_than_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "a.heic").open("wb") as file:
        file.truncate(2**30 + 1)  # a hole: no disk is used
    with pytest.raises(ValueError, match=r"a\.heic has 1,073,741,825 bytes, at most 1,073,741,824 are read"):
        images.open_image(tmp_path / "a.heic")


def test_what_stands_in_a_sentence_is_one_line_that_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"two\nlines \xff.png")
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError) as caught:
        images.open_image(path)
    assert str(caught.value).isprintable() and "two\\nlines" in str(caught.value) and str(caught.value).encode()
