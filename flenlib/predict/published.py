"""The published architectures, by their public configurations, without their weights: to count, and to time.

FLUX.1-dev: https://huggingface.co/black-forest-labs/FLUX.1-dev. Qwen-Image-Edit-2509:
https://huggingface.co/Qwen/Qwen-Image-Edit-2509. What is built lies on torch's default device and has its default
dtype: ``with torch.device("meta")`` takes no memory.
"""

from __future__ import annotations

from collections.abc import Callable

from diffusers import AutoencoderKL, AutoencoderKLQwenImage, FluxTransformer2DModel, QwenImageTransformer2DModel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

LAYERS = {"flux": (19, 38), "qwen_edit": (60,)}
"""Blocks of the transformers: FLUX has double and single ones."""


def transformer(family: str, layers: tuple[int, ...] | None = None, heads: int = 24) -> nn.Module:
    """Return the transformer of a family, with other numbers of blocks and attention heads where asked."""
    layers = layers or LAYERS[family]
    if family == "flux":
        return FluxTransformer2DModel(
            num_layers=layers[0], num_single_layers=layers[1], num_attention_heads=heads, guidance_embeds=True
        )
    return QwenImageTransformer2DModel(num_layers=layers[0], num_attention_heads=heads)


def clip() -> nn.Module:
    """Return FLUX's small text encoder, CLIP ViT-L/14."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768
        )
    )


def t5() -> nn.Module:
    """Return FLUX's large text encoder, T5 v1.1 XXL."""
    return T5EncoderModel(
        T5Config(
            vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        )
    )  # fmt: skip


def qwen_vl() -> nn.Module:
    """Return Qwen's text encoder, Qwen2.5-VL 7B, which sees the references too."""
    text = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    return Qwen2_5_VLForConditionalGeneration(config)


def flux_vae() -> nn.Module:
    """Return FLUX's autoencoder: 16 channels at an eighth of the size."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


PARTS: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "flux": {
        "transformer": lambda: transformer("flux"),
        "text_encoder": clip,
        "text_encoder_2": t5,
        "vae": flux_vae,
    },
    "qwen_edit": {
        "transformer": lambda: transformer("qwen_edit"),
        "text_encoder": qwen_vl,
        "vae": AutoencoderKLQwenImage,
    },
}
"""The parts of each pipeline that hold weights."""
