"""Tiny random captioners of the published architectures, in the published folder layout."""

import json

import torch
from transformers import (
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipImageProcessorPil,
)

from flenlib.mini.tokens import qwen_tokenizer

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZE = {"height": 32, "width": 32}
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip


def _tokenizer(image):
    tokenizer = qwen_tokenizer()
    if image not in tokenizer.get_vocab():
        tokenizer.add_tokens([image], special_tokens=True)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<|endoftext|>", eos_token="<|im_end|>",
        bos_token="<|im_start|>", extra_special_tokens={"image_token": image},
    )  # fmt: skip
    shown = f"<|vision_start|>{image}<|vision_end|>" if "pad" in image else image
    made.chat_template = CHAT.replace("IMAGE", shown)
    return made


def _ids(tokenizer):
    return {
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip


def _qwen(folder, kind):
    tokenizer = _tokenizer("<|image_pad|>")
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = {**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope} | _ids(tokenizer)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    if kind == "qwen3_vl":
        vision |= {"patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))
        images = Qwen2VLImageProcessorPil(patch_size=16, min_pixels=32 * 32, max_pixels=64 * 64)
    else:
        vision |= {"patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
        images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    return model, images, tokenizer, {"processor_class": "Qwen2_5_VLProcessor"}


def _llava(folder, kind):
    """JoyCaption's parts: SigLIP, two layers, Llama."""
    tokenizer = _tokenizer("<image>")
    text = {**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)} | _ids(tokenizer)
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
              "num_attention_heads": 2, "image_size": 32, "patch_size": 16, "vision_use_head": False}  # fmt: skip
    config = LlavaConfig(
        text_config=text, vision_config=vision, vision_feature_select_strategy="full", vision_feature_layer=-2,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
    )  # fmt: skip
    said = {"processor_class": "LlavaProcessor", "patch_size": 16, "vision_feature_select_strategy": "full",
            "image_token": "<image>"}  # fmt: skip
    return LlavaForConditionalGeneration(config), SiglipImageProcessorPil(size=SIZE), tokenizer, said


def _florence(folder, kind):
    tokenizer = _tokenizer("<image>")
    text = {"model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
            "forced_eos_token_id": None, "decoder_start_token_id": 1} | _ids(tokenizer)  # fmt: skip
    vision = {"depths": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2],
              "num_groups": [1, 1, 2, 2], "projection_dim": 32, "window_size": 4}  # fmt: skip
    config = Florence2Config(
        text_config=text, vision_config=vision, image_token_id=tokenizer.convert_tokens_to_ids("<image>")
    )
    images = CLIPImageProcessorPil(size=SIZE, do_center_crop=False)
    images.image_seq_length = 2
    return Florence2ForConditionalGeneration(config), images, tokenizer, {"processor_class": "Florence2Processor"}


BUILDERS = {"florence2": _florence, "qwen2_5_vl": _qwen, "qwen3_vl": _qwen, "llava": _llava}


def write(folder, kind):
    """Write a captioner of an architecture into a folder and return it."""
    torch.manual_seed(3)
    model, images, tokenizer, said = BUILDERS[kind](folder, kind)
    model.generation_config.suppress_tokens = tokenizer.all_special_ids  # a random model would say nothing else
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(said))
    return folder
