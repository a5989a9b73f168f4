"""Judging LoRAs and editors: the model card, comparisons, progress over iterations."""
