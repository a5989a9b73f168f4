import pytest
import torch

from flenlib.train import flow


def test_a_generator_is_a_function_of_what_it_is_for():
    def draw(*parts):
        return torch.rand(4, generator=flow.generator(*parts)).tolist()

    assert draw(17, "noise", 3, 0) == draw(17, "noise", 3, 0)
    assert len({tuple(draw(17, "noise", step, micro)) for step in range(20) for micro in range(2)}) == 40


@pytest.mark.parametrize("mode", ["logit_normal", "uniform", "shifted"])
def test_times_lie_between_picture_and_noise(mode):
    times = flow.sample_timesteps(mode, 4000, flow.generator(0), tokens=1024)
    assert times.min() > 0 and times.max() < 1
    middle = {"logit_normal": 0.5, "uniform": 0.5, "shifted": 0.64}[mode]
    assert times.mean().item() == pytest.approx(middle, abs=0.03)


def test_the_shift_follows_the_line():
    """At 4096 tokens mu is 1.15, so that the median time is e^1.15 / (1 + e^1.15) = 0.76 (FLUX.1)."""
    assert flow.sample_timesteps("shifted", 9000, flow.generator(0), 4096).median().item() == pytest.approx(
        0.76, abs=0.01
    )
    flat = flow.sample_timesteps("shifted", 9000, flow.generator(0), 4096, (256, 0.0, 4096, 0.0))
    assert flat.median().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (flow.FLUX_LINE, {1024: 1.878, 1536: 2.048, 2304: 2.332, 4096: 3.158}),
        ((256, 0.5, 8192, 0.9), {1024: 1.714, 2304: 1.828, 4096: 2.001}),
    ],
    ids=["FLUX.1-dev", "Qwen-Image-Edit-2509"],
)
def test_the_shift_at_the_usual_sizes(line, want):
    """At 512x512, 512x768, 768x768 and 1024x1024 pixels, by the schedulers' published configurations."""
    assert {tokens: round(flow.shift(tokens, line), 3) for tokens in want} == want


def test_unknown_timesteps_name_the_value():
    with pytest.raises(ValueError, match="'sigmoid' is not known"):
        flow.sample_timesteps("sigmoid", 1, flow.generator(0))


def test_the_velocity_leads_from_picture_to_noise():
    clean, noise = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    times = torch.tensor([0.0, 0.25, 1.0])
    noisy = flow.add_noise(clean, noise, times)
    assert torch.equal(noisy[0], clean[0]) and torch.equal(noisy[2], noise[2])
    torch.testing.assert_close(noisy - times.view(3, 1, 1) * (noise - clean), clean)
    assert torch.equal(flow.losses(noise - clean, clean, noise), torch.zeros(3))
    assert flow.losses(torch.zeros_like(clean), clean, noise)[1] == (noise - clean)[1].square().mean()


def test_the_loss_is_told_by_time():
    bins = flow.binned(torch.tensor([0.05, 0.09, 0.95, 1.0]), torch.tensor([1.0, 3.0, 5.0, 7.0]))
    assert bins == [2.0, None, None, None, None, None, None, None, None, 6.0]
