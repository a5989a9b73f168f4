"""A model in the role of the editor: it changes a picture by an instruction, through the LoRAs that serve the edit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PIL import Image

from flenlib.dataset.images import open_image
from flenlib.draw.load import load_family, where
from flenlib.draw.pictures import Job, Recipe, Sampling, drawn_by
from flenlib.draw.routes import Routes
from flenlib.models import registry
from flenlib.models.families.base import Family
from flenlib.models.registry import ModelFacts
from flenlib.params import Models


@dataclass
class Editor:
    """A loaded model that draws edits; ``routes`` say which LoRAs it uses for which kind of edit.

    ``facts`` are what a record keeps of it, the LoRAs of its routes included.
    """

    family: Family
    facts: ModelFacts
    routes: Routes = field(default_factory=Routes)

    def recipe(self, settings: Sampling) -> Recipe:
        """Return the settings of a job, which decide its pixels together with its prompt, its seed and its passes."""
        editor = drawn_by({**self.facts, "loras": []})  # the passes of each edit say which LoRAs it takes
        return {"steps": settings.steps, "guidance": settings.guidance, "editor": editor}

    def draw(self, job: Job) -> Image.Image:
        """Return the edited picture of a job, which names the edit in its attributes and ``edit_value``."""
        edit = (job.attributes["edit"], job.attributes["edit_value"])
        how = {"steps": job.settings["steps"], "guidance": job.settings["guidance"]}
        return self.routes.draw(self.family, *edit, open_image(job.picture), job.prompt, seed=job.seed, **how)

    def using(self, routes: Routes) -> Editor:
        """Return the same loaded model with other routes. Raises ValueError for a LoRA of another family."""
        routes.check(type(self.family))
        return replace(self, routes=routes, facts=self.facts | {"loras": routes.facts()})

    def free(self) -> None:
        """Give back the memory the model takes; the editor cannot be used afterwards."""
        self.family.free()


def open_editor(models: Models, routes: Routes | None = None, transformer: bool = True) -> Editor:
    """Load the editor the settings name; without ``routes`` it draws without LoRAs.

    Without the ``transformer`` it can only encode, as a training begins. Raises as `load_family`, and ValueError for a
    LoRA of another family before anything is loaded.
    """
    routes = routes or Routes()
    routes.check(registry.resolve(models.editor, "editor").family)
    family = load_family(models.editor, "editor", transformer=transformer, **where(models))
    return Editor(family, registry.model_facts(family)).using(routes)
