"""One picture of a person's folder before it is imported: what is known of it, and what is against it or odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from flenlib.dataset import imports
from flenlib.dataset.decode import oddities, read_picture
from flenlib.dataset.files import printable
from flenlib.dataset.images import open_image, read_provenance
from flenlib.dataset.prompts import FACE_ANGLES
from flenlib.measure import faces as face
from flenlib.measure import quality
from flenlib.measure.angle import estimate_angle
from flenlib.measure.strangers import strangers
from flenlib.params import Curate
from flenlib.steps import Criterion

DRAWINGS = "of drawings and renders the detector misses many faces: set expect_face to false to take them"


@dataclass
class Candidate:
    """A picture of the raw folder: what its name and caption say it shows, what was found, and what speaks against it.

    Reasons keep it out of the dataset; warnings are for a person to look at. The picture itself is not held in memory.
    """

    path: Path
    filename: str
    attributes: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    fingerprint: quality.Fingerprint | None = None
    """What it is compared with other pictures by."""
    faces: tuple[face.Face, ...] = ()
    quality: str = ""
    estimated: bool = False
    """Whether its angle is an estimate, because neither its name nor a .txt or metadata.json beside it says one."""
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its file's name as people can read it."""
        return printable(self.path.name)


def check(candidate: Candidate, settings: Curate) -> None:
    """Open a picture, find its faces, estimate its angle where none is given, and note what speaks against it."""
    try:
        picture = open_image(candidate.path)
        read_provenance(candidate.path, whole=True)
        candidate.attributes = imports.attributes_from_name(candidate.path)
        candidate.warnings += tuple(read_picture(candidate.path, oddities))
    except (ValueError, OSError) as error:
        candidate.reasons = (str(error).replace(f"{printable(candidate.path.parent)}/", ""),)
        return
    found = face.find_faces(picture)
    candidate.faces, candidate.size, candidate.fingerprint = tuple(found), picture.size, quality.Fingerprint.of(picture)
    limits: dict[str, Any] = {"minimum_size": settings.minimum_size, "minimum_sharpness": settings.minimum_sharpness}
    box = found[0].box if found else None
    reasons = quality.problems(picture, box=box, **limits)
    candidate.quality = quality.grade(picture, box=box, **limits)
    if settings.expect_face and len(found) > 1:
        reasons.append(f"{len(found)} faces found, one expected")
    said = candidate.attributes.get("angle")
    if found and said is None:
        candidate.attributes["angle"] = estimate_angle(picture, found[0])
        candidate.estimated = True
    if settings.expect_face and not found and candidate.attributes.get("pose", "portrait") == "portrait":
        if said == "front":
            reasons.append(f"no face found in a front view; {DRAWINGS}")
        elif said is None:
            name = printable(f"{candidate.path.stem}_profile-left{candidate.path.suffix}")
            reasons.append(
                "no face found, and nothing says that it is a profile or back view: if it is one, say the angle in the "
                f"name ({name}) or in a .txt beside it; {DRAWINGS}"
            )
    candidate.reasons = tuple(reasons)


def reject_duplicates(candidates: Sequence[Candidate]) -> None:
    """Keep one of the pictures that show the same: the largest, and the lossless one of equals."""
    usable = sorted((c for c in candidates if not c.reasons), key=_worth)
    for first, second in quality.duplicates([c.fingerprint for c in usable]):
        usable[second].reasons += (f"duplicate of {usable[first].filename}",)


def find_strangers(usable: Sequence[Candidate]) -> Criterion:
    """Warn of pictures whose face lies apart from the others': they stay, as only a person knows who they show."""
    seen = {c.filename: c.faces[0] for c in usable if c.faces and c.attributes.get("angle") in FACE_ANGLES}
    found = strangers(seen)
    for candidate in usable:
        if found and candidate.filename in found:
            far = f"its face is {found[candidate.filename]:.2f} from the nearest of the others"
            candidate.warnings += (f"somebody else? {far}; if so, take it out of the folder",)
    name = "no picture looks like somebody else"
    if found is None:
        return Criterion(name, False, f"not measured: {len(seen)} pictures show a face from the front or half side")
    named = ", ".join(f"{file} ({distance:.2f} from the others)" for file, distance in found.items())
    return Criterion(name, not found, named or f"{len(seen)} faces, all near others")


def table(candidates: Sequence[Candidate]) -> pd.DataFrame:
    """Return every picture with its faces, its angle, whether it is usable, and the reasons and warnings."""
    rows = []
    for candidate in candidates:
        angle = candidate.attributes.get("angle")
        rows.append(
            {"file": candidate.name, "faces": len(candidate.faces),
             "angle": f"{angle} (estimated)" if candidate.estimated else angle, "quality": candidate.quality,
             "usable": not candidate.reasons,
             "reasons": "; ".join(candidate.reasons), "warnings": "; ".join(candidate.warnings)}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("file")


def _worth(candidate: Candidate) -> tuple[int, bool]:
    lossless = candidate.path.suffix.lower() in (".png", ".bmp", ".tif", ".tiff")
    return -candidate.size[0] * candidate.size[1], not lossless
