"""Where networks can be cut, and that both parts make up the whole."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_fairlatent.stitching._cutting import CutNetwork, with_stitch

from .networks import Branching, Skipping, convolutional, mlp, outputs, seeded


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.inner(self.inner(x)))


class Doubled(nn.Module):
    def forward(self, features):
        return 2 * features


def blocks():
    return seeded(lambda: nn.Sequential(OrderedDict(stem=nn.Linear(3, 4), block=Skipping(4), last=nn.Linear(4, 2))))


NETWORKS = [
    (mlp, (20, 3), ["0", "1", "3", "4"]),  # not behind the dropout, which passes on, and not behind the last layer
    (convolutional, (20, 2, 8, 8), ["0", "1", "2", "3", "4", "5", "6"]),
    (blocks, (20, 3), ["stem"]),
    (lambda: seeded(lambda: nn.Linear(3, 2)), (20, 3), ["input"]),
    (lambda: seeded(lambda: nn.Sequential(mlp(), nn.ReLU(), nn.Linear(2, 2), nn.Softmax(dim=1))), (20, 3),
     ["0.0", "0.1", "0.3", "0.4", "0.5", "1"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "names"), NETWORKS)
def test_both_parts_make_up_the_whole_at_every_layer(make, shape, names):
    network = make().eval()
    X = np.random.RandomState(0).normal(size=shape)
    cut = CutNetwork(network)
    assert cut.names() == names
    for name in [*names, "input"]:
        extractor, head = cut.after(name)
        with torch.no_grad():
            features = extractor(torch.as_tensor(X, dtype=torch.float32))
            torch.testing.assert_close(head(features).numpy(), outputs(network, X), rtol=0, atol=0)
        restored = pickle.loads(pickle.dumps(head))
        torch.testing.assert_close(restored(features), head(features), rtol=0, atol=0)


def test_a_block_is_cut_behind_not_inside():
    network = blocks().eval()
    X = np.random.RandomState(0).normal(size=(5, 3))
    extractor, head = CutNetwork(network).after("block")
    with torch.no_grad():
        np.testing.assert_array_equal(head(extractor(torch.as_tensor(X, dtype=torch.float32))), outputs(network, X))
    with pytest.raises(ValueError, match=r"split='block.inner': something passes by .*\['stem'\]"):
        CutNetwork(network).after("block.inner")


def test_what_cannot_be_cut_is_said():
    with pytest.raises(ValueError, match=r"split='nine': the network has no such layer.*'0', '1'"):
        CutNetwork(mlp()).after("nine")
    with pytest.raises(ValueError, match="uses this layer 2 times"):
        CutNetwork(Twice()).after("inner")
    with pytest.raises(ValueError, match="cannot be cut.*extractor= and head="):
        CutNetwork(Branching())
    with pytest.raises(ValueError, match="the last weights of network=Sequential are not those of one layer"):
        CutNetwork(nn.Sequential(nn.ReLU())).around_last()


def test_parts_that_cannot_be_followed_are_taken_as_a_whole():
    network = nn.Sequential(OrderedDict(extractor=Branching(), head=nn.Linear(2, 2))).eval()
    extractor, head = CutNetwork(network, leaves=("extractor", "head")).after("extractor")
    x = torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head(extractor(x)), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("make", [mlp, convolutional])
def test_the_last_layer(make):
    network = make().eval()
    name, extractor, head, layer = CutNetwork(network).around_last()
    assert layer is network[-1] is network.get_submodule(name)
    X = torch.randn((4, 2, 8, 8) if make is convolutional else (4, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head(layer(extractor(X))), network(X), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("last", "probabilities"),
    [(nn.Softmax(dim=1), True), (nn.Sigmoid(), True), (nn.LogSoftmax(dim=1), False), (nn.ReLU(), False)],
)
def test_whether_a_network_gives_probabilities(last, probabilities):
    assert CutNetwork(nn.Sequential(nn.Linear(3, 2), last)).ends_in_probabilities() is probabilities


@pytest.mark.parametrize("name", ["0", "4", "input"])
def test_a_network_with_a_stitch_is_a_copy(name):
    network = mlp().eval()
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    before = network(x)
    whole = with_stitch(network, name, Doubled()).eval()
    extractor, head = CutNetwork(network).after(name)
    torch.testing.assert_close(whole(x), head(2 * extractor(x)))
    assert not torch.equal(whole(x), before)
    torch.testing.assert_close(network(x), before, rtol=0, atol=0)
