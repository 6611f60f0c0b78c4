"""The mean meta-gradient of several tasks, by this package and by its peers.

`higher` and `torchopt` are called as their users write it. Every function takes a
GPT-2, tasks as (support batches, query batch), the optimizer's name and its rate, and
returns the gradients by parameter name. Tasks run one after the other; no graph
outlives its task. The peers are imported where they are called, so that neither is
loaded into the process that measures another.
"""

from types import SimpleNamespace

import torch

from maml_en_llm import PromptLoss, meta_gradient, optimizers, parameters

# This package's default; torchopt's is 0, with which its gradient is NaN here.
EPS_ROOT = 1e-8


def package_gradient(model, tasks, optimizer: str, rate: float, mode: str):
    """`maml_en_llm.meta_gradient` in one of its modes.

    ``optimizer`` may be "none" for tasks without support.
    """
    inner = None if optimizer == "none" else getattr(optimizers, optimizer)(lr=rate)
    params, loss = parameters(model), PromptLoss(model)
    mean = {name: torch.zeros_like(p) for name, p in params.items()}
    for support, query in tasks:
        grads = meta_gradient(loss, params, support, query, inner, mode=mode).grads
        for name in mean:
            mean[name].add_(grads.pop(name), alpha=1 / len(tasks))
    return mean


def higher_gradient(model, tasks, optimizer: str, rate: float):
    """The loop of higher's MAML example.

    A differentiable copy of a torch optimizer, one context per task.
    """
    import higher

    model.zero_grad()
    inner = getattr(torch.optim, optimizer)(model.parameters(), lr=rate)
    for support, query in tasks:
        with higher.innerloop_ctx(
            model, inner, copy_initial_weights=False, track_higher_grads=True
        ) as (fast, steps):
            for batch in support:
                steps.step(_loss(fast, batch))
            (_loss(fast, query) / len(tasks)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def torchopt_gradient(model, tasks, optimizer: str, rate: float):
    """The loop of torchopt's MAML example.

    A meta-optimizer on the module, whose state is recovered after each task.
    """
    import torchopt

    model.zero_grad()
    tied = _TiedHead(model)
    safe = {"eps_root": EPS_ROOT} if optimizer == "Adam" else {}
    inner = getattr(torchopt, f"Meta{optimizer}")(tied, lr=rate, **safe)
    before = torchopt.extract_state_dict(tied, by="reference", detach_buffers=True)
    cold = torchopt.extract_state_dict(inner, by="reference")
    for support, query in tasks:
        for batch in support:
            inner.step(_loss(tied, batch))
        (_loss(tied, query) / len(tasks)).backward()
        torchopt.recover_state_dict(tied, before)
        torchopt.recover_state_dict(inner, cold)
    return {name: p.grad for name, p in model.named_parameters()}


class _TiedHead(torch.nn.Module):
    """GPT-2 with its tied weight registered once.

    torchopt updates every registration of a weight by itself: `GPT2LMHeadModel` comes
    untied at the second inner step, silently, and the meta-gradient is another one.
    """

    def __init__(self, model):
        super().__init__()
        self.transformer, self.criterion = model.transformer, model.loss_function

    def forward(self, input_ids, labels, use_cache):
        hidden = self.transformer(input_ids, use_cache=use_cache).last_hidden_state
        head = self.transformer.wte.weight
        loss = self.criterion(hidden @ head.T, labels, vocab_size=head.shape[0])
        return SimpleNamespace(loss=loss)


def _loss(model, batch):
    labels = batch.input_ids.where(batch.loss_mask, -100)
    return model(input_ids=batch.input_ids, labels=labels, use_cache=False).loss


METHODS = {"higher": higher_gradient, "torchopt": torchopt_gradient}


def gradient(method: str, model, tasks, optimizer: str, rate: float):
    """The meta-gradient by "higher", by "torchopt", or by a mode of this package."""
    if method in METHODS:
        return METHODS[method](model, tasks, optimizer, rate)
    return package_gradient(model, tasks, optimizer, rate, method)
