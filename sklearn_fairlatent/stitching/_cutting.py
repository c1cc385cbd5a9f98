"""Where a network can be cut: the layers behind which everything it knows goes through one tensor."""

import copy
import operator
from collections import OrderedDict
from functools import partial

import torch
from torch import fx, nn

# In front of the first layer: the only place to stitch a network of one layer.
INPUT = "input"
# Layers that pass on what they get once a network is trained: behind them is where one was already.
PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
PROBABILITIES = {nn.Softmax, nn.Sigmoid, torch.softmax, torch.sigmoid, nn.functional.softmax, "softmax", "sigmoid"}
# Steps that change the shape of what a network gives, not what it means.
SHAPING = {nn.Flatten, nn.Identity, nn.Unflatten, torch.squeeze, torch.flatten, torch.reshape, operator.getitem}
SHAPING |= {"squeeze", "unsqueeze", "flatten", "reshape", "view", "contiguous", "float", "double"}
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
        given = self._output()
        if not isinstance(given, fx.Node):
            raise ValueError(
                f"network={type(network).__name__} gives a {type(given).__name__}; expected one tensor, with a row "
                "per row of X."
            )
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        if len([node for node in placeholders if node.users]) != 1:
            raise ValueError(
                f"network={type(network).__name__} takes {len(placeholders)} tensors; expected one, the rows of X."
            )

    def names(self):
        """Layers to stitch after, in order: before the last weights, and not behind what only passes on."""
        cuts, last = self._cuts(), self._last_weights()
        found = []
        for node in self._graph.nodes:
            if node is last:
                break
            if node.op != "call_module" or node not in cuts or self._calls(node.target) != 1:
                continue
            if not isinstance(self._layer(node), PASSING):
                found.append(_short(node.target))
        return found or [INPUT]

    def ends_in_probabilities(self):
        """Whether the last step that is not one of shape is a softmax or a sigmoid."""
        last = self._output()
        while self._kind(last) in SHAPING:
            last = last.all_input_nodes[0]
        return self._kind(last) in PROBABILITIES

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

    def around_last(self):
        """Name of the last layer with weights ("" if it is the network), extractor, head behind it, and layer.

        Raises
        ------
        ValueError
            If the last weights are not those of one layer that everything goes through.
        """
        node = self._last_weights()
        if node is None or node.op != "call_module" or node not in self._cuts():
            raise ValueError(
                f"stitch='last_layer': the last weights of network={type(self.network).__name__} are not those of one "
                "layer that everything goes through. Stitch elsewhere."
            )
        extractor, _ = self._parts(node.all_input_nodes[0])
        _, head = self._parts(node)
        return _short(node.target), extractor, head, self._layer(node)

    def _after(self, target):
        return self._parts(self._node(target))

    def _node(self, target):
        name, n_calls = _short(target), self._calls(target)
        if not n_calls:
            raise ValueError(
                f"split={name!r}: this layer works inside another one, which does not call it on its own. Those to "
                f"stitch after: {self.names()}."
            )
        if n_calls > 1:
            raise ValueError(
                f"split={name!r}: the network uses this layer {n_calls} times; expected once. Those to stitch after: "
                f"{self.names()}."
            )
        node = next(node for node in self._graph.nodes if node.op == "call_module" and node.target == target)
        if node not in self._cuts():
            raise ValueError(
                f"split={name!r}: something passes by this layer (a skip connection, or a size that is read of the "
                f"input). Those to stitch after: {self.names()}."
            )
        return node

    def _calls(self, target):
        return sum(node.op == "call_module" and node.target == target for node in self._graph.nodes)

    def _input(self):
        return next(node for node in self._graph.nodes if node.op == "placeholder" and node.users)

    def _output(self):
        return next(node for node in self._graph.nodes if node.op == "output").args[0]

    def _kind(self, node):
        return type(self._layer(node)) if node.op == "call_module" else node.target

    def _last_weights(self):
        """The last step with weights, its own or some that are passed to it."""
        last = None
        for node in self._graph.nodes:
            own = node.op == "call_module" and any(True for _ in self._layer(node).parameters())
            if own or any(given.op == "get_attr" for given in node.all_input_nodes):
                last = node
        return last

    def _layer(self, node):
        return self._root.get_submodule(str(node.target))

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
    """A copy of ``network`` with one of ``stitch`` behind the layer ``name``, or in its place."""
    network, stitch = copy.deepcopy(network).eval(), copy.deepcopy(stitch).eval()
    if name == INPUT:
        return nn.Sequential(OrderedDict(stitch=stitch, network=network))
    if not name:
        return stitch if replaces else nn.Sequential(OrderedDict(network=network, stitch=stitch))
    new = stitch if replaces else nn.Sequential(OrderedDict(layer=network.get_submodule(name), stitch=stitch))
    network.set_submodule(name, new)
    return network


def _short(target):
    return "" if target == ROOT else target.removeprefix(f"{ROOT}.")
