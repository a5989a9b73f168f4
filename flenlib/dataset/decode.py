"""Other people's picture files: which are opened at all, and how their pixels become 8-bit sRGB.

Pillow can open more than 40 formats, some of them by starting other programs (an EPS starts Ghostscript). Here only
`FORMATS` are opened, by a file's content and whatever its name says. Knows nothing of what a picture shows.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pillow_heif
from PIL import Image, ImageCms, ImageFile, ImageOps

from flenlib.dataset.files import printable

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")
"""The decoders that may be reached; HEIF is what phones name .heic."""

MAXIMUM_BYTES = 2**30
"""A larger file is not opened; 64 million pixels with 16 bits in four channels are half of it."""

MAXIMUM_PIXELS = 64_000_000
"""A picture with more pixels than this is refused before it is decoded."""

MAXIMUM_RATIO = 10
"""A picture whose longer side is more than this many times the shorter one is refused before it is decoded."""

Made = TypeVar("Made")

_LIMIT = threading.Lock()
_SRGB = ImageCms.createProfile("sRGB")
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the colour space of a profile."""

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def read_picture(path: str | Path, use: Callable[[ImageFile.ImageFile], Made]) -> Made:
    """Open a picture file without decoding it, refuse what is too large, and return what ``use`` makes of it.

    Raises FileNotFoundError, PermissionError, or ValueError in one sentence naming the file: empty, truncated, of no
    format in `FORMATS`, too large, too long and narrow, or with 32 bits a channel.
    """
    path = Path(path)
    name = printable(path)
    if not path.exists():
        raise FileNotFoundError(f"picture {name} does not exist; check the folder and the name")
    if not path.is_file():
        raise ValueError(f"{name} is a folder, not a picture; give the path of one file")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"picture {name} is empty (0 bytes); copy it again from where it came")
    if size > MAXIMUM_BYTES:
        raise ValueError(f"picture {name} has {size:,} bytes, at most {MAXIMUM_BYTES:,} are read; save it smaller")
    try:
        with header(path) as image:
            refused = _refused(image)
            if not refused:
                return use(image)
    except PermissionError:
        raise PermissionError(f"picture {name} may not be read; change its permissions") from None
    except Image.UnidentifiedImageError:
        said = "is not a picture, whatever its name says, or in a format not read here"
        raise ValueError(f"{name} {said}; remove it or save it as PNG") from None
    except Exception as error:  # a decoder raises errors of any type for a file made to break it
        said = printable(error)[:200] or type(error).__name__
        raise ValueError(f"picture {name} is damaged or cut short ({said}); copy it again") from None
    raise ValueError(f"picture {name} {refused}")


def header(path: Path) -> ImageFile.ImageFile:
    """Open a picture without decoding it, of any size: Pillow's own limit would hide how large it is."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refused(image: Image.Image) -> str:
    """Return why a picture is not decoded, as the end of a sentence; nothing when it is."""
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MAXIMUM_PIXELS:
        return f"is too large: {size}, at most {MAXIMUM_PIXELS:,} are opened; scale it down first"
    if max(image.size) > MAXIMUM_RATIO * min(image.size):
        return f"is too long and narrow: {size}, at most {MAXIMUM_RATIO} to 1 is opened; crop it first"
    if image.mode in ("I", "F"):
        return "has 32 bits a channel, whose brightness cannot be told; save it with 8 or 16"
    return ""


def to_rgb(image: ImageFile.ImageFile) -> Image.Image:
    """Decode a picture as 8-bit sRGB, turned as its EXIF says; transparent parts become white.

    Colours are converted from the profile inside the file; one that is damaged is left out, see `oddities`.
    """
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    profile = _profile(image)
    picture: Image.Image = image
    if image.mode.startswith("I;16"):
        picture = image.point(lambda value: value / 256).convert("L")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        picture = Image.new("RGB", image.size, "white")
        picture.paste(_in_srgb(layer.convert("RGB"), profile), mask=layer.getchannel("A"))
        return picture
    picture = _in_srgb(picture, profile)
    picture.info.pop("icc_profile", None)  # it would be saved along and applied twice
    return picture


def oddities(image: ImageFile.ImageFile) -> list[str]:
    """Return what a person should know of an open picture file: what of it is not used."""
    found = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of a photograph with a depth map or the like
        found.append("an animation, or several pictures in one file: only the first is used")
    if ";16" in f"{image.mode} {image.tile}" or image.info.get("bit_depth", 8) > 8:
        found.append("more than 8 bits a channel: 8 are used")
    if image.info.get("icc_profile") and _profile(image) is None:
        found.append("its colour profile is damaged or for other colours: left out")
    return found


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """Return the profile inside a picture; None without one that suits it."""
    content = image.info.get("icc_profile")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content)) if content else None
    except (OSError, TypeError):
        return None
    space = profile.profile.xcolor_space.strip() if profile else ""
    return profile if space in _MODES and (space == "CMYK") == (image.mode == "CMYK") else None


def _in_srgb(picture: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    if profile is None or ImageCms.getProfileDescription(profile).startswith("sRGB"):
        return picture.convert("RGB")
    suited = picture.convert(_MODES[profile.profile.xcolor_space.strip()])
    return cast(Image.Image, ImageCms.profileToProfile(suited, profile, _SRGB, outputMode="RGB"))
