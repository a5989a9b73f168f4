"""Training the two small autoencoders to keep faces: crops around the face, L1 and image gradients, a little noise.

Both are trained as 2D networks of one picture. For a single frame each of Qwen's causal 3D convolutions equals a 2D
convolution with the last temporal slice of its kernel, which is what is trained here and written back afterwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import nn

from flenlib.mini.judge import face_encoding
from flenlib.mini.training import DEVICE, Trainee

CROP = 64
FACE_WEIGHT = 5.0
NOISE = 0.1
LATENT_PENALTY = 3e-4


class SingleFrameConv(nn.Module):
    """The 2D convolution a causal 3D convolution is when it sees one frame; (B, C, 1, H, W) in and out."""

    def __init__(self, conv: QwenImageCausalConv3d):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach()[:, :, -1].clone())
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self.stride, self.padding = conv.stride[1:], conv._padding[0]

    def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        """Return the convolution of the one frame; ``cache_x`` is for video and not used."""
        return F.conv2d(x[:, :, 0], self.weight, self.bias, self.stride, self.padding).unsqueeze(2)


class Codec(nn.Module):
    """One autoencoder as two functions of pictures: ``encode`` (B, 3, H, W) to means, ``decode`` back."""

    def __init__(self, vae: AutoencoderKL | AutoencoderKLQwenImage):
        super().__init__()
        self.video = isinstance(vae, AutoencoderKLQwenImage)
        self.encoder, self.decoder = vae.encoder, vae.decoder
        if self.video:
            for network in (self.encoder, self.decoder):
                _swap(network)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return latent means (B, C, H/8, W/8) of pictures in -1..1."""
        hidden = self.encoder(pictures.unsqueeze(2)).squeeze(2) if self.video else self.encoder(pictures)
        return hidden.chunk(2, dim=1)[0]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pictures (B, 3, H, W) of latents, not clamped."""
        return self.decoder(latents.unsqueeze(2)).squeeze(2) if self.video else self.decoder(latents)


def _swap(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, QwenImageCausalConv3d):
            setattr(network, name, SingleFrameConv(child))
        else:
            _swap(child)


def to_float(pictures: torch.Tensor) -> torch.Tensor:
    """Return uint8 (B, H, W, 3) as float (B, 3, H, W) in -1..1 on the training device."""
    return pictures.to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(
    pictures: torch.Tensor, boxes: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut ``count`` crops, five in six near the face; returns floats (B, 3, c, c) and loss weights (B, 1, c, c).

    ``boxes`` is (N, 4) left, top, right, bottom; an empty box (all zero) means no face is shown.
    """
    side = pictures.shape[1]
    crop = min(CROP, side)
    room = side - crop
    chosen, weights = [], torch.ones(count, 1, crop, crop)
    for n, index in enumerate(rng.integers(len(pictures), size=count)):
        left, top, right, bottom = boxes[index]
        x, y = rng.integers(room + 1, size=2)
        if right > left and rng.random() < 5 / 6:
            shift = rng.integers(-6, 7, size=2)
            x = int(np.clip((left + right - crop) // 2 + shift[0], 0, room))
            y = int(np.clip((top + bottom - crop) // 2 + shift[1], 0, room))
        piece = pictures[index, y : y + crop, x : x + crop]
        weights[n, 0, max(0, top - y) : max(0, bottom - y), max(0, left - x) : max(0, right - x)] = FACE_WEIGHT
        if rng.random() < 0.5:
            piece, weights[n] = piece.flip(1), weights[n].flip(2)
        chosen.append(piece)
    return to_float(torch.stack(chosen)), weights.to(DEVICE)


def reconstruction_loss(out: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return weighted L1 plus twice the weighted L1 of horizontal and vertical differences."""
    error = out - wanted
    plain = (weights * error.abs()).mean()
    across = (weights[..., 1:] * (error[..., 1:] - error[..., :-1]).abs()).mean()
    down = (weights[..., 1:, :] * (error[..., 1:, :] - error[..., :-1, :]).abs()).mean()
    return plain + across + down


def train(
    vae: AutoencoderKL | AutoencoderKLQwenImage,
    pictures: np.ndarray,
    boxes: np.ndarray,
    held_out: np.ndarray,
    path: Path,
    *,
    minutes: float,
    decoder_only: bool = False,
    batch: int = 8,
    max_steps: int | None = None,
    evaluate_every: float = 8.0,
) -> None:
    """Train until the minutes are spent, continuing from ``path`` if it exists; prints loss and face distances.

    ``decoder_only`` freezes the encoder, so latents made with it stay valid.
    """
    codec = Codec(vae)
    codec.encoder.requires_grad_(not decoder_only)
    trainee = Trainee(codec, path, lr=1.5e-3, minutes=minutes)
    if decoder_only:
        codec.load_state_dict(trainee.average.state_dict())  # the latents were made with the averaged encoder
    rng = np.random.default_rng(trainee.steps)
    source, losses, evaluated = torch.from_numpy(pictures), [], trainee.seconds
    while not trainee.finished(max_steps):
        wanted, weights = crops(source, boxes, batch, rng)
        with torch.autocast(DEVICE, torch.bfloat16):
            latents = codec.encode(wanted)
            out = codec.decode(latents + NOISE * torch.randn_like(latents))
        penalty = LATENT_PENALTY * latents.float().square().mean()
        loss = reconstruction_loss(out.float(), wanted, weights) + penalty
        trainee.learn(loss)
        losses.append(loss.item())
        if trainee.steps % 500 == 0:
            spread = latents.float().std().item()
            print(
                f"{trainee.seconds:6.0f} s step {trainee.steps} loss {np.mean(losses[-500:]):.4f} latents {spread:.2f}",
                flush=True,
            )
        if trainee.due(5):
            trainee.save()
        if trainee.seconds - evaluated > evaluate_every * 60:
            evaluated = trainee.seconds
            print(face_report(trainee.average, held_out), flush=True)
    trainee.save()
    print(face_report(trainee.average, held_out), flush=True)


@torch.no_grad()
def encode_all(codec: Codec, pictures: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Return latent means (N, C, H/8, W/8) of uint8 pictures, on the CPU."""
    parts = torch.from_numpy(pictures).split(batch)
    return torch.cat([codec.encode(to_float(part)).float().cpu() for part in parts])


@torch.no_grad()
def reconstruct(codec: Codec, pictures: np.ndarray) -> np.ndarray:
    """Return uint8 pictures (N, H, W, 3) after encoding and decoding."""
    parts = torch.from_numpy(pictures).split(64)
    out = torch.cat([codec.decode(codec.encode(to_float(part))).float().cpu() for part in parts])
    return ((out.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def face_report(codec: Codec, pictures: np.ndarray) -> str:
    """Return one line: how many faces survive the autoencoder, and at what median encoding distance."""
    before = [face_encoding(picture) for picture in pictures]
    after = [face_encoding(picture) for picture in reconstruct(codec, pictures)]
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None]
    distances = [float(np.linalg.norm(a - b)) for a, b in pairs if b is not None]
    median = f"{np.median(distances):.3f}" if distances else "not measured"
    return f"faces kept {len(distances)} of {len(pairs)}, median distance {median}"


@torch.no_grad()
def write_back(
    codec: Codec, mean: torch.Tensor, std: torch.Tensor, vae: AutoencoderKL | AutoencoderKLQwenImage
) -> None:
    """Put trained weights and the per-channel normalisation of latents (C,) into a fresh diffusers autoencoder.

    Qwen's config has a place for mean and deviation. FluxPipeline knows one scale for all channels, so there ``std`` is
    folded into the encoder's last and the decoder's first convolution, and ``mean`` must be zeros: those convolutions
    pad with zeros, which a shift would change at the border. Log-variances become -10.
    """
    channels = len(std)
    weights = {name: value.detach().float().cpu().clone() for name, value in codec.state_dict().items()}
    weights["encoder.conv_out.weight"][channels:] = 0
    weights["encoder.conv_out.bias"][channels:] = -10
    if codec.video:
        _widen(weights, vae)
        vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
        for conv in (vae.quant_conv, vae.post_quant_conv):
            conv.weight.copy_(torch.eye(conv.weight.shape[0]).view(conv.weight.shape))
            conv.bias.zero_()
    else:
        weights["encoder.conv_out.weight"][:channels] /= std.view(-1, 1, 1, 1)
        weights["encoder.conv_out.bias"][:channels] /= std
        weights["decoder.conv_in.weight"] *= std.view(1, -1, 1, 1)
    vae.load_state_dict(weights, strict=False)


def _widen(weights: dict[str, torch.Tensor], vae: AutoencoderKLQwenImage) -> None:
    for name, wanted in vae.state_dict().items():
        if name in weights and wanted.ndim == 5:
            full = torch.zeros_like(wanted)
            full[:, :, -1] = weights[name]
            weights[name] = full
