"""Which LoRAs an editor uses for which kind of edit: stacked with weights, or one after another.

The four ways to come by a better editor are settings of this: use a published LoRA, combine several, train one's own,
or both. What step 2.3 of an iteration chose is read by the next one as ``adopted``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import pandas as pd
from PIL import Image

from flenlib.dataset import triplets
from flenlib.dataset.files import read_json, write_json
from flenlib.dataset.prompts import edit_prompt
from flenlib.models import community, lora, registry
from flenlib.models.community import ALWAYS, FINISH, Use
from flenlib.models.families.base import Family
from flenlib.params import Models
from flenlib.project import Project
from flenlib.words import EDITOR_MODES, EDITS

Stack = tuple[tuple[Path, float], ...]


@dataclass(frozen=True)
class Pass:
    """One run of the editor: the LoRAs stacked for it, and the instruction it is given."""

    stack: Stack
    prompt: str


class Routes:
    """The passes each edit takes through an editor with some LoRAs; without LoRAs, one pass of whatever is on it.

    ``stack``: all LoRAs that serve the kind of edit together, by their weights. ``sequence``: the ones made for that
    kind alone (without one, the general ones), then each finishing LoRA in a pass of its own on what came out.
    ``depth``: generations between a real picture and the deepest target that a LoRA among them was taught; 0 unless it
    is the character's own.
    """

    def __init__(self, uses: Sequence[Use] = (), mode: str = "stack", depth: int = 0) -> None:
        if mode not in EDITOR_MODES:
            raise ValueError(f"LoRAs can be run as 'stack' or 'sequence', not {mode!r}")
        self.uses, self.mode, self.depth = tuple(uses), mode, depth
        self._files = {use.text: registry.lora_file((use.path, use.weight)) for use in uses}

    def check(self, family: type[Family]) -> None:
        """Raise ValueError, naming the file, when a LoRA was made for another family or is damaged."""
        for path, _ in self._files.values():
            lora.check(path, family)

    def passes(self, kind: str, value: str, instead: str = "", *, angle: str = "") -> list[Pass]:
        """Return the passes of an edit such as ``("background", "forest")``.

        ``instead`` is what the first pass is asked in place of the words made for it, trigger phrases and all;
        ``angle`` the one the picture is to show, for LoRAs that are asked for a view.
        """
        drawing = [use for use in self.uses if use.serves(kind)]
        special = [use for use in drawing if use.kinds]
        finishing = [use for use in self.uses if FINISH in use.kinds]
        always = [use for use in self.uses if ALWAYS in use.kinds]
        if self.mode == "sequence":
            drawing = special or drawing
        prompt = special[0].prompt(kind, value, angle) if special else edit_prompt(kind, value)
        if self.mode == "sequence":
            later = [Pass(self._stack([use, *always]), use.prompt(kind, value)) for use in finishing]
            return [Pass(self._stack([*drawing, *always]), instead or prompt), *later]
        prompt = ", ".join([prompt, *(use.prompt(kind, value) for use in finishing)])
        return [Pass(self._stack([*drawing, *finishing, *always]), instead or prompt)]

    def recipe(self, kind: str, value: str, instead: str = "", *, angle: str = "") -> list[dict[str, Any]]:
        """Return the passes of an edit as what decides pixels: prompts, LoRAs by content, a scheduler of their own."""
        scheduler = {"scheduler": self.scheduler} if self.scheduler else {}
        return [
            scheduler
            | {
                "prompt": each.prompt,
                "loras": [{"sha256": lora.fingerprint(path), "weight": w} for path, w in each.stack],
            }
            for each in self.passes(kind, value, instead, angle=angle)
        ]

    def draw(
        self, editor: Family, kind: str, value: str, picture: Image.Image, instead: str = "",
        *, seed: int, steps: int, guidance: float, angle: str = "",
    ) -> Image.Image:  # fmt: skip
        """Return the picture after all passes of an edit, each from the same seed."""
        with self._sampling(editor):
            for each in self.passes(kind, value, instead, angle=angle):
                self.put_on(editor, each.stack)
                picture = editor.sample(each.prompt, seed=seed, steps=steps, guidance=guidance, references=(picture,))
        return picture

    @property
    def scheduler(self) -> dict[str, float | bool | None]:
        """What LoRAs among these set in the editor's scheduler while it draws: Lightning was distilled with its own."""
        return {name: value for use in self.uses if use.name for name, value in community.KNOWN[use.name].scheduler}

    @contextmanager
    def _sampling(self, editor: Family) -> Iterator[None]:
        if not self.scheduler:
            yield
            return
        own = editor.pipeline.scheduler
        editor.pipeline.scheduler = type(own).from_config(own.config, **self.scheduler)
        try:
            yield
        finally:
            editor.pipeline.scheduler = own

    def put_on(self, editor: Family, stack: Stack) -> None:
        """Stack LoRAs on the editor unless these very ones are there; without any LoRA in the routes, touch nothing."""
        if self.uses and [(use.file, use.weight) for use in editor.loras] != [(str(p), w) for p, w in stack]:
            lora.stack(editor, stack)

    def facts(self) -> list[dict[str, Any]]:
        """Return what a record keeps of the LoRAs: file, sha256, weight, commit on the hub."""
        return [asdict(lora.Stacked.of(path, weight)) for path, weight in self._files.values()]

    def table(self) -> pd.DataFrame:
        """Return what each kind of edit goes through: one row a pass."""
        rows = []
        for kind in EDITS:
            for number, each in enumerate(self.passes(kind, "..."), 1):
                names = ", ".join(f"{Path(path).stem} {weight:g}" for path, weight in each.stack) or "the base editor"
                rows.append({"edit": kind, "pass": number, "LoRAs": names, "asked as": each.prompt})
        return pd.DataFrame(rows).set_index(["edit", "pass"])

    def _stack(self, uses: Sequence[Use]) -> Stack:
        return tuple(self._files[use.text] for use in uses)


def open_routes(project: Project, models: Models) -> Routes:
    """Return the routes the settings ask for; ``adopted`` stands for what the iteration before chose in step 2.3.

    Raises ValueError or FileNotFoundError naming a LoRA that is unknown or missing, and FileNotFoundError when nothing
    was adopted yet.
    """
    texts: list[str] = []
    mode: str = models.editor_mode
    for text in models.editor_loras:
        if text.strip() == community.ADOPTED:
            choice = adopted(project)
            texts += choice["loras"]
            mode = choice["mode"] if len(models.editor_loras) == 1 else mode
        else:
            texts.append(text)
    uses = [community.parse(text, models.editor) for text in texts]
    return Routes(uses, mode, _learnt_depth(project, uses))


class Adopted(TypedDict):
    """What an iteration chose in step 2.3: the editor's name, its LoRAs and how they run, and the sentence why."""

    iteration: str
    name: str
    loras: list[str]
    mode: str
    sentence: str


def adopted(project: Project) -> Adopted:
    """Return what the iteration before chose in step 2.3, LoRAs by absolute paths.

    Raises FileNotFoundError when there is no iteration before this one, or it has not compared editors yet,
    and ValueError for a damaged choice.
    """
    before = project.before()
    path = before.adopted_editor if before else None
    if path is None or not path.is_file():
        where = f"{before.iteration} has not compared editors yet" if before else "there is no iteration before it"
        raise FileNotFoundError(
            f"models.editor_loras of {project.iteration} says 'adopted', and {where}: run step 23 of the iteration "
            "before, or take 'adopted' out"
        )
    mend = f"run step 23 of {path.parent.name} again"
    choice = read_json(path, mend)
    loras = choice.get("loras")
    known = choice.keys() >= {*Adopted.__annotations__} and choice["mode"] in EDITOR_MODES and isinstance(loras, list)
    if not known or not all(isinstance(text, str) for text in loras):
        raise ValueError(f"{path} is damaged: it names no LoRAs and how they run; {mend}")
    return cast(Adopted, choice | {"loras": [_absolute(text, project.root) for text in loras]})


def adopt(project: Project, name: str, uses: Sequence[Use], mode: str, sentence: str) -> Path:
    """Write the choice of step 2.3 where step 1.2 of the next iteration reads it, and return that file.

    Files inside the project are written relative to it, so that a moved project keeps its choice.
    """
    loras = [_relative(use.text, project.root) for use in uses]
    choice = Adopted(iteration=project.iteration, name=name, loras=loras, mode=mode, sentence=sentence)
    write_json(project.adopted_editor, choice)
    return project.adopted_editor


def _learnt_depth(project: Project, uses: Sequence[Use]) -> int:
    """Return the depth of the deepest target the character's own LoRAs among these learnt from; 0 without one.

    Where that iteration's triplets are gone it is 1, the least it can be.
    """
    files, depth, each = {Path(use.path).resolve() for use in uses}, 0, project
    while each is not None:
        if each.editor_lora.resolve() in files:
            folder = each.data("corrections")
            known = triplets.read(folder) if (folder / triplets.FILE).is_file() else []
            depth = max([depth, 1, *(t.depth for t in known if not t.held_out)])
        each = each.before()
    return depth


def _relative(text: str, root: Path) -> str:
    return text.replace(f"{root.resolve()}/", "{root}/")


def _absolute(text: str, root: Path) -> str:
    return text.replace("{root}/", f"{root.resolve()}/")
