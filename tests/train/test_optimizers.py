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


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_each_optimizer_goes_downhill(name):
    weight = torch.nn.Parameter(torch.ones(128, 64))
    optimizer = optimizers.make([weight], Train(optimizer=name, learning_rate=1e-2))
    for _ in range(20):
        weight.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert weight.mean() < 0.9


def test_the_average_is_applied_for_a_while():
    weight = torch.nn.Parameter(torch.zeros(3))
    average = optimizers.Average([weight], 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(100)
    with average.applied():
        assert weight.tolist() == [0.5, 0.5, 0.5]
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_without_a_decay_nothing_is_averaged():
    weight = torch.nn.Parameter(torch.zeros(3))
    average = optimizers.Average([weight], 0.0)
    average.update(1)
    with average.applied():
        assert weight.tolist() == [0, 0, 0]
    assert average.weights == []
