"""Where things live: the folders of one iteration, the character's profile, and what the kit refuses to draw."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from flenlib.params import Character, check

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("raw", "source", "enriched", "synthetic", "pristine", "corrections")

_SEXUAL = re.compile(
    r"\b(nsfw|nude|nudes|nudity|naked|topless|porn\w*|sex|sexual\w*|sexy|erotic\w*|hentai|lingerie|explicit|orgasm\w*|"
    r"genital\w*|nipples?|fetish\w*|undress\w*|seductive\w*|lewd)\b",
    re.IGNORECASE,
)
_MINOR = re.compile(
    r"\b(child|children|childlike|kid|kids|minor|minors|underage\w*|teen|teens|teenage\w*|preteen\w*|toddler\w*|baby|"
    r"infant\w*|boy|boys|girl|girls|schoolgirl\w*|schoolboy\w*|loli\w*|shota\w*|young[- ]looking|"
    r"(?:[1-9]|1[0-7])[- ]?(?:years?|yrs?|y\.?/?o)\b[- ]?(?:old)?|aged? (?:[1-9]|1[0-7])|adolescent\w*|juvenile\w*|"
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:thir|four|fif|six|seven)teen)[- ]years?[- ]old)\b",
    re.IGNORECASE,
)


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

    def before(self) -> Project | None:
        """Return the same character's iteration before this one; None for v1."""
        number = int(self.iteration[1:])
        return Project(self.root, self.character, f"v{number - 1}") if number > 1 else None


def open_iteration(character: dict | Character, iteration: str = "v1", root: str | Path | None = None) -> Project:
    """Check the character's profile and return the project of one iteration.

    ``root`` is where ``data/`` and ``outputs/`` are; it defaults to $FLENWHEEL_HOME, else the
    checkout. Raises ValueError for a bad profile,
    PermissionError for a real person without consent on record.
    """
    if not isinstance(character, Character):
        character = check("character", character)
    if not re.fullmatch(r"v[0-9]+", str(iteration)):
        raise ValueError(f"iteration is {iteration!r}; it must look like v1, v2, v3")
    if character.kind == "real" and len(character.consent.strip()) < 10:
        raise PermissionError(
            f"character {character.name!r} is a real person and consent is {character.consent!r}; write who consented, "
            "to what and when into the profile's 'consent' before anything is generated or trained"
        )
    if character.age == "minor" and character.adult_content:
        raise PermissionError(f"character {character.name!r} is a minor: adult_content can never be turned on")
    return Project(Path(root or os.environ.get("FLENWHEEL_HOME") or ROOT), character, iteration)


def check_prompt(character: Character, prompt: str) -> str:
    """Return the prompt if it may be drawn of this character; otherwise raise PermissionError saying why.

    Word lists are a first gate before any model is loaded, not a promise about what a model draws.
    """
    words = unicodedata.normalize("NFKC", f"{prompt} {character.class_noun}").replace("_", " ")
    sexual = _SEXUAL.search(words)
    if not sexual:
        return prompt
    minor = _MINOR.search(words)
    if minor or character.age == "minor":
        raise PermissionError(f"refused: prompt {prompt!r} asks for sexual content involving a minor")
    if not character.adult_content:
        raise PermissionError(
            f"refused: prompt {prompt!r} asks for adult content ({sexual.group()!r}) and the profile of "
            f"{character.name!r} has adult_content off"
        )
    return prompt
