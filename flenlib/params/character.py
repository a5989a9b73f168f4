"""What every section of the settings is made of, and the one of whom the LoRA is: the character and their consent."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from flenlib import words
from flenlib.params.statements import Day, Stated


class Section(BaseModel):
    """The base of every section: no unknown keys, no changes after checking, numbers are finite and never yes or no."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    set_by: ClassVar[words.Role] = "generator"
    """The role whose model sets the section's defaults."""

    @field_validator("*")
    @classmethod
    def _no_endless_number(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise PydanticCustomError("number", "Input should be a number of at most 18 digits")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise PydanticCustomError("number", "Input should be a number, not yes or no")
        return value


class Consent(Section):
    """What a real person has agreed to; ``python -m flenlib.content withdraw PARAMS`` ends it."""

    who: Stated = Field(description="the person who consented")
    to: Stated = Field(description="what was agreed to: pictures, training, for what use")
    when: Day = Field(description="the day it was given, such as 2026-01-31")
    recorded_by: Stated = Field(description="who keeps the statement")
    withdrawn: Day | None = Field(default=None, description="the day it was taken back: nothing is made after it")


class SecondOpinion(Section):
    """A text classifier on this machine that is asked about every text which the rules of flenlib/content pass."""

    folder: str = Field(
        pattern=r"^[/~]", description="a transformers text-classification folder in safetensors: /models/x, ~/models/x"
    )
    refuse: list[str] = Field(min_length=1, description="its labels that refuse a text")
    threshold: float = Field(default=0.5, gt=0, le=1, description="how sure it must be of one")


class Character(Section):
    """Whom the LoRA is of."""

    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="folder name of the character"
    )
    trigger: str = Field(min_length=3, pattern=r"^\S+$", description="token that stands for the character in prompts")
    class_noun: str = Field(default="person", min_length=1, description="what the character is: person, woman, robot")
    kind: words.Kind = Field(description="real needs a consent statement on record")
    consent: Consent | None = Field(default=None, description="required for a real person")
    age: words.Age = Field(description="adult, or the strict rules of flenlib/content apply")
    rating: words.Rating = Field(
        default="general", description="the most that may be asked for; more than general for an adult only"
    )
    second_opinion: SecondOpinion | None = Field(default=None, description="a classifier asked too; off when left out")

    @property
    def subject(self) -> str:
        """The words that name the character in a prompt, such as ``ohwx_char person``."""
        return f"{self.trigger} {self.class_noun}"
