"""Training the two small transformers by flow matching, on cached latents, through their pipelines' own encode_prompt.

FLUX: the text encoders learn too. Its guidance input becomes real in the last third of a run: at guidance 1 the model
predicts the plain velocity, above 1 the velocity of classifier-free guidance of its own average (as FLUX.1-dev was
distilled; the target follows "Diffusion Models without Classifier-free Guidance", arXiv 2502.12154).
Qwen: the text encoder is frozen and random, its outputs are cached; words are dropped, the reference never.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, FluxPipeline, QwenImageEditPlusPipeline, attention_backend
from diffusers.utils import logging
from PIL import Image
from torch import nn

from flenlib.mini.architecture import CONDITION_AREA, SHIFT, TEXT_LENGTH
from flenlib.mini.corpus import Corpus, edit_pairs, load_corpus, write_caption, write_edit
from flenlib.mini.training import DEVICE, Trainee

DROP_TEXT = 0.1
GUIDED_FROM = 0.65
"""Share of a FLUX run after which guidance is distilled."""
GUIDANCE = (1.0, 5.0)
STRENGTH = 0.5
"""Guidance g means classifier-free guidance of 1 + STRENGTH * (g - 1): small models bear less of it."""
EDIT_ODDS = {"background": 2.0, "light": 2.0, "style": 1.0, "angle": 5.0, "height": 3.0, "expression": 4.0}
CHANGE_WEIGHT = 4.0
"""How much more the tokens an edit changes most count in the loss: a smile is a few tokens of thirty-six."""
FACE_WEIGHT = 2.0
"""How much more the tokens that lie on a face count in the loss."""
ATTENTION = "_native_math" if DEVICE == "cpu" else "native"
"""On a CPU the fused attention's bfloat16 backward took 53 ms, the plain one's 20 (64 x 68 tokens, one core)."""


class FluxLearner(nn.Module):
    """What learns in the FLUX pipeline: the transformer and both text encoders."""

    def __init__(self, pipeline: FluxPipeline):
        super().__init__()
        self.transformer = pipeline.transformer
        self.text_encoder, self.text_encoder_2 = pipeline.text_encoder, pipeline.text_encoder_2


class QwenLearner(nn.Module):
    """What learns in the Qwen pipeline: the transformer."""

    def __init__(self, pipeline: QwenImageEditPlusPipeline):
        super().__init__()
        self.transformer = pipeline.transformer


def learner(pipeline: DiffusionPipeline) -> FluxLearner | QwenLearner:
    """Return the part of a pipeline that is trained, sharing its weights."""
    return FluxLearner(pipeline) if isinstance(pipeline, FluxPipeline) else QwenLearner(pipeline)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (B, C, h, w) as tokens (B, h/2 * w/2, 4C), in the order both pipelines use."""
    batch, channels, height, width = latents.shape
    return FluxPipeline._pack_latents(latents, batch, channels, height, width)


def take(stored: torch.Tensor, chosen: list[tuple[int, int]]) -> torch.Tensor:
    """Return (flip, index) entries of what is stored (2, N, ...) as floats (B, ...) on the training device."""
    flips, indices = zip(*chosen, strict=True)
    return stored[list(flips), list(indices)].to(DEVICE).float()


def noised(clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noisy tokens, their times in 0..1 (logit-normal, shifted like the scheduler) and the velocity to learn."""
    noise = torch.randn_like(clean)
    plain = torch.sigmoid(torch.randn(len(clean), device=clean.device))
    times = SHIFT * plain / (1 + (SHIFT - 1) * plain)
    t = times.view(-1, 1, 1)
    return (1 - t) * clean + t * noise, times, noise - clean


def face_shares(corpus: Corpus, side: int) -> torch.Tensor:
    """Return how much of each token is face, (2, N, side * side) in 0..1, for the pictures and their mirror images."""
    size = corpus.pictures.shape[1]
    masks = torch.zeros(len(corpus.rows), 1, size, size)
    for mask, (left, top, right, bottom) in zip(masks, corpus.boxes.tolist(), strict=True):
        mask[0, top:bottom, left:right] = 1
    shares = F.adaptive_avg_pool2d(masks, side)[:, 0]
    return torch.stack([shares, shares.flip(-1)]).flatten(2)


class FluxTask:
    """Batches and losses of FLUX; ``parts`` are a learner's, trained or averaged."""

    def __init__(self, pipeline: FluxPipeline, latents: torch.Tensor, corpus: Corpus, average: FluxLearner):
        self.pipeline, self.latents, self.rows, self.average = pipeline, latents, corpus.rows, average
        side = latents.shape[-1] // 2
        self.img_ids = FluxPipeline._prepare_latent_image_ids(1, side, side, DEVICE, torch.float32)
        self.txt_ids = torch.zeros(TEXT_LENGTH, 3, device=DEVICE)
        self.faces = face_shares(corpus, side)

    def encode(self, texts: list[str], parts: FluxLearner) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T5 states (B, 32, dim) and pooled CLIP states (B, dim) of ``texts`` by the encoders of ``parts``."""
        self.pipeline.text_encoder, self.pipeline.text_encoder_2 = parts.text_encoder, parts.text_encoder_2
        states, pooled, _ = self.pipeline.encode_prompt(texts, None, max_sequence_length=TEXT_LENGTH, device=DEVICE)
        return states, pooled

    def velocity(
        self, parts: FluxLearner, noisy: torch.Tensor, times: torch.Tensor, texts: Any, guidance: torch.Tensor
    ) -> torch.Tensor:
        """Return the predicted velocity of noisy tokens."""
        states, pooled = texts
        return parts.transformer(
            hidden_states=noisy,
            timestep=times,
            guidance=guidance,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            img_ids=self.img_ids,
            txt_ids=self.txt_ids,
            return_dict=False,
        )[0]

    def loss(self, model: FluxLearner, batch: int, progress: float, rng: random.Random) -> torch.Tensor:
        """Return the loss of one random batch; ``progress`` of the run decides whether guidance is learnt."""
        chosen = [(rng.randrange(2), rng.randrange(len(self.rows))) for _ in range(batch)]
        clean = pack(take(self.latents, chosen))
        rows = [self.rows[index].mirrored() if flip else self.rows[index] for flip, index in chosen]
        texts = ["" if rng.random() < DROP_TEXT else write_caption(row, rng) for row in rows]
        noisy, times, target = noised(clean)
        guidance = torch.empty(batch, device=DEVICE).uniform_(*GUIDANCE)
        if progress >= GUIDED_FROM:
            guidance[: batch // 2] = 1.0
            target = self._guide(noisy, times, target, texts, guidance)
        out = self.velocity(model, noisy, times, self.encode(texts, model), guidance)
        weights = 1 + FACE_WEIGHT * take(self.faces, chosen).unsqueeze(-1)
        return (weights * (out.float() - target).square()).mean() / weights.mean()

    @torch.no_grad()
    def _guide(
        self, noisy: torch.Tensor, times: torch.Tensor, target: torch.Tensor, texts: Any, guidance: torch.Tensor
    ) -> torch.Tensor:
        """Return targets moved, where guidance is above 1, by the average model's difference of words and no words."""
        half = slice(len(noisy) // 2, None)
        seen, when, plain = noisy[half], times[half], torch.ones_like(guidance[half])
        average = self.average
        worded = self.velocity(average, seen, when, self.encode(texts[half], average), plain)
        wordless = self.velocity(average, seen, when, self.encode([""] * len(seen), average), plain)
        push = (STRENGTH * (guidance[half] - 1)).view(-1, 1, 1)
        return torch.cat([target[: half.start], target[half] + push * (worded.float() - wordless.float())])


class EditTask:
    """Batches and losses of the editor."""

    def __init__(self, pipeline: QwenImageEditPlusPipeline, latents: torch.Tensor, corpus: Corpus):
        self.pipeline, self.latents, self.rows = pipeline, latents, corpus.rows
        self.side = latents.shape[-1] // 2
        self.faces = face_shares(corpus, self.side)
        self.picture = Image.new("RGB", (int(CONDITION_AREA**0.5),) * 2)
        self.cache: dict[str, torch.Tensor] = {}
        self.by_kind: dict[str, list[tuple[int, int]]] = {name: [] for name in EDIT_ODDS}
        for source, target, changed in edit_pairs(corpus.rows):
            if changed in self.by_kind:
                self.by_kind[changed].append((source, target))
        self.kinds = [name for name, pairs in self.by_kind.items() if pairs]

    @torch.no_grad()
    def encode(self, text: str) -> torch.Tensor:
        """Return the prompt states (tokens, dim) of one instruction; the picture has no say in them, so it is blank."""
        if text not in self.cache:
            states, _ = self.pipeline.encode_prompt(text, image=[self.picture], device=DEVICE)
            self.cache[text] = states[0].float()
        return self.cache[text]

    def loss(self, model: QwenLearner, batch: int, progress: float, rng: random.Random) -> torch.Tensor:
        """Return the loss of one random batch of edits."""
        kinds = rng.choices(self.kinds, [EDIT_ODDS[kind] for kind in self.kinds], k=batch)
        picked = [(kind, rng.randrange(2), *rng.choice(self.by_kind[kind])) for kind in kinds]
        texts = [" " if rng.random() < DROP_TEXT else self._instruct(*one, rng) for one in picked]
        sources = pack(take(self.latents, [(flip, a) for _, flip, a, _ in picked]))
        ends = [(flip, b) for _, flip, _, b in picked]
        targets = pack(take(self.latents, ends))
        noisy, times, wanted = noised(targets)
        encoded = [self.encode(text) for text in texts]
        states = nn.utils.rnn.pad_sequence(encoded, batch_first=True)
        lengths = torch.tensor([len(one) for one in encoded], device=DEVICE)
        mask = torch.arange(states.shape[1], device=DEVICE)[None] < lengths[:, None]
        out = model.transformer(
            hidden_states=torch.cat([noisy, sources], dim=1),
            timestep=times,
            encoder_hidden_states=states,
            encoder_hidden_states_mask=mask.long(),
            img_shapes=[[(1, self.side, self.side)] * 2] * batch,
            return_dict=False,
        )[0]
        change = (targets - sources).abs().mean(dim=2, keepdim=True)
        change = change / change.amax(dim=1, keepdim=True).clamp_min(1e-3)  # a smile seen from behind changes nothing
        weights = 1 + CHANGE_WEIGHT * change + FACE_WEIGHT * take(self.faces, ends).unsqueeze(-1)
        error = (out[:, : noisy.shape[1]].float() - wanted).square()
        return (weights * error).mean() / weights.mean()

    def _instruct(self, kind: str, flip: int, a: int, b: int, rng: random.Random) -> str:
        source, target = self.rows[a], self.rows[b]
        if flip:
            source, target = source.mirrored(), target.mirrored()
        return write_edit(source, target, kind, rng)


def train(
    pipeline: DiffusionPipeline,
    data: Path,
    family: str,
    *,
    minutes: float,
    batch: int = 64,
    max_steps: int | None = None,
) -> None:
    """Train the ``flux`` or ``qwen`` pipeline on the latents in ``data`` until the minutes are spent; prints the loss.

    Continues from the checkpoint in ``data`` with a fresh warm-up and cosine; saves every five minutes.
    """
    stored = torch.load(data / f"latents_{family}.pt", weights_only=True)["latents"]
    corpus = load_corpus(data)
    if len(corpus.rows) != stored.shape[1]:
        raise ValueError(f"{stored.shape[1]} latents for {len(corpus.rows)} pictures; run --stage latents again")
    pipeline.to(DEVICE)
    logging.set_verbosity_error()  # a long description is cut at 32 tokens, which is no news here
    trainee = Trainee(learner(pipeline), data / f"{family}.pt", lr=1e-3, minutes=minutes, muon=True)
    flux = family == "flux"
    average: Any = trainee.average
    task: Any = FluxTask(pipeline, stored, corpus, average) if flux else EditTask(pipeline, stored, corpus)
    rng = random.Random(trainee.steps)
    torch.manual_seed(trainee.steps)
    losses: list[float] = []
    while not trainee.finished(max_steps):
        with torch.autocast(DEVICE, torch.bfloat16), attention_backend(ATTENTION):
            loss = task.loss(trainee.model, batch, trainee.progress, rng)
        trainee.learn(loss)
        losses.append(loss.item())
        if trainee.steps % 100 == 0:
            print(
                f"{trainee.seconds:6.0f} s step {trainee.steps} loss {sum(losses[-100:]) / len(losses[-100:]):.4f}",
                flush=True,
            )
        if trainee.due(5):
            trainee.save()
    trainee.save()
