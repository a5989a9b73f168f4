"""The two tokenizers of the mini studio, built from scratch: a word of the studio is one token, all else is bytes."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from flenlib.dataset import prompts

QWEN_SYSTEM = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain "
    "how the user's text instruction should alter or modify the image. Generate a new image that meets the user's "
    "requirements while maintaining consistency with the original input where appropriate."
)
"""What QwenImageEditPlusPipeline puts before every instruction; it drops exactly 64 tokens of it."""

PLAIN_SYSTEM = (
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the "
    "objects and background:"
)
"""What QwenImagePipeline puts before every text; it drops exactly 34 tokens of it."""

_GRAMMAR = """
photo portrait picture image close up full body profile view of a an the person man woman character face head
in on at with wearing and to but for from by is as it her his their very while no
standing sitting chair pose T-pose expression smiling neutral angry sad happy smile surprised
front back side half left right high low level angle camera from above below slightly higher lower
background forest studio beach urban street city spaceship library desert clean white grey plain night day
daylight sunset light lighting nighttime bright dark soft warm cold
t-shirt shirt jacket dress suit hoodie coat
oil painting watercolor sketch drawing style look like make
change keep identical maintain appearance person's replace turn add remove only show
old middle aged elderly slim long short medium shoulder length bald hair haired red ginger orange blonde blond
black brown dark light grey gray white silver blue green hazel pink purple violet teal yellow
skin skinned pale tan tanned olive deep eyes eyed beard bearded moustache mustache goatee stubble glasses freckles
curly wavy straight cropped bob bun ponytail afro spiky fringe bangs round wide narrow thin thick big small large
fair auburn shaved crew cut hat earrings wrinkles clean-shaven sks picture quality best detailed sharp
"""


def _words() -> list[str]:
    constants = (
        prompts.ANGLES,
        prompts.EXPRESSIONS,
        prompts.LIGHTS,
        prompts.BACKGROUNDS,
        prompts.OUTFITS,
        prompts.STYLES,
    )
    return [*_GRAMMAR.split(), *" ".join(word for group in constants for word in group).split()]


def _train(texts: Iterable[str], special: list[str], normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=8000, min_frequency=1, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return tokenizer


def flux_tokenizer(length: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer of both FLUX text encoders: lower case, no commas, padded to ``length`` tokens."""
    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[\s,.]+"), " "),
        normalizers.Strip(),
        normalizers.Prepend(" "),
    ]
    tokenizer = _train(
        {f" {word}" for word in _words()}, ["<pad>", "</s>", "<s>", "<unk>"], normalizers.Sequence(steps)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        bos_token="<s>",
        unk_token="<unk>",
        model_max_length=length,
        padding_side="right",
    )


def qwen_tokenizer(system: str = QWEN_SYSTEM) -> PreTrainedTokenizerFast:
    """Return a tokenizer with Qwen's special tokens, under which the tokens a pipeline drops are its own words."""
    special = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    template = f"system\n{system}\nuser\nPicture 1: \nassistant\n"
    texts = [template, *(form for word in _words() for form in (word, f" {word}"))]
    tokenizer = _train(set(texts), special, normalizers.Lowercase())
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        model_max_length=1024,
        padding_side="right",
        additional_special_tokens=special[3:],
    )
