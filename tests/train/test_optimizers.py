import pytest
import torch

from flenlib.params import Train
from flenlib.train import optimizers


def test_the_rate_warms_up_and_follows_the_schedule():
    def rates(schedule):
        settings = Train(steps=10, warmup=4, learning_rate=1.0, schedule=schedule)
        return [optimizers.learning_rate(settings, step) for step in range(1, 11)]

    assert rates("constant") == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])
    assert rates("linear")[4:] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = rates("cosine")
    assert cosine[4] == 1 and cosine[7] == pytest.approx(0.5) and 0 < cosine[9] < cosine[8]


NAMES = ["adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "prodigy", "schedule_free"]


def descend(weight, optimizer, steps):
    for _ in range(steps):
        weight.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", NAMES)
def test_each_optimizer_goes_downhill(name):
    weight = torch.nn.Parameter(torch.ones(128, 64))
    rate = 1.0 if name == "prodigy" else 1e-2
    optimizer = optimizers.make([weight], Train(optimizer=name, learning_rate=rate))
    descend(weight, optimizer, 120)  # prodigy spends the first hundred on finding its rate
    assert weight.mean() < 0.9


@pytest.mark.parametrize("name", NAMES)
def test_each_optimizer_goes_on_from_its_saved_state(name, tmp_path):
    """Saved, read back as a checkpoint is, and stepped on: the same bits as without the break."""
    settings = Train(optimizer=name, learning_rate=1e-2)
    whole, parts = (torch.nn.Parameter(torch.linspace(-1, 1, 128 * 64).view(128, 64)) for _ in range(2))
    descend(whole, optimizers.make([whole], settings), 12)
    first = optimizers.make([parts], settings)
    descend(parts, first, 5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = optimizers.make([parts], settings)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    descend(parts, second, 7)
    assert torch.equal(parts, whole)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match="'lion' is not known; it must be one of adamw, "):
        optimizers.make([], Train().model_copy(update={"optimizer": "lion"}))


def test_schedule_free_is_sampled_at_its_own_average():
    weight = torch.nn.Parameter(torch.ones(128, 64))
    optimizer = optimizers.make([weight], Train(optimizer="schedule_free", learning_rate=1e-2))
    descend(weight, optimizer, 20)
    average, before = optimizers.Average([weight], optimizer, 0.0), weight.detach().clone()
    with average.applied():
        assert not torch.equal(weight, before)
    assert torch.equal(weight, before) and optimizer.param_groups[0]["train_mode"]


def test_the_average_is_applied_for_a_while():
    weight = torch.nn.Parameter(torch.zeros(3))
    average = optimizers.Average([weight], torch.optim.SGD([weight]), 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(100)
    with average.applied():
        assert weight.tolist() == [0.5, 0.5, 0.5]
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_the_average_stays_where_it_is_when_a_preview_puts_the_model_away():
    """As ``offload: model`` does; on the one device there is here, another place stands for another device."""
    weight = torch.nn.Parameter(torch.zeros(3))
    average = optimizers.Average([weight], torch.optim.SGD([weight]), 0.5)
    homes = weight.data_ptr(), average.weights[0].data_ptr()
    with average.applied():
        weight.data = weight.data.clone()
    assert (weight.data_ptr(), average.weights[0].data_ptr()) == homes


def test_without_a_decay_nothing_is_averaged():
    weight = torch.nn.Parameter(torch.zeros(3))
    average = optimizers.Average([weight], torch.optim.SGD([weight]), 0.0)
    average.update(1)
    with average.applied():
        assert weight.tolist() == [0, 0, 0]
    assert average.weights == []
