"""Tiny random pipelines of the families the studio does not ship: for tests, and to see a wheel turn on them.

Real diffusers classes in ordinary folders, as in ``architecture``; what they draw is noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from flenlib.mini.architecture import SHIFT, flux_pipeline, qwen_edit_pipeline, save_pipeline
from flenlib.mini.tokens import qwen_tokenizer

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
"""Qwen3's form of a chat."""
WIDTH = 32


def flux_kontext() -> FluxKontextPipeline:
    """Return a FluxKontextPipeline of the parts of a tiny FluxPipeline."""
    return FluxKontextPipeline(**{k: v for k, v in flux_pipeline("tiny").components.items() if v is not None})


def flux2_klein(distilled: bool = False) -> Flux2KleinPipeline:
    """Return a tiny Flux2KleinPipeline, of a base model or of one distilled from it."""
    tokenizer = _tokenizer()
    vae = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=64,
        use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
    )  # fmt: skip
    vae.bn.running_mean.normal_(0, 0.1)
    vae.bn.running_var.uniform_(0.5, 1.5)
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * WIDTH, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    reader = Qwen3ForCausalLM(_qwen3(tokenizer, layers=27))  # as deep as the last layer the pipeline reads
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return Flux2KleinPipeline(scheduler, vae, reader, tokenizer, transformer, is_distilled=distilled)


def z_image() -> ZImagePipeline:
    """Return a tiny ZImagePipeline."""
    tokenizer, vae = _tokenizer(), flux_pipeline("tiny").vae
    transformer = ZImageTransformer2DModel(
        in_channels=vae.config.latent_channels, dim=48, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=WIDTH, axes_dims=[8, 8, 8], axes_lens=[640, 64, 64],
    )  # fmt: skip
    torch.nn.init.zeros_(transformer.x_pad_token)
    torch.nn.init.zeros_(transformer.cap_pad_token)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    return ZImagePipeline(scheduler, vae, Qwen3Model(_qwen3(tokenizer, layers=2)), tokenizer, transformer)


def qwen_edit_2511() -> DiffusionPipeline:
    """Return a tiny QwenImageEditPlusPipeline whose references are at time 0, as those of Qwen-Image-Edit-2511."""
    pipeline = qwen_edit_pipeline("tiny")
    pipeline.transformer = QwenImageTransformer2DModel.from_config(pipeline.transformer.config, zero_cond_t=True)
    return pipeline


def save(folder: Path | str, make: Callable[[], DiffusionPipeline], seed: int = 0) -> Path:
    """Write a pipeline folder of one of these, with weights by a seed; return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return save_pipeline(make(), Path(folder), "tiny")


def _tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


def _qwen3(tokenizer: PreTrainedTokenizerBase, layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
    )  # fmt: skip
