"""Wheel 2: the editor's own LoRA from what review sent back, one module a notebook."""
