import pytest
import torch

from speechml.signal.random import device_generator, key, permutation, uniform


def test_a_draw_depends_on_its_key_and_index_only() -> None:
    every = uniform(key("mix", 0, 1), torch.arange(1000), 3)
    some = torch.tensor([7, 999, 0, 42])
    assert torch.equal(uniform(key("mix", 0, 1), some, 3), every[some])


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = uniform(key("any"), torch.arange(200_000), 2)
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    histogram = torch.histc(draws[:, 0], 20, 0, 1) / 10_000
    assert float((histogram - 1).abs().max()) < 0.05
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([draws[1:, 0], draws[:-1, 0]]))[0, 1])) < 0.01


def test_another_epoch_is_another_order_and_the_same_epoch_the_same() -> None:
    first, again, other = (permutation(key("order", 0, epoch), 50) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sorted(other.tolist()) == list(range(50))


@pytest.mark.parametrize(("device", "expected"), [("cuda:0", "first"), ("cuda:1", "second"), ("cuda", "second")])
def test_dropout_draws_from_the_generator_of_its_own_device(
    device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "default_generators", ("first", "second"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_generator(torch.device(device)) == expected
