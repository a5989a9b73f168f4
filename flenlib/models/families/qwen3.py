"""Qwen3 4B, which reads the texts of more than one family, by its public configuration."""

from __future__ import annotations

from transformers import Qwen3Config


def qwen3_4b() -> Qwen3Config:
    """Return the configuration of https://huggingface.co/Qwen/Qwen3-4B."""
    return Qwen3Config(
        vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
