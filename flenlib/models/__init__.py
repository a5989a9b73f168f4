"""Families of models behind five verbs: load, encode, predict, sample, save."""

import logging
from functools import partial


def _without(words: str, record: logging.LogRecord) -> bool:
    return words not in record.getMessage()


SAID_FOR_NOTHING = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    "bitsandbytes.autograd._functions": "inputs will be cast from",
    "transformers.utils.import_utils": "requires torchvision (not installed)",
}
"""What two libraries warn of, and which changes nothing here. When imported: an optional faster kernel for 4-bit
weights on the processor, and picture processors that Pillow serves as well. At every call of every int8 layer, 1,000
times a training step: that its inputs are rounded on the way. Everything else they say is heard."""

for _name, _words in SAID_FOR_NOTHING.items():
    logging.getLogger(_name).addFilter(partial(_without, _words))
