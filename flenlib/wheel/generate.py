"""Step 1.5: the generator with its LoRA draws what no source shows: novel angles, expressions, scenes, poses."""

from __future__ import annotations

from tqdm.auto import tqdm

from flenlib.dataset import captions
from flenlib.dataset.images import read_provenance
from flenlib.dataset.prompts import novel_prompts
from flenlib.dataset.records import Dataset
from flenlib.draw.generator import Generator, open_generator
from flenlib.draw.pictures import Job, keep_planned, make, prompt_jobs, put_record
from flenlib.params import Captions, Generate, Iteration
from flenlib.project import Project
from flenlib.steps import Criterion, Facts
from flenlib.wheel import guards, results


def plan(project: Project, settings: Generate, generator: Generator) -> list[Job]:
    """Return the jobs of step 1.5: every novel prompt at several seeds.

    Raises Refused, before a model is loaded, for a prompt that may not be drawn of this character.
    """
    character, seed = project.character, settings.seed
    prompts = novel_prompts(character.subject, settings.prompts, seed, generator.wording)
    return prompt_jobs(character, prompts, settings.seeds_per_prompt, seed, generator.recipe(settings))


def generate(
    project: Project,
    generator: Generator,
    settings: Generate,
    depth: int = 1,
    table: Captions = captions.TEMPLATE,
) -> Dataset:
    """Draw the plan into ``synthetic/<version>`` with a generator that has its LoRA stacked already.

    ``depth`` is the lineage depth of what is drawn: one more than the deepest picture the LoRA learned from.
    Captions are built by the ``table``.
    """
    jobs = plan(project, settings, generator)
    dataset = Dataset.open(project.data("synthetic"), create=True)
    keep_planned(dataset, jobs)
    for job in tqdm(jobs, desc="generating", unit="picture"):
        path = make(project, dataset.folder, job, generator)
        caption = captions.build(project.character, job.attributes, table)
        record = put_record(dataset, job, path, "generated", generator.facts, caption)
        record.depth = depth
        dataset.keep(record)
    dataset.save()
    generator.free()
    return dataset


def plan_sentence(project: Project, settings: Generate) -> str:
    """Return how many pictures will be drawn of how many prompts, and with which LoRA."""
    count, each = settings.prompts, settings.seeds_per_prompt
    return f"{count} prompts x {each} seeds: {count * each} pictures with {project.lora(project.iteration).name}"


def criteria(dataset: Dataset) -> list[Criterion]:
    """Return step 1.5's success criteria."""
    prompts = {r.prompt for r in dataset.images}
    covered = {(r.angle, r.expression) for r in dataset.images if r.angle and r.expression}
    inside = [read_provenance(dataset.path(r)) for r in dataset.images]
    tracked = sum(
        (p.get("prompt"), p.get("seed")) == (r.prompt, r.seed) for p, r in zip(inside, dataset.images, strict=True)
    )
    return [
        Criterion("at least 50 synthetic pictures", len(dataset.images) >= 50, f"{len(dataset.images)}"),
        Criterion("at least 20 different prompts", len(prompts) >= 20, f"{len(prompts)}"),
        Criterion("at least 10 of the card's angle and expression pairs", len(covered) >= 10, f"{len(covered)}"),
        Criterion(
            "prompt and seed of every picture kept, in the record and in the file",
            tracked == len(dataset.images),
            f"{tracked}",
        ),
    ]


def result(dataset: Dataset, models: Facts) -> results.GenerateSynthetic:
    """Return what step 1.5 came to; ``models`` are the facts of the generator that drew."""
    count, prompts = len(dataset.images), len({r.prompt for r in dataset.images})
    return results.GenerateSynthetic(
        sentence=f"{count} pictures of {prompts} prompts", criteria=criteria(dataset), models=models, pictures=count
    )


def run(project: Project, settings: Iteration) -> results.GenerateSynthetic:
    """Do step 1.5: draw the novel prompts with the LoRA of step 1.4."""
    lora = project.lora(project.iteration)
    generator = open_generator(settings.models, [f"{lora}:{settings.generate.lora_weight}"])
    depth = guards.drawn_depth(project)
    dataset = generate(project, generator, settings.generate, depth=depth, table=settings.captions)
    return result(dataset, generator.facts)
