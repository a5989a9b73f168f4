"""Pictures on disk: opening them, hashing, saving them with their provenance, thumbnails and contact sheets.

`flenlib.dataset.decode` says which files are opened, and how.
"""

from __future__ import annotations

import hashlib
import io
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin

from flenlib.dataset.decode import read_picture, to_rgb
from flenlib.dataset.files import printable, write_atomic

WIDEST = 2.0
"""The longest side over the shorter one that `fit` leaves; what lies beyond is cropped."""

PAGE = 200
"""About as many pictures as a contact sheet shows at once."""

NOT_MODELS = ("", "camera", "import", "person", "renderer")
"""Values of ``provenance["made_by"]`` that are not a trained model; every other value is a model's name."""

KEY = "flenwheel"
"""The text chunk of a PNG that holds this kit's provenance."""
_XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\
</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def open_image(path: str | Path) -> Image.Image:
    """Open a picture as 8-bit sRGB, fully loaded and turned as its EXIF says; transparent parts become white.

    PNG, JPEG, WebP, AVIF, HEIC, TIFF, BMP and GIF are opened; of an animation, the first picture. Raises
    FileNotFoundError, or ValueError in one sentence naming the file: empty, truncated, in another format, more than 64
    million pixels or over ten times as long as wide (read from the header, before anything is decoded).
    """
    return read_picture(path, to_rgb)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_hash(image: Image.Image) -> str:
    """Return a hash of size and RGB pixels: the same after a lossless re-save, whatever the metadata says."""
    size = f"{image.width}x{image.height}:".encode()
    return hashlib.sha256(size + image.convert("RGB").tobytes()).hexdigest()


def save_picture(image: Image.Image, path: str | Path, provenance: dict[str, Any]) -> None:
    """Write a PNG in one step, with its provenance inside as JSON (text chunk ``flenwheel``).

    When ``provenance["made_by"]`` names a model, the file also carries the IPTC digital source type
    ``trainedAlgorithmicMedia`` (XMP), so that other software can tell. Raises ValueError for a path not ending in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"picture path {path} must end in .png, the format that keeps provenance")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", "FLENwheel")
    chunks.add_itxt(KEY, json.dumps(provenance, ensure_ascii=False, sort_keys=True))
    if (provenance.get("made_by") or "") not in NOT_MODELS:
        chunks.add_text("Digital Source Type", "trainedAlgorithmicMedia")
        chunks.add_itxt("XML:com.adobe.xmp", _XMP)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", pnginfo=chunks)
    write_atomic(path, buffer.getvalue())


def read_provenance(path: str | Path, whole: bool = False) -> dict[str, Any]:
    """Return the provenance `save_picture` wrote into a file; an empty dict when it has none.

    The picture is decoded, to be sure that it is whole, unless it is known to be. Raises what `open_image` raises for a
    file that cannot be read, and ValueError for damaged provenance.
    """
    if not whole:
        open_image(path)
    text = read_picture(path, lambda image: image.info.get(KEY))
    if text is None:
        return {}
    try:
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise ValueError(f"{type(facts).__name__} where names and values should be")
        json.dumps(facts, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        said = f"the provenance inside {printable(path)} is damaged ({printable(error)[:200]})"
        raise ValueError(f"{said}; the picture itself is whole: save it again without its metadata") from None
    return facts


def thumbnail(path: str | Path, size: int) -> bytes:
    """Return a JPEG of the picture that fits into ``size`` x ``size`` pixels."""
    image = open_image(path)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


class Sheet(Image.Image):
    """A picture that a notebook shows as one JPEG, where Pillow's own would put a PNG beside it, ten times the size."""

    def _repr_png_(self) -> None:
        return None


def fit(picture: Image.Image, resolution: int) -> Image.Image:
    """Return the picture at about ``resolution`` squared pixels in its own shape, sides on a coarse grid.

    The grid is about a sixteenth of the resolution, so that pictures of like shape make batches, and whole tokens of 16
    pixels, so that nothing resizes it again.
    What does not fit is cropped evenly at the sides and, since heads are at the top, mostly from the bottom.
    """
    grid = max(16, resolution // 16 // 16 * 16)
    ratio = min(max(picture.width / picture.height, 1 / WIDEST), WIDEST) ** 0.5
    size = tuple(max(grid, round(side / grid) * grid) for side in (resolution * ratio, resolution / ratio))
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS, centering=(0.5, 0.25))


def contact_sheet(
    pictures: Sequence[str | Path | Image.Image],
    titles: Sequence[str] | None = None,
    columns: int = 8,
    cell: int = 128,
    page: int = 1,
) -> Sheet:
    """Return a page of the pictures as one picture, in a labelled grid, and print how many it leaves out.

    A page is whole rows of about `PAGE` cells of ``cell`` pixels, so a sheet of thousands costs no more.
    A title takes at most two lines and is cut with an ellipsis; a file that cannot be opened shows as a crossed-out
    cell. Raises ValueError when there are more or fewer titles than pictures, and for a page that does not exist.
    """
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures were given {len(titles)} titles; give one title a picture")
    size = max(1, PAGE // columns) * columns
    pages, begin = max(1, -(-len(pictures) // size)), (page - 1) * size
    if not 1 <= page <= pages:
        raise ValueError(f"page is {page}; there are pages 1 to {pages}")
    if pages > 1:
        end = min(begin + size, len(pictures))
        print(f"pictures {begin + 1} to {end} of {len(pictures)}: page {page} of {pages} of this contact sheet")
    pictures, titles = pictures[begin : begin + size], titles and titles[begin : begin + size]
    font = ImageFont.load_default(max(9, cell // 11))
    line = round(max(9, cell // 11) * 1.3)
    gap, text_height = max(4, cell // 24), 2 * line if titles else 0
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    step_x, step_y = cell + gap, cell + text_height + gap
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), "white")
    draw = ImageDraw.Draw(sheet)
    if not pictures:
        draw.text((2 * gap, 2 * gap), "no pictures", "dimgrey", font)
    for number, picture in enumerate(pictures):
        left, top = gap + number % columns * step_x, gap + number // columns * step_y
        tile = _tile(picture, cell)
        sheet.paste(tile, (left + (cell - tile.width) // 2, top + (cell - tile.height) // 2))
        for row, words in enumerate(_wrap(titles[number], font, cell) if titles else ()):
            draw.text((left, top + cell + row * line), words, "black", font)
    sheet.__class__ = Sheet  # the pixels stay where they are
    return cast(Sheet, sheet)


def _tile(picture: str | Path | Image.Image, cell: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return ImageOps.contain(picture.convert("RGB"), (cell, cell), Image.Resampling.LANCZOS)
    try:
        return ImageOps.contain(open_image(picture), (cell, cell), Image.Resampling.LANCZOS)
    except (OSError, ValueError):
        tile = Image.new("RGB", (cell, cell), "gainsboro")
        draw = ImageDraw.Draw(tile)
        draw.line((0, 0, cell, cell), "darkgrey", 2)
        draw.line((0, cell, cell, 0), "darkgrey", 2)
        return tile


def _wrap(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, lines: int = 2) -> list[str]:
    letters = max(4, int(width / font.getlength("abcdefghijklmnopqrst_0123456789") * 31))
    return textwrap.wrap(" ".join(str(title).split()), letters, max_lines=lines, placeholder="...")
