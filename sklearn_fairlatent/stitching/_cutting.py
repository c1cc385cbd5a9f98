"""Where a network can be cut: the layers behind which everything it knows goes through one tensor."""

import copy
from collections import OrderedDict
from functools import partial

import torch
from torch import fx, nn

# In front of the first layer: the only place to stitch a network of one layer.
INPUT = "input"
# Layers that pass on what they get once a network is trained: behind them is where one was already.
PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
PROBABILITIES = {nn.Softmax, nn.Sigmoid, torch.softmax, torch.sigmoid, nn.functional.softmax, "softmax", "sigmoid"}
ROOT = "network"


class _Tracer(fx.Tracer):
    def __init__(self, leaves):
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m, module_qualified_name):
        return module_qualified_name in self.leaves or super().is_leaf_module(m, module_qualified_name)


class CutNetwork:
    """A network as the graph of its layers, to be cut in two.

    Parameters
    ----------
    network : torch.nn.Module
        One tensor in, one out. In evaluation mode.
    leaves : tuple of str
        Layers that are taken as a whole, whatever goes on inside.

    Raises
    ------
    ValueError
        If the graph of the network depends on the values in it, or it takes several tensors.
    """

    def __init__(self, network, leaves=()):
        self.network = network
        # A layer alone would be traced into its functions and have no name.
        self._root = nn.Sequential(OrderedDict({ROOT: network})).eval()
        leaves = tuple(f"{ROOT}.{name}" for name in leaves)
        try:
            self._graph = _Tracer(leaves).trace(self._root)
        except Exception as error:  # whatever a forward raises when it is shown a stand-in for its input
            raise ValueError(
                f"network={type(network).__name__} cannot be cut: following its layers failed "
                f"({type(error).__name__}: {error}). Pass the two parts as modules, extractor= and head=."
            ) from error
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        if len([node for node in placeholders if node.users]) != 1:
            raise ValueError(
                f"network={type(network).__name__} takes {len(placeholders)} tensors; expected one, the rows of X."
            )

    def names(self):
        """Layers to stitch after, in order: before the last one with weights, and not behind what only passes on."""
        cuts = self._cuts()
        last = self._last_node()
        found = []
        for node in self._graph.nodes:
            if node is last:
                break
            if node in cuts and node.op == "call_module" and self._calls(node.target) == 1:
                layer = self._root.get_submodule(node.target)
                if not isinstance(layer, PASSING):
                    found.append(_short(node.target))
        return found or [INPUT]

    def last_layer(self):
        """Name of the last layer with weights; "" if the network is that layer."""
        return _short(self._last_node().target)

    def ends_in_probabilities(self):
        """Whether the last step is a softmax or a sigmoid."""
        last = next(node for node in self._graph.nodes if node.op == "output").args[0]
        if not isinstance(last, fx.Node):
            return False
        if last.op == "call_module":
            return type(self._root.get_submodule(last.target)) in PROBABILITIES
        return last.target in PROBABILITIES

    def after(self, name):
        """Extractor up to the layer ``name``, and head behind it.

        Raises
        ------
        ValueError
            If there is no such layer, or something passes by it.
        """
        if name == INPUT:
            return self._parts(self._input())
        if name not in dict(self.network.named_modules()):
            raise ValueError(f"split={name!r}: the network has no such layer. Those to stitch after: {self.names()}.")
        target = f"{ROOT}.{name}" if name else ROOT
        if self._calls(target) == 0:
            return CutNetwork(self.network, leaves=(name,))._after(target)
        return self._after(target)

    def around(self, name):
        """Extractor up to the input of the layer ``name``, that layer, and head behind it."""
        node = self._last_node() if name == self.last_layer() else self._node(f"{ROOT}.{name}")
        extractor, _ = self._parts(node.args[0])
        _, head = self._parts(node)
        return extractor, self._root.get_submodule(node.target), head

    def _after(self, target):
        return self._parts(self._node(target))

    def _node(self, target):
        name, n_calls = _short(target), self._calls(target)
        if n_calls != 1:
            raise ValueError(
                f"split={name!r}: the network uses this layer {n_calls} times; expected once. Those to stitch after: "
                f"{self.names()}."
            )
        node = next(node for node in self._graph.nodes if node.op == "call_module" and node.target == target)
        if node not in self._cuts():
            raise ValueError(
                f"split={name!r}: something passes by this layer (a skip connection). Those to stitch after: "
                f"{self.names()}."
            )
        return node

    def _calls(self, target):
        return sum(node.op == "call_module" and node.target == target for node in self._graph.nodes)

    def _input(self):
        return next(node for node in self._graph.nodes if node.op == "placeholder" and node.users)

    def _last_node(self):
        cuts = self._cuts()
        found = [
            node
            for node in self._graph.nodes
            if node.op == "call_module" and node in cuts and any(True for _ in self._layer(node).parameters())
        ]
        if not found:
            raise ValueError(
                f"network={type(self.network).__name__} has no last layer with weights that everything goes through."
            )
        return found[-1]

    def _layer(self, node):
        return self._root.get_submodule(node.target)

    def _cuts(self):
        """Nodes behind which no node before them is used any more; weights do not count."""
        order = {node: k for k, node in enumerate(self._graph.nodes)}
        furthest, cuts = -1, set()
        for node, k in order.items():
            if node.op in ("get_attr", "output") or not node.users:
                continue
            if furthest <= k:
                cuts.add(node)
            furthest = max(furthest, *(order[user] for user in node.users))
        return cuts

    def _parts(self, cut):
        """The graph up to the node ``cut``, and the graph behind it."""
        first, second = fx.Graph(), fx.Graph()
        known = {first: {}, second: {cut: second.placeholder("features")}}

        def copied(graph, node):
            if node not in known[graph]:  # weights that a function uses: wherever they are asked for
                known[graph][node] = graph.node_copy(node)
            return known[graph][node]

        graph = first
        for node in self._graph.nodes:
            if node.op == "output":
                second.output(known[second][node.args[0]])
            elif node.op != "get_attr":
                known[graph][node] = graph.node_copy(node, partial(copied, graph))
            if node is cut:
                first.output(known[first][node])
                graph = second
        return tuple(fx.GraphModule(self._root, part).eval() for part in (first, second))


def with_stitch(network, name, stitch, *, replaces=False):
    """A copy of ``network`` with ``stitch`` behind the layer ``name``, or in its place."""
    network = copy.deepcopy(network)
    if name == INPUT:
        return nn.Sequential(OrderedDict(stitch=stitch, network=network))
    if not name:
        return stitch if replaces else nn.Sequential(OrderedDict(network=network, stitch=stitch))
    new = stitch if replaces else nn.Sequential(OrderedDict(layer=network.get_submodule(name), stitch=stitch))
    network.set_submodule(name, new)
    return network


def _short(target):
    return "" if target == ROOT else target.removeprefix(f"{ROOT}.")
