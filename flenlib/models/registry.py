"""Names of models -> where they are and which family they are of.

A name is a registered one (``mini-flux``), a hub id (``black-forest-labs/FLUX.1-dev``) or a pipeline folder. Whatever
can go wrong with a download is one RuntimeError of one sentence.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import huggingface_hub
from huggingface_hub import errors

from flenlib.dataset.files import read_json
from flenlib.models import lora, placement, shipped
from flenlib.models.families import FAMILIES, of_pipeline, register
from flenlib.models.families.architecture import Settings
from flenlib.models.families.base import Family
from flenlib.models.families.flux import Flux
from flenlib.models.families.flux2_klein import Flux2Klein
from flenlib.models.families.flux_kontext import FluxKontext
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.models.families.qwen_image import QwenImage
from flenlib.models.families.z_image import ZImage
from flenlib.project import from_base

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""What a repository on the hub is called."""


@dataclass(frozen=True)
class Model:
    """Where a model is and what its use is bound to; ``size_gib`` is the weights as published (0: not known).

    Of a licence the row says what was found in it or on the model's card; the licence itself decides.
    """

    name: str
    family: type[Family]
    source: str
    licence: str = "not stated"
    size_gib: float = 0.0
    commercial: bool | None = None
    """Whether the licence lets the model be used commercially; None: not known."""
    needs_filter: bool = False
    """Whether the licence asks for a content filter, or for a person who looks at every picture."""
    needs_disclosure: bool = False
    """Whether the licence asks one to say that pictures were made by a model."""
    gated: bool = False
    resolution: int = 1024
    wording: str = "plain"
    """How it is asked: a name in ``dataset.prompts.WORDINGS``."""
    settings: Settings = field(default_factory=dict)
    """What it wants otherwise than its family does."""
    among_small: Settings = field(default_factory=dict)
    """What it wants beside when the other model is small too."""
    partner: str = ""
    """The model for the other role where nobody names one; empty: that of ``models.settings.PARTNERS``."""
    distilled_from: str = ""
    """For a model distilled to few steps, the one it was made of, on which its LoRAs are trained."""
    revision: str = "main"
    """The branch, tag or commit of the hub's repository that is loaded; a folder has none."""

    @property
    def small(self) -> bool:
        """Whether it is a pipeline of the kit's own making, which any machine runs."""
        return Path(self.source).is_dir() and bool(placement.pipeline_facts(self.source))

    @property
    def page(self) -> str:
        """The model's page on the hub."""
        return f"https://huggingface.co/{self.source}"


DRAWING = ("enrich", "generate", "card", "corrections", "compare_editors")
"""The sections of settings that say how pictures are drawn."""
_SHIPPED: dict[str, Any] = {
    "source": "",
    "size_gib": 0.02,
    "resolution": 96,
    "wording": "grammar",
    "among_small": shipped.DEMO,
}
_APACHE: dict[str, Any] = {"licence": "Apache-2.0", "commercial": True}
_FLUX_DEV: dict[str, Any] = {
    "licence": "FLUX.1 [dev] Non-Commercial", "commercial": False, "needs_filter": True, "gated": True,
}  # fmt: skip


def _sampled(steps: int, guidance: float) -> Settings:
    """Return what a distilled model sets wherever it draws."""
    return {section: {"steps": steps, "guidance": guidance} for section in DRAWING}


KNOWN = {
    model.name: model
    for model in (
        Model("flux-dev", Flux, "black-forest-labs/FLUX.1-dev", size_gib=31.4, **_FLUX_DEV),
        Model("qwen-image", QwenImage, "Qwen/Qwen-Image", size_gib=53.7, **_APACHE),
        Model("qwen-image-2512", QwenImage, "Qwen/Qwen-Image-2512", size_gib=53.7, **_APACHE),
        Model("qwen-image-edit-2509", QwenEdit, "Qwen/Qwen-Image-Edit-2509", size_gib=53.7, **_APACHE),
        Model("qwen-image-edit-2511", QwenEdit, "Qwen/Qwen-Image-Edit-2511", size_gib=53.7, **_APACHE),
        Model("flux-kontext-dev", FluxKontext, "black-forest-labs/FLUX.1-Kontext-dev", size_gib=31.4, **_FLUX_DEV),
        Model(
            "flux2-klein-base-4b", Flux2Klein, "black-forest-labs/FLUX.2-klein-base-4B", size_gib=14.9,
            partner="flux2-klein-base-4b", **_APACHE,
        ),
        Model(
            "flux2-klein-4b", Flux2Klein, "black-forest-labs/FLUX.2-klein-4B", size_gib=14.9,
            partner="flux2-klein-base-4b", distilled_from="flux2-klein-base-4b", settings=_sampled(4, 1.0), **_APACHE,
        ),
        Model("z-image", ZImage, "Tongyi-MAI/Z-Image", size_gib=19.1, **_APACHE),
        Model(
            "z-image-turbo", ZImage, "Tongyi-MAI/Z-Image-Turbo", size_gib=19.1,
            distilled_from="z-image", settings=_sampled(8, 1.0), **_APACHE,
        ),
        Model("mini-flux", Flux, settings=shipped.MINI_FLUX, **_SHIPPED, **_APACHE),
        Model("mini-qwen-edit", QwenEdit, settings=shipped.MINI_QWEN_EDIT, **_SHIPPED, **_APACHE),
    )
}  # fmt: skip

for _model in KNOWN.values():
    register(_model.family)


def resolve(name: str | Path, role: str = "") -> Model:
    """Return the model a name, hub id or folder stands for, to be used as ``generator`` or ``editor`` (or whichever).

    A hub id may say which revision of it: ``owner/name@commit``. Which family it is of is read from its
    ``model_index.json``, which is downloaded. Raises ValueError for an unknown name (naming the nearest) or a model
    that cannot play the role, FileNotFoundError for a missing folder, RuntimeError for an index that cannot be had.
    """
    name = str(name)
    folder, (hub, _, revision) = from_base(name), name.partition("@")
    known = KNOWN.get(hub) or _by_source().get(hub)
    if known and (known.source or not revision):
        model = replace(known, revision=revision or known.revision)
    elif name and os.path.isdir(folder):
        model = _folder_model(folder)
    elif name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"model folder {name} does not exist; known models: {', '.join(KNOWN)}")
    elif HUB_ID.fullmatch(hub):
        revision = revision or "main"
        index = fetch(hub, "model_index.json", revision=revision)
        family, origin = _family_of(index, hub)
        model = Model(hub, family, hub, revision=revision, distilled_from=origin)
    else:
        close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KNOWN)}"
        raise ValueError(f"model {name!r} is not known; {hint} (a hub id or a pipeline folder serves too)")
    if role and role not in model.family.roles:
        able = ", ".join(each.name for each in KNOWN.values() if role in each.family.roles)
        raise ValueError(f"model {name!r} is a {model.family.name}, which cannot be used as {role}; use one of {able}")
    return model if model.source else replace(model, source=str(shipped.folder(model.name)))


class ModelFacts(TypedDict):
    """What a record keeps of a model: by its hash, and with its LoRAs (file, sha256, weight), what decides pixels."""

    name: str
    source: str
    revision: str
    precision: str
    hash: str
    loras: list[dict[str, str | float]]


def model_facts(family: Family) -> ModelFacts:
    """Return what a record keeps of a loaded model."""
    return facts_of(family.source, family.revision, family.precision, family.loras)


def facts_of(source: str, revision: str, precision: str, loras: Sequence[lora.Stacked] = ()) -> ModelFacts:
    """Return what a record keeps of a model that need not be loaded; of a hub id the index must be in the cache.

    ``revision`` is what is asked of the hub, ``hash`` its commit.
    """
    return ModelFacts(
        name=_name_of(source),
        source=source,
        revision="" if Path(source).is_dir() else revision,
        precision=precision,
        hash=weights_hash(source, revision),
        loras=[asdict(stacked) for stacked in loras],
    )


def weights_hash(source: str, revision: str) -> str:
    """Return a hash of a model's weights: their names, sizes and first and last MiB; of a hub id, its cached commit."""
    folder = Path(source)
    if not folder.is_dir():
        index = huggingface_hub.try_to_load_from_cache(source, "model_index.json", revision=revision)
        return Path(index).parent.name if isinstance(index, str) else "not measured"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            digest.update(file.read())
    return digest.hexdigest()


def lora_file(use: str | tuple[str | Path, float]) -> tuple[Path, float]:
    """Return (file, weight) of a LoRA given as ``path:0.8``, ``owner/name:0.8``, or a pair of them.

    ``owner/name/file.safetensors`` names one file of a hub repository, ``owner/name@commit`` a revision of it. One on
    the hub is downloaded. Raises FileNotFoundError for a missing file, ValueError for a hub repository with several
    files and for a file that is no safetensors, RuntimeError for a failed download.
    """
    text, weight = lora.parse_use(use) if isinstance(use, str) else (str(use[0]), float(use[1]))
    path = from_base(text)
    if os.path.isfile(path):
        return path, weight
    owner, _, rest = text.partition("/")
    name, _, file = rest.partition("/")
    name, _, revision = name.partition("@")
    repository, revision = f"{owner}/{name}", revision or "main"
    on_hub = HUB_ID.fullmatch(repository) and not name.endswith(".safetensors")
    if text.startswith(("/", ".", "~")) or not on_hub:
        raise FileNotFoundError(f"LoRA file {text} does not exist; give a .safetensors file or a hub id")
    if file and not file.endswith(".safetensors"):
        raise ValueError(f"LoRA {text} is no .safetensors, and a pickle can run code; {lora.CONVERT}")
    return fetch(repository, file or _only_weights(repository, revision), revision=revision), weight


def _only_weights(repository: str, revision: str) -> str:
    with hub_errors(repository, repository):
        _reach_hub()
        names = huggingface_hub.list_repo_files(repository, revision=revision)
    files = [name for name in names if name.endswith(".safetensors")]
    if len(files) != 1:
        raise ValueError(f"LoRA {repository} holds {len(files)} weight files; write {repository}/<one of {files[:5]}>")
    return files[0]


def fetch(repository: str, file: str, name: str = "", revision: str = "main") -> Path:
    """Return one file of a hub repository, from the cache or downloaded. Raises RuntimeError in one sentence."""
    with hub_errors(repository, name or repository):
        if not isinstance(huggingface_hub.try_to_load_from_cache(repository, file, revision=revision), str):
            _reach_hub()
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))


def _reach_hub() -> None:
    """Ask the hub once: its own client tries for half a minute before it says that there is no network."""
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        huggingface_hub.utils.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=10)


@contextmanager
def hub_errors(repository: str, name: str) -> Iterator[None]:
    """Turn whatever the hub answers into one RuntimeError that says what to do."""
    page = f"https://huggingface.co/{repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise RuntimeError(
            f"{name} is gated: accept its licence at {page}, then run `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise RuntimeError(
            f"{name} was not found at {page}, or is private and needs a token: check the name, or run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RuntimeError(f"{name} at {page} has no such revision: {_first_line(error)}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise RuntimeError(f"{name} at {page} lacks a file the kit needs: {_first_line(error)}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise RuntimeError(f"the hub refused the token for {name}; run `hf auth login` or set HF_TOKEN") from error
        raise RuntimeError(
            f"{name} is not in the cache ({huggingface_hub.constants.HF_HUB_CACHE}) and the hub cannot be reached: "
            f"connect to the network, or run `hf download {repository}` where there is one"
        ) from error


def _folder_model(folder: Path) -> Model:
    index = folder / "model_index.json"
    if not index.is_file():
        raise ValueError(f"{folder} is not a pipeline folder: it has no model_index.json")
    family, origin = _family_of(index, str(folder))
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 2**30
    resolution = placement.pipeline_facts(str(folder)).get("resolution", 1024)
    name = _name_of(str(folder))
    like = KNOWN.get(name, Model(name, family, ""))  # a shipped pipeline named by its folder
    found = replace(like, family=family, source=str(folder), size_gib=size, resolution=resolution)
    return replace(found, distilled_from=like.distilled_from or origin)


def _family_of(index: Path, name: str) -> tuple[type[Family], str]:
    """Return the family of a pipeline from its index, and what it was distilled from, in words, if it was."""
    mend = "download or save the pipeline again"
    content = read_json(index, mend)
    kind = content.get("_class_name")
    if not isinstance(kind, str):
        raise ValueError(f"{index} is damaged: it names no pipeline; {mend}")
    family = of_pipeline(kind)
    if family is None:
        known = " and ".join(each.pipeline_class.__name__ for each in FAMILIES.values())
        raise ValueError(f"{name} is a {kind}; the kit loads {known}")
    return family, "the model it was distilled from" if content.get("is_distilled") else ""


def _name_of(source: str) -> str:
    """Return what the model of a hub id or folder is called."""
    if source in _by_source():
        return _by_source()[source].name
    folder = Path(source)
    return placement.pipeline_facts(source).get("name", folder.resolve().name) if folder.is_dir() else source


def _by_source() -> dict[str, Model]:
    return {model.source: model for model in KNOWN.values() if model.source}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
