"""Where things live: the folders of one iteration of one character; every relative path has one base."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from flenlib.content import admit
from flenlib.params import Character, check

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("raw", "source", "enriched", "synthetic", "pristine", "corrections")


def base() -> Path:
    """Return the folder ``data/`` and ``outputs/`` are in: $FLENWHEEL_HOME, else the checkout.

    A relative one is in the checkout, wherever a process runs: kernels do not start where `make` does.
    """
    return ROOT / os.environ.get("FLENWHEEL_HOME", "")


def from_base(path: str | Path) -> Path:
    """Return where a path in the settings leads: a relative one begins at the base, ``~`` is the home folder."""
    return base() / Path(path).expanduser()


@dataclass(frozen=True)
class Project:
    """One iteration of one character: its profile and its folders."""

    root: Path
    character: Character
    iteration: str

    def data(self, stage: str, version: str | None = None) -> Path:
        """Return ``data/<character>/<stage>/<version>``; the version defaults to the iteration's."""
        if stage not in STAGES:
            raise ValueError(f"stage {stage!r} is not known; it must be one of {', '.join(STAGES)}")
        return self.root / "data" / self.character.name / stage / (version or self.iteration)

    @property
    def outputs(self) -> Path:
        """The folder of this iteration's executed notebooks, LoRAs and reports."""
        return self.root / "outputs" / self.character.name / self.iteration

    def notebook(self, step: str) -> Path:
        """Return where a step's notebook is, before and after its run: ``outputs/maya/v1/12_enrich.ipynb``."""
        return self.outputs / f"{step}.ipynb"

    @property
    def places(self) -> tuple[Path, Path]:
        """The folders of all iterations of this character: what its records and triplets name lies in them."""
        return self.root / "data" / self.character.name, self.root / "outputs" / self.character.name

    def lora(self, version: str) -> Path:
        """Return where the character LoRA of a version is written."""
        return self.outputs / f"char_lora_{version}" / f"char_lora_{version}.safetensors"

    @property
    def editor_lora(self) -> Path:
        """Where this iteration's own editor LoRA is written: the best checkpoint of step 2.2."""
        return self.outputs / f"qwen_char_lora_{self.iteration}.safetensors"

    @property
    def adopted_editor(self) -> Path:
        """Where step 2.3 of this iteration writes which editor the next one uses."""
        return self.outputs / "editor.json"

    def admit(self) -> None:
        """Raise Refused where nothing may be made of this character, any more or at all (`flenlib.content.admit`).

        It reads one small file at most, so that whatever makes pictures or trains asks again before each of them.
        """
        admit(self.character, self.root)

    def before(self) -> Project | None:
        """Return the same character's iteration before this one; None for v1."""
        number = int(self.iteration[1:])
        return Project(self.root, self.character, f"v{number - 1}") if number > 1 else None


def open_iteration(profile: dict | Character, iteration: str = "v1", root: str | Path | None = None) -> Project:
    """Check the character's profile and return the project of one iteration.

    ``root`` is where ``data/`` and ``outputs/`` are; it defaults to $FLENWHEEL_HOME, else the
    checkout. Raises ValueError for a bad profile, PermissionError where nothing may be made of this character
    (`flenlib.content.admit`).
    """
    character: Character = check("character", profile)
    home = Path(root or base())
    if not re.fullmatch(r"v[1-9][0-9]{0,2}", str(iteration)):
        raise ValueError(f"iteration is {iteration!r}; it must look like v1, v2, v3, up to v999")
    project = Project(home, character, iteration)
    project.admit()
    return project
