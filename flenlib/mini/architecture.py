"""The small pipelines before training: real diffusers classes, ordinary folders, random weights.

``mini`` is the size that is trained and shipped; ``tiny`` is for tests, with the same layout and a few hundred KB.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    T5Config,
    T5EncoderModel,
)

from flenlib.dataset.prompts import choose
from flenlib.mini.tokens import PLAIN_SYSTEM, flux_tokenizer, qwen_tokenizer
from flenlib.models.families.qwen_processor import QwenPictureProcessor
from flenlib.models.registry import of_pipeline

FACTS_FILE = "flenlib.json"


@dataclass(frozen=True)
class Size:
    """Every width and depth of one size of the two pipelines."""

    resolution: int
    latent_channels: int
    autoencoder: tuple[int, int, int, int]
    """Channels of FLUX's autoencoder at 1, 1/2, 1/4 and 1/8 of the resolution."""
    edit_autoencoder: tuple[int, int, int, int]
    """The same for Qwen's, whose 3D kernels are stored three times as large; multiples of the first."""
    text_width: int
    text_layers: int
    heads: int
    rope: tuple[int, int, int]
    """Rotary axes; their sum is the size of one attention head."""
    double_layers: int
    single_layers: int
    edit_layers: int


SIZES = {
    "mini": Size(96, 32, (16, 32, 64, 96), (16, 32, 64, 80), 128, 2, 4, (8, 20, 20), 2, 4, 4),
    "tiny": Size(64, 4, (4, 4, 8, 8), (4, 4, 8, 8), 32, 1, 2, (4, 6, 6), 1, 1, 1),
}
TEXT_LENGTH = 32
CONDITION_AREA = 32 * 32
SHIFT = 1.5


def _size(name: str) -> Size:
    return SIZES[choose("size", name, tuple(SIZES))]


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False)


def flux_pipeline(size: str = "mini") -> FluxPipeline:
    """Return a small FluxPipeline with random weights (draws from torch's global generator)."""
    s = _size(size)
    tokenizer = flux_tokenizer(TEXT_LENGTH)
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=s.text_width,
        intermediate_size=2 * s.text_width,
        projection_dim=s.text_width,
        num_hidden_layers=s.text_layers,
        num_attention_heads=s.heads,
        max_position_embeddings=TEXT_LENGTH,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    t5 = T5Config(
        vocab_size=len(tokenizer),
        d_model=s.text_width,
        d_kv=s.text_width // s.heads,
        d_ff=2 * s.text_width,
        num_layers=s.text_layers,
        num_heads=s.heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=s.autoencoder,
        layers_per_block=1,
        latent_channels=s.latent_channels,
        norm_num_groups=s.autoencoder[0] // 2,
        sample_size=s.resolution,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * s.latent_channels,
        num_layers=s.double_layers,
        num_single_layers=s.single_layers,
        attention_head_dim=sum(s.rope),
        num_attention_heads=s.heads,
        joint_attention_dim=s.text_width,
        pooled_projection_dim=s.text_width,
        guidance_embeds=True,
        axes_dims_rope=s.rope,
    )
    return FluxPipeline(
        _scheduler(), vae, CLIPTextModel(clip), tokenizer, T5EncoderModel(t5), flux_tokenizer(TEXT_LENGTH), transformer
    )


def _picture_reader(s: Size, tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """Return the frozen text encoder; its merger ends in zeros, so the text alone decides what it says."""
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=s.text_width,
        intermediate_size=2 * s.text_width,
        num_hidden_layers=1,
        num_attention_heads=s.heads,
        num_key_value_heads=s.heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "default",
            "mrope_section": _mrope(s.text_width // s.heads),
            "rope_theta": 10000.0,
        },
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = dict(
        depth=1,
        hidden_size=32,
        intermediate_size=32,
        num_heads=2,
        out_hidden_size=s.text_width,
        patch_size=14,
        spatial_merge_size=2,
        temporal_patch_size=2,
        window_size=112,
        fullatt_block_indexes=[0],
    )
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{word}|>")
        for name, word in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    model = Qwen2_5_VLForConditionalGeneration(config)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    torch.nn.init.zeros_(model.model.visual.merger.mlp[-1].weight)
    return model


def _mrope(head: int) -> list[int]:
    time = head // 8
    return [time, (head // 2 - time) // 2, head // 2 - time - (head // 2 - time) // 2]


def _qwen_vae(s: Size) -> AutoencoderKLQwenImage:
    base = s.edit_autoencoder[0]
    return AutoencoderKLQwenImage(
        base_dim=base,
        z_dim=s.latent_channels,
        dim_mult=[width // base for width in s.edit_autoencoder],
        num_res_blocks=1,
        temperal_downsample=[False, False, False],
        latents_mean=[0.0] * s.latent_channels,
        latents_std=[1.0] * s.latent_channels,
    )


def _qwen_transformer(s: Size) -> QwenImageTransformer2DModel:
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * s.latent_channels,
        out_channels=s.latent_channels,
        num_layers=s.edit_layers,
        attention_head_dim=sum(s.rope),
        num_attention_heads=s.heads,
        joint_attention_dim=s.text_width,
        axes_dims_rope=s.rope,
    )


def qwen_edit_pipeline(size: str = "mini") -> QwenImageEditPlusPipeline:
    """Return a small QwenImageEditPlusPipeline with random weights (draws from torch's global generator)."""
    s, tokenizer = _size(size), qwen_tokenizer()
    vae, transformer = _qwen_vae(s), _qwen_transformer(s)
    pictures = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    processor = QwenPictureProcessor(pictures, tokenizer)
    return QwenImageEditPlusPipeline(
        _scheduler(), vae, _picture_reader(s, tokenizer), tokenizer, processor, transformer
    )


def qwen_image_pipeline(size: str = "mini") -> QwenImagePipeline:
    """Return a small QwenImagePipeline with random weights (draws from torch's global generator)."""
    s, tokenizer = _size(size), qwen_tokenizer(PLAIN_SYSTEM)
    reader = _picture_reader(s, tokenizer)
    return QwenImagePipeline(_scheduler(), _qwen_vae(s), reader, tokenizer, _qwen_transformer(s))


def save_pipeline(pipeline: DiffusionPipeline, folder: Path, size: str = "mini") -> Path:
    """Write ``pipeline`` as an ordinary diffusers folder with its ``flenlib.json``; big parts in bfloat16.

    The text encoders stay float32, because transformers loads at the stored precision and diffusers at float32.
    """
    family = of_pipeline(type(pipeline).__name__).name
    stored = {name: getattr(pipeline, name) for name in ("transformer", "vae")}
    for part in stored.values():
        part.bfloat16()
    pipeline.save_pretrained(folder)
    for part in stored.values():
        part.float()
    resolution = _size(size).resolution
    facts = {
        "name": f"{size}-{family.replace('_', '-')}",
        "family": family,
        "resolution": resolution,
        "reference_area": 4 * resolution**2 if family == "flux2_klein" else resolution**2,
        "condition_area": CONDITION_AREA,
        "max_sequence_length": 512 if family.startswith("qwen") else TEXT_LENGTH,
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    _name_processor(folder / "model_index.json")
    return folder


def _name_processor(index: Path) -> None:
    """Let ``model_index.json`` name Qwen's own processor class, as the published pipelines do."""
    content = json.loads(index.read_text())
    if "processor" in content:
        content["processor"] = ["transformers", "Qwen2VLProcessor"]
    index.write_text(json.dumps(content, indent=2) + "\n")


def new_flux(folder: Path | str, size: str = "mini", seed: int = 0) -> Path:
    """Write a FluxPipeline folder with random weights; ``size`` is ``mini`` or ``tiny``. Returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return save_pipeline(flux_pipeline(size), Path(folder), size)


def new_qwen_image(folder: Path | str, size: str = "mini", seed: int = 0) -> Path:
    """Write a QwenImagePipeline folder with random weights; ``size`` is ``mini`` or ``tiny``. Returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return save_pipeline(qwen_image_pipeline(size), Path(folder), size)


def new_qwen_edit(folder: Path | str, size: str = "mini", seed: int = 0) -> Path:
    """Write a QwenImageEditPlusPipeline folder with random weights, ``mini`` or ``tiny``. Returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return save_pipeline(qwen_edit_pipeline(size), Path(folder), size)
