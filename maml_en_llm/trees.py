"""Nested tuples and dictionaries of tensors, such as optimiser states, walked in one fixed order."""

import torch


def tree_map(function, tree, *others):
    """Apply ``function`` to every tensor of ``tree`` and its namesakes in ``others``; numbers are kept as they are."""
    if isinstance(tree, torch.Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {name: tree_map(function, part, *(other[name] for other in others)) for name, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [tree_map(function, *together) for together in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree
