"""Pictures on disk: the good ones open alike, each kind of bad one gets a sentence and stays as it was."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from flenlib.dataset import decode, images


def picture(seed=0, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_bytes(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width=20_000, height=20_000):
    """A real PNG of zeros: a few hundred kilobytes that would decode to 1.2 GB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


WHOLE = png_bytes(picture())
BAD = {
    "empty.png": (b"", "is empty (0 bytes)"),
    "text.jpg": (b"Dear diary, this is not a picture.\n" * 20, "is not a picture, whatever its name says"),
    "truncated.png": (WHOLE[: len(WHOLE) // 2], "is damaged or cut short"),
    "barely.png": (WHOLE[:60], "is damaged or cut short"),
    "flipped.png": (WHOLE[:200] + b"\x00\x00\x00\x00" + WHOLE[204:], "is damaged or cut short"),
    "bomb.png": (bomb(), "is too large: 20000 x 20000 pixels, at most 64,000,000 are opened; scale it down first"),
    "big.png": (bomb(10_000, 10_000), "is too large: 10000 x 10000 pixels"),
}


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_gets_one_sentence_and_stays_as_it_was(tmp_path, name):
    content, said = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        images.open_image(path)
    assert Image.MAX_IMAGE_PIXELS  # Pillow's own limit stands for others
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.7, 0.95])
def test_a_picture_cut_anywhere_is_a_value_error(tmp_path, kind, share):
    buffer = io.BytesIO()
    picture(1, (200, 150)).save(buffer, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(ValueError, match=r"is damaged or cut short|is not a picture"):
        images.open_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png does not exist"):
        images.open_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="is a folder, not a picture"):
        images.open_image(tmp_path)


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    picture(size=(40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert images.open_image(tmp_path / "a.jpg").size == (30, 40)


def test_transparent_parts_become_white_and_every_mode_becomes_rgb(tmp_path):
    layer = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    layer.save(tmp_path / "rgba.png")
    assert images.open_image(tmp_path / "rgba.png").getpixel((0, 0)) == (255, 255, 255)
    deep = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    deep.save(tmp_path / "deep.png")
    assert images.open_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)
    for mode in ("L", "P", "1", "LA", "CMYK"):
        path = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        picture().convert(mode).save(path)
        assert images.open_image(path).mode == "RGB"


def test_hashes(tmp_path):
    first = picture()
    first.save(tmp_path / "a.png")
    first.save(tmp_path / "a.bmp")
    assert images.sha256(tmp_path / "a.png") != images.sha256(tmp_path / "a.bmp")
    hashes = {images.pixel_hash(images.open_image(tmp_path / name)) for name in ("a.png", "a.bmp")}
    assert hashes == {images.pixel_hash(first)}
    assert images.pixel_hash(picture(1)) != images.pixel_hash(first)
    flat = Image.new("RGB", (4, 6)), Image.new("RGB", (6, 4))
    assert images.pixel_hash(flat[0]) != images.pixel_hash(flat[1])


def test_provenance_comes_back_and_models_are_declared(tmp_path):
    path = tmp_path / "sub" / "a.png"
    facts = {"made_by": "mini-flux", "prompt": "photo of Zoë", "seed": 7, "loras": [{"file": "x", "weight": 0.8}]}
    images.save_picture(picture(), path, facts)
    assert images.read_provenance(path) == facts
    with Image.open(path) as image:
        assert image.info["Software"] == "FLENwheel"
        assert image.getxmp()["xmpmeta"]["RDF"]["Description"]["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert images.pixel_hash(images.open_image(path)) == images.pixel_hash(picture())
    assert [item.name for item in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("facts", [{}, {"made_by": "renderer"}, {"made_by": "import"}, {"made_by": None}])
def test_what_no_model_made_is_not_declared_so(tmp_path, facts):
    images.save_picture(picture(), tmp_path / "a.png", facts)
    assert b"trainedAlgorithmicMedia" not in (tmp_path / "a.png").read_bytes()


def test_saving_is_all_or_nothing(tmp_path):
    path = tmp_path / "a.png"
    images.save_picture(picture(0), path, {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        images.save_picture(picture(1), path, {"made_by": object()})
    with pytest.raises(ValueError, match=r"must end in \.png"):
        images.save_picture(picture(1), tmp_path / "a.jpg", {})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_picture_without_provenance_says_so(tmp_path):
    picture().save(tmp_path / "a.jpg")
    assert images.read_provenance(tmp_path / "a.jpg") == {}


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "7", '"words"', "{", "[" * 100_000, '{"made_by": "\\ud800"}', "1" * 5_000, "\x00"],
    ids=["list", "number", "text", "cut", "deep", "surrogate", "long number", "null"],
)
def test_a_metadata_chunk_of_any_kind_is_one_sentence(tmp_path, text):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("flenwheel", text)
    picture().save(tmp_path / "a.png", pnginfo=chunks)
    assert images.open_image(tmp_path / "a.png").size == (40, 30)
    for whole in (True, False):
        with pytest.raises(ValueError, match=r"inside .*a\.png is damaged \(.*the picture itself is whole"):
            images.read_provenance(tmp_path / "a.png", whole)


def chunked(*chunks):
    """A PNG with chunks of its own after the header."""
    return WHOLE[:33] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ) + WHOLE[33:]  # fmt: skip


def test_odd_chunks_of_other_programs_stop_nothing(tmp_path):
    path, chance = tmp_path / "a.png", np.random.default_rng(3)
    kinds = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"pHYs", b"tRNS", b"gAMA", b"acTL", b"fcTL", b"sRGB", b"cICP")
    names = (b"", b"flenwheel", b"XML:com.adobe.xmp\0\0\0\0", b"Raw profile type exif", b"MM\0*\0\0\0\x08", b"icc\0")
    opened = 0
    for kind in kinds:
        for name in names:
            path.write_bytes(chunked((kind, name + b"\0" + chance.bytes(chance.integers(60)))))
            for read in (images.open_image, images.read_provenance, lambda p: decode.read_picture(p, decode.oddities)):
                try:
                    read(path)
                    opened += 1
                except ValueError as error:
                    assert str(path) in str(error) and str(error).isprintable()
    assert opened > 100


def test_thumbnail_fits_and_is_a_jpeg(tmp_path):
    picture(size=(400, 300)).save(tmp_path / "a.png")
    small = Image.open(io.BytesIO(images.thumbnail(tmp_path / "a.png", 64)))
    assert small.format == "JPEG" and small.size == (64, 48)


def test_contact_sheet(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no")
    shown = [tmp_path / "a.png", picture(1), tmp_path / "bad.png", tmp_path / "gone.png"]
    plain = images.contact_sheet(shown, columns=3, cell=64)
    titled = images.contact_sheet(shown, ["short", "long words " * 20, "x" * 300, ""], columns=3, cell=64)
    assert plain.width == titled.width < 3 * 64 + 40 and titled.height > plain.height > 2 * 64
    assert images.contact_sheet([]).width > 0
    with pytest.raises(ValueError, match="4 pictures were given 1 titles"):
        images.contact_sheet(shown, ["one"])


@pytest.mark.parametrize(
    ("given", "resolution", "want"),
    [
        ((96, 96), 96, (96, 96)),
        ((1000, 1000), 96, (96, 96)),
        ((832, 1216), 1024, (832, 1216)),
        ((3000, 2000), 512, (640, 416)),
        ((4000, 400), 96, (128, 64)),
    ],
)
def test_pictures_keep_their_shape(given, resolution, want):
    assert images.fit(Image.new("RGB", given), resolution).size == want


def test_a_contact_sheet_of_thousands_is_a_page(monkeypatch, capsys):
    monkeypatch.setattr(images, "PAGE", 10)
    shown = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(25)]
    whole = images.contact_sheet(shown[:9], columns=3, cell=16)
    assert capsys.readouterr().out == ""
    first, last = (images.contact_sheet(shown, ["t"] * 25, columns=3, cell=16, page=n) for n in (1, 3))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "pictures 1 to 9 of 25: page 1 of 3 of this contact sheet" and "19 to 25 of 25" in said[1]
    assert first.width == whole.width == last.width and first.getpixel((8, 8))[0] < 5 < 15 < last.getpixel((8, 8))[0]
    with pytest.raises(ValueError, match="page is 4; there are pages 1 to 3"):
        images.contact_sheet(shown, columns=3, page=4)
