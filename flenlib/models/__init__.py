"""Families of models behind five verbs: load, encode, predict, sample, save."""

import logging

SAID_FOR_NOTHING = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    "transformers.utils.import_utils": "requires torchvision (not installed)",
}
"""What two libraries warn of whenever they are imported, and which changes nothing here: an optional faster kernel for
4-bit weights on the processor, and picture processors that Pillow serves as well. Everything else they say is heard."""

for _name, _words in SAID_FOR_NOTHING.items():
    logging.getLogger(_name).addFilter(lambda record, words=_words: words not in record.getMessage())
