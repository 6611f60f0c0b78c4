"""A trie of prompts: what several have in common, from the left, is computed once.

A node is a token after all the tokens on its path from the root. A causal model
computes the same hidden state for a node in whichever prompt it stands, so one forward
pass over the nodes, in which each sees its ancestors alone, gives what one pass per
prompt would give (protocol 8.2: options share their query, queries a label, null inputs
everything).
"""

from collections.abc import Sequence

import torch


class Trie:
    """Grows by `add`.

    Node n has token ``ids[n]`` and stands ``depths[n]`` tokens after the root.
    """

    def __init__(self):
        self.ids: list[int] = []
        self.depths: list[int] = []
        self._parents: list[int] = []  # smaller than the node itself; -1 for the root
        self._children: dict[tuple[int, int], int] = {}

    def add(self, tokens: Sequence[int]) -> list[int]:
        """The nodes of a path, made where they are not there yet."""
        path, parent = [], -1
        for depth, token in enumerate(tokens):
            node = self._children.setdefault((parent, token), len(self.ids))
            if node == len(self.ids):
                self.ids.append(token)
                self.depths.append(depth)
                self._parents.append(parent)
            path.append(node)
            parent = node
        return path

    def shared(self, tokens: Sequence[int]) -> int:
        """How many of ``tokens``, from the first, are there already."""
        parent = -1
        for n, token in enumerate(tokens):
            parent = self._children.get((parent, token))
            if parent is None:
                return n
        return len(tokens)

    def visible(self) -> torch.Tensor:
        """(N, N), true where the column's node is the row's or one of its ancestors."""
        seen = torch.eye(len(self.ids), dtype=torch.bool, device="cpu")
        rows = seen.numpy()  # the same memory; one row at a time is faster there
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                rows[node] |= rows[parent]
        return seen
