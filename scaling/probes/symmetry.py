"""How much of a learned function, and of the data's pairs of tokens, does not care for the order of positions.

Of the function f, the outputs at the last position for held-out inputs in random order: the share Var(mean over orders
of f) / Var(f), by one-way analysis of variance (Fisher 1925; Searle 1992, chapter 3). It is 1 of a sum over positions,
and 1 / seq_len of what sees one alone.

Of tokens' pairs: pairs = T (T - 1) |mean C|² / sum |C_ts|², C_ts being the covariance of the one-hot tokens at
positions t != s (Lavie 2024, arXiv:2402.05173), both without the bias of noise (Song 2012; Szekely and Rizzo 2014,
arXiv:1310.2926); no value where the sum is within three standard errors of 0. Two nulls: `pairs_shuffled`, the tokens
of each example in random order, 1 in theory; `pairs_stationary`, a stationary chain with the data's transitions.

    Symmetry(orders=4).measure(subject).scalars["function"]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from isoflop.checks import Limits
from isoflop.scaling.subject import BATCH, CheckedProbe, Measurement, Subject


@dataclass(frozen=True)
class Symmetry(CheckedProbe):
    """orders: of each example. examples: held-out ones, of the function and of the pairs. positions: the first ones,
    for the pairs. symbols: the most frequent tokens kept distinct; all others count as one."""

    orders: int = 2
    examples: int = 512
    positions: int = 64
    symbols: int = 256

    kinds: ClassVar[tuple[str, ...]] = ("tokens", "sequences")
    keys: ClassVar[tuple[str, ...]] = ("function", "pairs", "pairs_shuffled", "pairs_stationary")
    limits: ClassVar[Limits] = {"orders": 2, "examples": 2, "positions": 2, "symbols": 2}

    @torch.no_grad()
    def measure(self, subject: Subject) -> Measurement:
        """Return function and, of tokens, pairs, pairs_shuffled, pairs_stationary; None where there is no variance."""
        generator = subject.generator()
        scalars = {"function": _share_of_function(subject, self.examples, self.orders, generator)}
        if subject.task.kind == "tokens":
            rows = torch.cat([x for x, _ in subject.held_out(self.examples)])[:, : self.positions]
            # tokens by rank of frequency, all beyond the most frequent ones as one
            seen, inverse, counts = rows.unique(return_inverse=True, return_counts=True)
            rank = torch.empty_like(seen)
            rank[counts.argsort(descending=True, stable=True)] = torch.arange(len(seen), device=seen.device)
            tokens = rank[inverse].clamp(max=self.symbols - 1)
            orders = torch.stack([torch.randperm(tokens.shape[1], generator=generator) for _ in tokens])
            shuffled = tokens.gather(1, orders.to(tokens.device))
            pairs = _share_of_pairs(tokens)
            stationary = None if pairs is None else _share_of_chain(*_transitions(tokens), tokens.shape[1])
            scalars |= {"pairs": pairs, "pairs_shuffled": _share_of_pairs(shuffled), "pairs_stationary": stationary}
        return Measurement(scalars)


def _share_of_function(subject: Subject, examples: int, orders: int, generator: torch.Generator) -> float | None:
    """Return the share of the variance of the last outputs, over examples and orders, due to examples."""
    rows = []
    for x, _ in subject.held_out(examples):
        batch = []
        for _ in range(orders):
            order = torch.rand(x.shape[:2], generator=generator).argsort(1).to(x.device)  # one for each example
            at = order.view(*order.shape, *(1,) * (x.dim() - 2)).expand_as(x)
            batch.append(subject.forward(x.gather(1, at))[:, -1].double())
        rows.append(torch.stack(batch, dim=1))  # (batch, orders, d_out)
    outputs = torch.cat(rows)
    if subject.task.loss == "cross_entropy":  # what all logits share changes no prediction
        outputs = outputs - outputs.mean(-1, keepdim=True)
    if len(outputs) < 2:
        return None
    within = float(outputs.var(1).sum(-1).mean())
    between = max(float(outputs.mean(1).var(0).sum()) - within / orders, 0.0)
    return between / (between + within) if between + within > 0 else None


def _share_of_pairs(tokens: Tensor) -> float | None:
    """Return `pairs` of tokens (examples, positions); None without covariance beyond noise, or with too few data."""
    n, length = tokens.shape
    if n < 4 or length < 2:
        return None
    total, se = _squared_covariance(tokens)
    return _squared_mean(tokens) / (length * (length - 1)) / total if total > 3 * se else None


def _squared_covariance(tokens: Tensor) -> tuple[float, float]:
    """Return the sum of |C_ts|² over t != s, and its standard error if all positions were independent."""
    n = len(tokens)
    gram_sum, own = torch.zeros(n, n, dtype=torch.float64, device=tokens.device), []
    for column in tokens.unbind(1):
        gram = _u_centred((column[:, None] == column).double())
        gram_sum += gram
        own.append(float(gram.square().sum()) / (n * (n - 3)))
    total = float(gram_sum.square().sum()) / (n * (n - 3)) - sum(own)
    # each pair's estimate has the variance 2 a_t a_s / n², a_t = |C_tt|² (Song 2012, theorem 3), and counts twice
    variance = 4 / n**2 * (sum(own) ** 2 - sum(a * a for a in own))
    return total, variance**0.5


def _u_centred(gram: Tensor) -> Tensor:
    """Subtract row and column sums over n - 2, add all over (n - 1)(n - 2); 0 on the diagonal (Szekely 2014)."""
    n = len(gram)
    gram = gram.clone().fill_diagonal_(0)
    rows = gram.sum(1)
    centred = gram - rows[:, None] / (n - 2) - rows / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0)


def _squared_mean(tokens: Tensor) -> float:
    """Return |sum of C_ts over t != s|² without the bias of noise."""
    n, kinds = len(tokens), int(tokens.max()) + 1
    shares = torch.stack([torch.bincount(column, minlength=kinds) for column in tokens.unbind(1)]).double() / n
    total = torch.zeros(kinds, kinds, dtype=torch.float64, device=tokens.device)
    squares = 0.0
    for batch in tokens.split(BATCH):
        u = one_hot(batch, kinds).double() - shares  # (batch, positions, kinds)
        bag = u.sum(1)
        total += bag.T @ bag - u.flatten(0, 1).T @ u.flatten(0, 1)
        # |sum over t != s of u_t u_s'|² of each example
        gram = u @ u.transpose(1, 2)
        squares += float((bag.square().sum(1).square() - 2 * gram.sum(2).square().sum(1)).sum() + gram.square().sum())
    # the mean of products of different examples
    return (float(total.square().sum()) - squares) / (n * (n - 1))


def _transitions(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frequencies of one token after another, (kinds, kinds), and those of tokens that follow from it."""
    kinds = int(tokens.max()) + 1
    pairs = tokens[:, :-1] * kinds + tokens[:, 1:]
    counts = torch.bincount(pairs.flatten(), minlength=kinds**2).double().view(kinds, kinds)
    seen = counts.sum(1, keepdim=True)
    share = counts.sum(0) / counts.sum()
    chances = torch.where(seen > 0, counts / seen.clamp(min=1), share)
    for _ in range(256):  # what it settles to
        share = share @ chances
    return chances, share


def _share_of_chain(chances: Tensor, share: Tensor, length: int) -> float | None:
    """Return `pairs` of a stationary chain in closed form: C at a lag l is diag(p) P^l - p p'."""
    step = torch.diag(share)
    mean, total = torch.zeros_like(step), 0.0
    for lag in range(1, length):
        step = step @ chances
        covariance = step - torch.outer(share, share)
        mean += (length - lag) * (covariance + covariance.T)
        total += 2 * (length - lag) * float(covariance.square().sum())
    return float(mean.square().sum()) / (length * (length - 1)) / total if total > 0 else None
