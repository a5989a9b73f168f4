"""What is encoded has names and shapes: texts are padded, pictures are not, and grids must agree."""

import pytest
import torch

from flenlib.models.batch import Batch, Encoded, collate, one_grid


def encoded(length, grid=(2, 3)):
    tokens = grid[0] * grid[1]
    return Encoded(
        latents=torch.randn(tokens, 4), grid=torch.tensor(grid),
        text=torch.ones(length, 3), text_mask=torch.ones(length, dtype=torch.long),
    )  # fmt: skip


def test_texts_of_unlike_length_are_padded():
    batch = collate([encoded(2), encoded(4)])
    assert len(batch) == 2 and batch.latents.shape == (2, 6, 4) and one_grid(batch.grid) == (2, 3)
    assert batch.text.shape == (2, 4, 3) and batch.text_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.text[0, 2:].abs().sum() == 0 and batch.pooled is None
    assert torch.equal(batch[1:].latents[0], batch.latents[1]) and len(batch[1:]) == 1
    assert isinstance(batch.to(torch.device("cpu")), Batch)


def test_samples_share_a_batch_when_their_pictures_are_alike():
    assert encoded(2).shape() == encoded(5).shape() != encoded(2, (3, 2)).shape()
    with_reference = encoded(2) | Encoded(reference=torch.zeros(6, 4), reference_grid=torch.tensor([[2, 3]]))
    assert with_reference.shape() != encoded(2).shape()
    assert (with_reference | Encoded(reference_grid=torch.tensor([[3, 2]]))).shape() != with_reference.shape()
    with pytest.raises(ValueError, match="different sizes"):
        one_grid(torch.tensor([[2, 3], [3, 2]]))


def test_of_what_two_have_the_others_is_taken():
    both = Encoded(weight=torch.tensor(1.0), focus=torch.ones(2)) | Encoded(weight=torch.tensor(2.0))
    assert both.weight == 2 and both.tensors().keys() == {"focus", "weight"}
