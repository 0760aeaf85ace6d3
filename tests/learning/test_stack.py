from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from earlayers.learning.alignment import aligned, aligned_copy
from earlayers.learning.methods import Method
from earlayers.learning.network import Network
from earlayers.learning.stack import Batches, Stack, losses
from earlayers.learning.stacked_sgd import StackedSgd
from tests.learning.tiny import make_method

INPUTS, UNITS, GENRES, FRAMES, BATCH = 6, 5, 3, 50, 16


def make_networks(method: Method, count: int = 1) -> list[Network]:
    return [method.build(INPUTS, GENRES, UNITS, 3, seed).double() for seed in range(count)]


def make_frames(folds: int) -> tuple[Tensor, Tensor]:
    """Frames with a last column of ones, and classes."""
    chance = torch.Generator().manual_seed(2)
    frames = torch.randn(folds, FRAMES, INPUTS + 1, dtype=torch.float64, generator=chance)
    frames[..., -1] = 1
    return frames, torch.randint(GENRES, (folds, FRAMES), generator=chance)


def make_optimizer(method: Method, stack: Stack) -> StackedSgd:
    names = ("learning_rate", "momentum", "weight_decay")
    return StackedSgd(stack.weights, **{name: getattr(method.optimizer, name) for name in names})


def descend(stack: Stack, optimizer: StackedSgd, batches: Batches) -> Tensor:
    logits = aligned(*batches.classes.shape, GENRES, like=batches.frames)
    folds = slice(0, len(logits))
    optimizer.step(lambda: stack.descend(folds, batches, logits), folds=folds)
    return logits


def reference_loss(logits: Tensor, classes: Tensor, output: str) -> Tensor:
    """Written out: minus the log of the right genre's softmax, or all genres' Bernoulli cross-entropy."""
    if output == "softmax":
        return -logits.log_softmax(-1).gather(-1, classes[:, None]).mean()
    codes = functional.one_hot(classes, GENRES)
    chance = logits.sigmoid()
    return -(codes * chance.log() + (1 - codes) * (1 - chance).log()).sum(-1).mean()


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.0, 0.1), (0.9, 0.1)])
def test_an_epoch_equals_automatic_differentiation_and_torch_sgd(activation, output, momentum, weight_decay):
    settings = {"momentum": momentum, "weight_decay": weight_decay}
    method = make_method(settings, activation=activation, output=output)
    (network,) = make_networks(method)
    stack = Stack([network], output)
    optimizer = make_optimizer(method, stack)
    frames, classes = make_frames(1)
    descend(stack, optimizer, Batches(frames, classes, [None] * 3, BATCH))

    peer = torch.optim.SGD(network.parameters(), lr=method.optimizer.learning_rate, **settings)
    for start in range(0, FRAMES, BATCH):
        window = slice(start, start + BATCH)
        loss = reference_loss(network(frames[0, window, :-1]), classes[0, window], output)
        peer.zero_grad()
        loss.backward()
        peer.step()
    for name, weights in stack.network_state(0).items():
        torch.testing.assert_close(weights, network.state_dict()[name], rtol=1e-11, atol=1e-13)


def test_one_step_of_a_2_2_2_network_equals_the_chain_rule_written_out():
    rate, frame, code = 0.5, np.array([1.0, -2.0]), np.array([0.0, 1.0])
    first, second = np.array([[0.3, -0.1], [0.2, 0.4]]), np.array([[0.5, -0.6], [0.1, 0.7]])
    network = Network(2, 2, 1, 2, "sigmoid").double()
    with torch.no_grad():
        for layer, weights in zip(network.layers, (first, second), strict=True):
            layer.weight.copy_(torch.tensor(weights))
            layer.bias.zero_()
    hidden = 1 / (1 + np.exp(-first @ frame))
    powers = np.exp(second @ hidden)
    error = powers / powers.sum() - code
    error_below = (second.T @ error) * hidden * (1 - hidden)

    stack = Stack([network], "softmax")
    optimizer = StackedSgd(stack.weights, learning_rate=rate, momentum=0.0, weight_decay=0.0)
    frames = torch.tensor([[[*frame, 1.0]]], dtype=torch.float64)
    logits = torch.empty(1, 1, 2, dtype=torch.float64)
    batches = Batches(frames, torch.tensor([[1]]), [None], 1)
    optimizer.step(lambda: stack.descend(slice(0, 1), batches, logits), folds=slice(0, 1))
    state = stack.network_state(0)
    np.testing.assert_allclose(state["layers.1.weight"], second - rate * np.outer(error, hidden), rtol=1e-12)
    np.testing.assert_allclose(state["layers.1.bias"], -rate * error, rtol=1e-12)
    np.testing.assert_allclose(
        state["layers.0.weight"], first - rate * np.outer(error_below, frame), rtol=1e-12
    )
    np.testing.assert_allclose(state["layers.0.bias"], -rate * error_below, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_dropout_equals_automatic_differentiation_through_the_same_masks(activation):
    method = make_method(activation=activation, dropout=0.4)
    (network,) = make_networks(method)
    stack = Stack([network], "softmax")
    frames, classes = make_frames(1)
    batches = stack.batches(frames, classes, [torch.Generator().manual_seed(7)], FRAMES)
    # the reference multiplies by the masks in the open
    below = frames[0, :, :-1]
    for layer, mask in zip(network.layers, batches.masks, strict=False):
        below = getattr(torch, activation)(layer(below)) * mask[0]
    functional.cross_entropy(network.layers[-1](below), classes[0]).backward()
    descend(stack, make_optimizer(method, stack), batches)
    for name, parameter in network.named_parameters():
        expected = parameter.detach() - method.optimizer.learning_rate * parameter.grad
        # the masks are drawn in float32
        torch.testing.assert_close(stack.network_state(0)[name], expected, rtol=1e-6, atol=1e-8)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    method = make_method(dropout=0.25, input_dropout=0.5)
    stack = Stack(make_networks(method), "softmax")
    frames = torch.ones(1, 20_000, INPUTS + 1)
    chance = [torch.Generator().manual_seed(1)]
    batches = stack.batches(frames, torch.zeros(1, 20_000, dtype=torch.int64), chance, 20)
    for mask in batches.masks:
        assert (mask == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
        assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert (frames[..., :-1] == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert frames[..., -1].eq(1).all()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_folds_of_different_rates_get_bit_for_bit_what_each_gets_alone(momentum):
    method = make_method({"momentum": momentum, "weight_decay": 0.1})
    networks, (frames, classes) = make_networks(method, 3), make_frames(3)

    def trained(folds: slice, rates: list[float]) -> list[dict[str, Tensor]]:
        stack = Stack(networks[folds], "softmax")
        batches = Batches(frames[folds], classes[folds], [None] * 3, BATCH)
        logits = aligned(*batches.classes.shape, GENRES, like=frames)
        everything = slice(0, len(rates))
        closure = partial(stack.descend, everything, batches, logits)
        make_optimizer(method, stack).step(closure, folds=everything, rates=rates)
        return [stack.network_state(fold) for fold in range(len(rates))]

    rates = [0.1, 0.05, 0.1]
    together = trained(slice(0, 3), rates)
    for fold, rate in enumerate(rates):
        (alone,) = trained(slice(fold, fold + 1), [rate])
        assert all(torch.equal(alone[name], together[fold][name]) for name in alone)
    assert not torch.equal(together[0]["layers.0.weight"], trained(slice(0, 1), [0.05])[0]["layers.0.weight"])


# several threads would cut a softmax where the size of the stack says
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("batch_frames", [7, 16, 50])
def test_a_fold_in_a_stack_gets_bit_for_bit_what_it_gets_alone(batch_frames):
    method = make_method({"momentum": 0.5}, dropout=0.25)
    networks = [network.float() for network in make_networks(method, 4)]
    frames, classes = make_frames(4)
    frames = frames.float()

    def train(folds: slice) -> Stack:
        stack = Stack(networks[folds], "softmax")
        chances = [torch.Generator().manual_seed(seed) for seed in range(4)[folds]]
        batches = stack.batches(aligned_copy(frames[folds]), classes[folds], chances, batch_frames)
        logits = aligned(*batches.classes.shape, GENRES)
        here = slice(0, len(logits))
        make_optimizer(method, stack).step(lambda: stack.descend(here, batches, logits), folds=here)
        return stack

    together, pair = train(slice(0, 4)), train(slice(1, 3))
    for fold in range(4):
        alone = train(slice(fold, fold + 1)).network_state(0)
        assert all(torch.equal(alone[name], value) for name, value in together.network_state(fold).items())
    assert all(torch.equal(pair.weights[n][0], together.weights[n][1]) for n in range(4))


def test_logits_are_those_from_before_each_update():
    method = make_method()
    (network,) = make_networks(method)
    stack = Stack([copy.deepcopy(network)], "softmax")
    frames, classes = make_frames(1)
    logits = descend(stack, make_optimizer(method, stack), Batches(frames, classes, [None] * 3, BATCH))
    with torch.no_grad():
        torch.testing.assert_close(logits[0, :BATCH], network(frames[0, :BATCH, :-1]))
    assert not torch.allclose(logits[0, BATCH:], network(frames[0, BATCH:, :-1]))


def test_a_fold_that_is_left_out_does_not_move():
    method = make_method({"momentum": 0.5})
    stack = Stack(make_networks(method, 3), "softmax")
    before = [stack.network_state(fold) for fold in range(3)]
    frames, classes = make_frames(1)
    batches = Batches(frames, classes, [None] * 3, BATCH)
    logits = torch.empty(1, FRAMES, GENRES, dtype=torch.float64)
    optimizer = make_optimizer(method, stack)
    optimizer.step(lambda: stack.descend(slice(1, 2), batches, logits), folds=slice(1, 2))
    moved = [
        any(not torch.equal(stack.network_state(fold)[name], value) for name, value in before[fold].items())
        for fold in range(3)
    ]
    assert moved == [False, True, False]


def test_evaluation_and_the_way_back_equal_the_network():
    method = make_method(activation="tanh")
    networks = make_networks(method, 2)
    stack = Stack(networks, "softmax")
    frames, _ = make_frames(1)
    torch.testing.assert_close(stack(1, frames[0, :, :-1]), networks[1](frames[0, :, :-1]))
    state = stack.network_state(1)
    stack.load_network_state(0, state)
    assert all(torch.equal(stack.network_state(0)[name], value) for name, value in state.items())


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_losses_equal_their_formula(output):
    logits = torch.randn(4, 9, GENRES, dtype=torch.float64)
    classes = torch.randint(GENRES, (4, 9))
    found = losses(logits, classes, output)
    assert found.shape == (4, 9)
    expected = reference_loss(logits.reshape(-1, GENRES), classes.reshape(-1), output)
    torch.testing.assert_close(found.mean(), expected)
