"""The five verbs agree with the pipelines they stand for."""

import weakref

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE
from transformers import Qwen2VLImageProcessorPil

from flenlib.content import Allowed
from flenlib.models.batch import Batch, Encoded, collate
from flenlib.models.quantise import kept
from flenlib.models.registry import FAMILIES
from tests.models.common import NAMES, capture, load, open_family, picture, references, sample

SMILING = Allowed("ohwx_char person, smiling")


@pytest.fixture(params=NAMES)
def family(request):
    return open_family(request)


def same(one, other):
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_our_steps_over_predict_are_the_pipelines_own(family):
    follow(family)


def follow(family):
    """Check that Euler steps over what ``predict`` says lead through the latents the pipeline itself passes through."""
    given = [picture(5, 96, 64), picture(6)][: family.most_references]
    calls = capture(family, SMILING, steps=3, references=given, width=96, height=64)
    encoded = family.encode(text=SMILING, references=given)
    batch = collate([encoded | Encoded(grid=torch.tensor([4, 6]))])
    sigmas, latents = family.pipeline.scheduler.sigmas, calls[0][0][:, :24]
    assert len(sigmas) == 4 and sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas[:-1] > sigmas[1:]).all()
    for (tokens, time, output), now, then in zip(calls, sigmas[:-1], sigmas[1:], strict=True):
        torch.testing.assert_close(tokens[:, :24], latents, rtol=0, atol=1e-5)
        torch.testing.assert_close(time, now[None])
        velocity = family.predict(latents, now[None], batch)
        assert velocity.shape == latents.shape and velocity.dtype == torch.float32
        torch.testing.assert_close(velocity, output[:, :24], rtol=0, atol=1e-5)
        if given:
            torch.testing.assert_close(batch.reference, tokens[:, 24:], rtol=0, atol=0)
        latents = latents + (then - now) * velocity


def test_references_of_2511_are_at_time_zero(tiny_qwen_edit_2511):
    """Its configuration alone says so: another time changes what it makes of the target, not of the references."""
    editor = load(tiny_qwen_edit_2511, "qwen_edit")
    assert editor.transformer.config.zero_cond_t
    follow(editor)
    encoded = editor.encode(image=picture(1), text=SMILING, references=[picture(5, 96, 64)])
    both, times = collate([encoded, encoded]), torch.tensor([0.2, 0.7])
    found = editor.predict(both.latents, times, both)
    for index, at in enumerate(times):
        alone = editor.predict(both.latents[:1], at[None], both[:1])
        torch.testing.assert_close(found[index], alone[0], rtol=0, atol=1e-5)
    editor.transformer.zero_cond_t = False
    for block in editor.transformer.transformer_blocks:
        block.zero_cond_t = False
    assert (editor.predict(both.latents, times, both) - found).abs().max() > 1e-4


def test_a_padded_batch_predicts_what_each_sample_would_alone(family):
    texts = ["a person", "a person in a forest, smiling, half-left view"]
    parts = [
        family.encode(image=picture(i), text=Allowed(t), references=references(family.name))
        for i, t in enumerate(texts)
    ]
    batch = collate(parts)
    noisy = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.3, 0.8])
    together = family.predict(noisy, times, batch)
    for index, p in enumerate(parts):
        alone = family.predict(noisy[index : index + 1], times[index : index + 1], collate([p]))
        torch.testing.assert_close(together[index], alone[0], rtol=0, atol=1e-5)


def test_latents_decode_through_the_pipeline_and_are_deterministic(family):
    first, second = (family.encode(image=picture(2, 70, 90)) for _ in range(2))
    assert first.tensors().keys() == {"latents", "grid"} and first.grid.tolist() == [5, 4]
    assert torch.equal(first.latents, second.latents) and first.latents.dtype == torch.float32
    if hasattr(family.pipeline, "_unpack_latents"):
        unpacked = family.pipeline._unpack_latents(first.latents[None], 80, 64, family.pipeline.vae_scale_factor)
        assert family.pipeline.vae.decode(unpacked).sample.shape[-2:] == (80, 64)


def test_encode_gives_only_what_was_asked(family):
    parts = family.encode(text=Allowed("a person"), references=references(family.name)).tensors()
    pictures = {"reference", "reference_grid"} if family.references else set()
    beside = {"flux": {"pooled"}, "flux_kontext": {"pooled"}, "flux2_klein": set()}.get(family.name, {"text_mask"})
    assert parts.keys() == {"text"} | beside | pictures


def test_sampling_is_a_function_of_the_seed(family):
    assert np.array_equal(sample(family, 1), sample(family, 1))
    assert not np.array_equal(sample(family, 1), sample(family, 2))
    assert sample(family).shape == (64, 64, 3) and family.resolution == 64


def test_the_editors_instruction_is_encoded_with_its_references(tiny_qwen_edit):
    editor = load(tiny_qwen_edit, "qwen_edit")
    one = editor.encode(text=Allowed("a person"), references=[picture(1)])
    two = editor.encode(text=Allowed("a person"), references=[picture(1), picture(2)])
    assert len(two.text) > len(one.text) and two.reference_grid.tolist() == [[4, 4], [4, 4]]


def test_the_encoder_sees_references_as_rows_and_columns(tiny_qwen_edit):
    """By transformers' own index of positions, with pictures read at the published sizes: 196 and 187 tokens."""
    editor = load(tiny_qwen_edit, "qwen_edit")
    editor.pipeline.processor.image_processor = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=12845056)
    editor.condition_area = CONDITION_IMAGE_SIZE
    reader, asked, seen = editor.pipeline.text_encoder, [], []
    hooks = [
        reader.register_forward_pre_hook(lambda module, args, kwargs: asked.append(kwargs), with_kwargs=True),
        reader.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
        ),
    ]
    editor.encode(text=Allowed("smile"), references=[picture(1), picture(2, 96, 64)])
    for hook in hooks:
        hook.remove()
    ids, grids = asked[0]["input_ids"], asked[0]["image_grid_thw"]
    assert grids.tolist() == [[1, 28, 28], [1, 22, 34]]
    types = torch.tensor(editor.pipeline.processor.create_mm_token_type_ids(ids.tolist()))
    assert types.sum() == 14 * 14 + 11 * 17
    expected, _ = reader.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grids)
    assert torch.equal(seen[0], expected)
    first = int(types[0].nonzero()[0])  # a picture takes as many positions as its longer side, not one for each token
    assert seen[0][:, 0, -1].tolist() == [ids.shape[1] - 1 - (14 * 14 - 14) - (11 * 17 - 17)] * 3
    assert seen[0][:, 0, first + 15].tolist() == [first, first + 1, first + 1]


def test_more_references_than_a_family_takes(family):
    most = family.most_references
    found = rf"takes {f'at most {most}' if most else 'no'} reference pictures and {most + 1} were given; "
    for draw in (lambda **given: family.sample(SMILING, seed=0, steps=1, **given), family.encode):
        with pytest.raises(ValueError, match=found):
            draw(references=[picture()] * (most + 1))


def test_one_batch_is_one_size(family):
    parts = family.encode(image=picture(), text=Allowed("x"), references=references(family.name))
    batch = collate([parts]) | Batch(grid=torch.tensor([[4, 4], [2, 8]]))
    with pytest.raises(ValueError, match="different sizes"):
        family.predict(batch.latents, torch.tensor([0.5]), batch)


def test_encode_then_free_then_train_and_preview(family):
    """What a small card does, part by part, ends in the same pictures and velocities as having everything at once."""
    given = references(family.name)
    drawn = family.sample(Allowed("a person"), seed=1, steps=2, guidance=2.0, references=given)
    whole = family.encode(image=picture(), text=Allowed("a person"), references=given)
    turns = FAMILIES[family.name].load(family.source, device="cpu", transformer=False)
    with pytest.raises(RuntimeError, match="without its transformer; call load_transformer"):
        turns.transformer  # noqa: B018
    parts = turns.encode(image=picture(), text=Allowed("a person"), references=given)
    conditions = turns.conditions(Allowed("a person"), references=given)
    assert same(parts, whole)
    encoders = [weakref.ref(getattr(turns.pipeline, name)) for name in turns.encoders]
    for _ in range(2):
        turns.free_encoders()
        turns.load_transformer()
    assert not any(encoder() for encoder in encoders) and turns.pipeline.vae is not None
    again = turns.sample(Allowed("not read"), seed=1, steps=2, guidance=2.0, references=given, conditions=conditions)
    assert np.array_equal(again, drawn)
    for call in (
        lambda: turns.encode(text=Allowed("a person"), references=given),
        lambda: turns.sample(Allowed("a person"), seed=1, steps=1, references=given),
    ):
        with pytest.raises(RuntimeError, match="text encoders were freed; give conditions="):
            call()
    assert torch.equal(turns.encode(image=picture()).latents, whole.latents)
    batch, at = collate([parts]), torch.tensor([0.5])
    assert torch.equal(turns.predict(batch.latents, at, batch), family.predict(batch.latents, at, batch))


def test_guidance_off_needs_no_negative_conditions(tiny_qwen_edit):
    editor = load(tiny_qwen_edit, "qwen_edit")
    encoded = editor.encode(text=Allowed("a person"), references=[picture(5)])
    one = editor.sample(Allowed("x"), seed=1, steps=2, guidance=1.0, references=[picture(5)], conditions=encoded)
    other = editor.sample(Allowed("a person"), seed=1, steps=2, guidance=1.0, references=[picture(5)])
    assert np.array_equal(one, other)


def test_square_pictures_are_learnt_alike_with_and_without_a_reference(tiny_qwen_edit):
    editor = load(tiny_qwen_edit, "qwen_edit")
    for side in (64, 96, 150):
        square = picture(1, side, side)
        assert editor.fitted(square, 96, True).tobytes() == editor.fitted(square, 96, False).tobytes()


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_lower_precisions_sample_and_train(precision, family):
    from flenlib.models import lora

    exact = sample(family)
    small = load(family.source, family.name, precision)
    assert abs(sample(small) - exact).mean() < 12
    kind = {"bf16": "Linear", "int8": "Linear8bit", "nf4": "Linear4bit"}[precision]
    large = getattr(small.pipeline, small.encoders[-1])
    assert kind in {type(module).__name__ for module in large.modules()}
    query = lora.target_modules(type(small), small.transformer, "attention")[0]
    assert type(small.transformer.get_submodule(query)).__name__ == kind
    keep = small.quantised["transformer"]
    spared = {type(m) for n, m in small.transformer.named_modules() if isinstance(m, torch.nn.Linear) and kept(n, keep)}
    assert spared == {torch.nn.Linear}
    lora.attach(small, 4, 4, "attention", seed=0)
    parts = small.encode(image=picture(), text=Allowed("a person"), references=references(small.name))
    batch = collate([parts])
    small.predict(batch.latents, torch.tensor([0.5]), batch).square().mean().backward()
    assert all(p.dtype == torch.float32 and p.grad.isfinite().all() for p in lora.trainable(small))
    assert any(p.grad.abs().max() > 0 for p in lora.trainable(small))
