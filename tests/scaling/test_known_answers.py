"""Data whose answer is known: floors, dimensions and exponents against brute force, closed forms, other estimates."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from families import REFERENCES, TASKS, family
from oracles.hierarchy import Hierarchy
from oracles.manifold import Manifold
from oracles.samples import kernel, samples_to_halve
from oracles.spectra import left_by_descent, unseen_mass

from isoflop.analysis.fitting.fit import fit
from isoflop.errors import UserError
from isoflop.scaling.cost import count, parameters_by_role
from isoflop.scaling.data.base import HELD_OUT, TRAIN
from isoflop.scaling.data.synthetic import filtering, markov
from isoflop.scaling.data.synthetic.filtering import Filtering
from isoflop.scaling.data.synthetic.markov import HiddenMarkov, Markov
from isoflop.scaling.data.synthetic.permutation import Permutation
from isoflop.scaling.data.synthetic.recall import Recall
from isoflop.scaling.data.synthetic.spectral import Spectral
from isoflop.scaling.data.synthetic.tracking import Tracking, _products
from isoflop.scaling.data.synthetic.zipf import Zipf, frequencies
from isoflop.scaling.families.references import Linear, Table
from isoflop.scaling.recipe.optimizers import AdamW
from isoflop.scaling.task import Task


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope of ln y over ln x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


# Markov chains: the floor is the entropy rate


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_entropy_of_a_chain_is_that_of_all_its_sequences(order: int) -> None:
    symbols, length = 3, 5
    chances, stationary = markov._chain(symbols, order, 1.5, 0)
    total, blocks = 0.0, np.zeros(2)
    for word in itertools.product(range(symbols), repeat=length + 1):
        p = stationary[int(np.dot(word[:order], symbols ** np.arange(order - 1, -1, -1)))]
        for t in range(order, length + 1):
            context = int(np.dot(word[t - order : t], symbols ** np.arange(order - 1, -1, -1)))
            p *= chances[context, word[t]]
        total += p
        blocks[1] -= p * math.log(p)
    first = stationary.reshape(symbols, -1).sum(axis=1)
    blocks[0] = -float(first @ np.log(first))
    assert total == pytest.approx(1, abs=1e-12)
    # the chain rule: the entropy of a sequence is that of its first symbol and of each next given those before
    expected = (blocks[1] - blocks[0]) / length
    assert Markov(symbols=symbols, order=order, sharpness=1.5, seq_len=length, size=length).task.floor == pytest.approx(
        expected, abs=1e-12
    )


def test_a_table_of_counts_comes_down_to_the_floor_of_a_chain() -> None:
    data = Markov(size=400_000, symbols=6, order=2, sharpness=1.0)
    x, y = (t.numpy() for t in data.load().take(torch.arange(400_000 // 64)))
    contexts, following = x[:, :-1] * 6 + x[:, 1:], y[:, 1:]
    counts = np.bincount((contexts * 6 + following).ravel(), minlength=216).reshape(36, 6)
    p = counts / counts.sum(axis=1, keepdims=True)
    rate = -(counts * np.log(p)).sum() / counts.sum()
    # a fit to so many targets with 180 free numbers lies 180 / 2 D below the entropy rate, give or take its error
    exact = markov._entropy(6, 2, 1.0, 0, 10**9)
    assert rate == pytest.approx(exact - 180 / 2 / counts.sum(), abs=4 * 1.0 / counts.sum() ** 0.5)
    assert data.task.floor is not None
    assert exact < data.task.floor < exact + math.log(6) / 64  # the first target has but one symbol before it


# hidden Markov chains: the floor is the forward filter's


def test_the_forward_filter_gives_the_probability_of_every_sequence() -> None:
    law, length = (3, 2, 1.5, 0.3, 0), 4
    transitions, emissions, stationary = markov._source(*law)
    words = np.array(list(itertools.product(range(3), repeat=length)))
    exact = np.zeros(len(words))
    for path in itertools.product(range(2), repeat=length):
        p = stationary[path[0]] * np.prod([transitions[a, b] for a, b in itertools.pairwise(path)])
        exact += p * emissions[np.array(path), words].prod(axis=1)
    first = stationary @ emissions
    filtered = np.log(first[words[:, 0]]) - markov._filtered(transitions, emissions, stationary, words).sum(axis=1)
    np.testing.assert_allclose(filtered, np.log(exact), rtol=1e-10)
    # and so the floor is the entropy of all sequences but for that of the first symbol
    expected = (-(exact @ np.log(exact)) + first @ np.log(first)) / (length - 1)
    floor, error = markov._floor(law, length - 1)
    assert 0 < error < 0.01
    assert floor == pytest.approx(expected, abs=4 * error)


def test_a_hidden_chain_needs_more_than_the_symbol_before() -> None:
    data = HiddenMarkov(size=200_000, symbols=4, states=3)
    x, y = (t.numpy().ravel() for t in data.load().take(torch.arange(200_000 // 64)))
    joint = np.bincount(x * 4 + y, minlength=16).reshape(4, 4)
    bigram = -(joint * np.log(joint / joint.sum(axis=1, keepdims=True))).sum() / joint.sum()
    assert data.task.floor is not None
    assert data.task.floor < bigram - 0.01
    assert data.load().facts["data.floor_se"] < 0.002


# autoregressions: the floor is the Kalman filter's


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_without_noise_the_error_is_the_variance_of_the_innovations(order: int) -> None:
    forward, drive, start = filtering._process(order, 0.9, 0)
    variances = filtering._innovations(order, 0.9, 0.0, 0, order + 3)
    np.testing.assert_allclose(variances[order:], drive, rtol=1e-9)
    assert variances[0] == pytest.approx(1)
    assert (np.diff(variances) < 1e-12).all()
    assert max(abs(np.linalg.eigvals(forward))) == pytest.approx(0.9)
    noise = np.zeros((order, order))
    noise[0, 0] = drive
    np.testing.assert_allclose(start, forward @ start @ forward.T + noise, atol=1e-12)


def test_the_floor_of_a_noisy_first_order_process_is_the_root_of_riccatis_equation() -> None:
    radius, sigma = 0.9, 0.5
    drive = 1 - radius**2
    # P = a² P sigma² / (P + sigma²) + q: P² + P (sigma² (1 - a²) - q) - q sigma² = 0
    half = (sigma**2 * (1 - radius**2) - drive) / 2
    predicted = -half + (half**2 + drive * sigma**2) ** 0.5
    variances = filtering._innovations(1, radius, sigma, 0, 200)
    assert variances[-1] == pytest.approx(predicted + sigma**2, rel=1e-9)
    floor = Filtering(order=1, radius=radius, sigma=sigma, seq_len=199).task.floor
    assert floor == pytest.approx(variances[1:].mean(), rel=1e-12)


def test_the_best_linear_prediction_of_the_data_comes_down_to_the_floor() -> None:
    data = Filtering(size=240_000, order=3, seq_len=8)
    x, y = (t.double().numpy()[..., 0] for t in data.load().take(torch.arange(30_000)))
    errors = []
    for t in range(8):
        past = x[:, : t + 1]
        left = y[:, t] - past @ np.linalg.lstsq(past, y[:, t], rcond=None)[0]
        errors.append((left**2).sum() / (len(x) - t - 1))
    # a mean of squares of 30,000 normal numbers has a standard error of (2 / 30,000)^1/2
    np.testing.assert_allclose(errors, filtering._innovations(3, 0.95, 0.3, 0, 9)[1:], rtol=4 * (2 / 30_000) ** 0.5)


# a manifold: its dimension


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_dimension_of_the_manifold_is_the_one_asked_for(dimension: int) -> None:
    x, y = Manifold(size=4000, dimension=dimension).load().take(torch.arange(4000))
    assert x.shape == (4000, 16)
    assert y.var().item() == pytest.approx(1, rel=0.15)
    near = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    two = near.topk(3, largest=False).values[:, 1:].numpy()
    # two nearest neighbours (Facco 2017, arXiv:1803.06992): ln(r2 / r1) has the mean 1 / d
    assert 1 / np.log(two[:, 1] / two[:, 0]).mean() == pytest.approx(dimension, rel=0.08)


def test_the_nearest_neighbour_errs_as_the_dimension_says() -> None:
    examples = Manifold(size=16_000, dimension=2, eval_size=500).load()
    held_x, held_y = examples.held_out(500)[0]
    sizes = np.array([500, 1000, 2000, 4000, 8000, 16_000])
    errors = []
    for size in sizes:
        x, y = examples.take(torch.arange(int(size)))
        errors.append(float((y[torch.cdist(held_x, x).argmin(1)] - held_y).square().mean()))
    assert -slope(sizes, np.array(errors)) == pytest.approx(2 / 2, abs=0.1)


# Zipfian facts


def test_the_unseen_mass_is_that_of_draws() -> None:
    p, numbers = frequencies(1.5, 50), np.random.default_rng(0)
    draws = numbers.choice(50, p=p, size=(4000, 30))
    seen = np.zeros((4000, 50), dtype=bool)
    np.put_along_axis(seen, draws, True, axis=1)
    simulated = (~seen * p).sum(axis=1)
    assert unseen_mass(30, 1.5, 50) == pytest.approx(simulated.mean(), abs=4 * simulated.std() / 4000**0.5)
    assert unseen_mass(1e9, 1.5, 50, width=10) == pytest.approx(p[10:].sum(), rel=1e-9)
    with pytest.raises(UserError, match="width=51 is not a number of rows from 1 to vocab_size=50"):
        unseen_mass(30, 1.5, 50, width=51)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_the_memory_of_zipfian_facts_has_the_exponent_of_theory(alpha: float) -> None:
    import pandas as pd

    sizes = np.geomspace(1e2, 1e4, 9)
    runs = pd.DataFrame({"D": sizes, "L": [unseen_mass(D, 1 + alpha, 2_000_000) for D in sizes], "N": 1})
    estimate = fit(runs, "power(D)", interval="none").params["alpha"].value
    assert estimate == pytest.approx(alpha / (1 + alpha), abs=0.03)


def test_a_token_has_one_class_and_its_frequency() -> None:
    x, y = (t.ravel() for t in Zipf(size=200_000, vocab_size=100).load().take(torch.arange(200_000 // 64)))
    assert all(len(y[x == token].unique()) == 1 for token in range(30))
    np.testing.assert_allclose(x.bincount(minlength=100)[:3] / len(x), frequencies(1.5, 100)[:3], rtol=0.03)


# the spectral model


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.25), (2.0, 1.5)])
def test_the_spectral_model_has_the_exponents_of_theory(a: float, b: float) -> None:
    widths = np.unique(np.geomspace(10, 1e3, 9).astype(int))
    by_size = left_by_descent(widths, np.full(len(widths), 1e12), a, b, features=100_000)
    assert -slope(widths, by_size) == pytest.approx(a - 1, abs=0.03)
    times = np.geomspace(1e2, 1e4, 9)
    by_steps = left_by_descent(np.full(9, 100_000), times, a, b, features=100_000)
    assert -slope(times, by_steps) == pytest.approx((a - 1) / b, abs=0.03)


def test_least_squares_has_the_excess_of_its_closed_form() -> None:
    N, D, sigma = 8, 32, 0.7
    data = Spectral(size=D * 2000, features=N, sigma=sigma)
    x, y = (t.double().numpy() for t in data.load().take(torch.arange(D * 2000)))
    x, y = x.reshape(2000, D, N), y.reshape(2000, D, 1)
    k = np.arange(1, N + 1)
    truth = (k**-data.a / (k**-data.a).sum() * k**data.b) ** 0.5
    solution = np.linalg.solve(x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y)[..., 0]
    excess = ((solution - truth) ** 2 * k**-data.b).sum(axis=1)
    # σ² N / (D - N - 1)
    assert excess.mean() == pytest.approx(sigma**2 * N / (D - N - 1), abs=4 * excess.std() / 2000**0.5)


# groups, parities, irreps, hierarchies, recall


@pytest.mark.parametrize(("group", "elements", "abelian"), [("S5", 120, False), ("A5", 60, False), ("Z60", 60, True)])
def test_the_composition_table_is_that_of_a_group(group: str, elements: int, abelian: bool) -> None:
    table, every = _products(group), np.arange(elements)
    assert table.shape == (elements, elements)
    assert (table[0] == every).all()
    assert (table[:, 0] == every).all()
    assert (np.sort(table, axis=0) == every[:, None]).all()  # a row or column holds each element once
    assert (np.sort(table, axis=1) == every).all()
    a, b, c = np.random.default_rng(0).integers(elements, size=(3, 1000))
    assert (table[table[a, b], c] == table[a, table[b, c]]).all()
    assert (table == table.T).all() == abelian
    # S5 and A5 are not solvable: every element of A5 is a product of commutators
    inverse = table.argmin(axis=1)
    commutators = {int(table[table[x, y], table[inverse[x], inverse[y]]]) for x in every for y in every}
    assert len(commutators) == (1 if abelian else 60)


def test_products_of_permutations_are_compositions() -> None:
    elements = list(itertools.permutations(range(3)))
    table = _products("S3")
    for (i, a), (j, b) in itertools.product(enumerate(elements), repeat=2):
        assert elements[table[i, j]] == tuple(a[b[k]] for k in range(3))


def test_the_running_product_is_followed() -> None:
    x, y = Tracking(size=160, group="A5").load().take(torch.arange(10))
    table, state = _products("A5"), np.zeros(10, dtype=int)
    for t in range(16):
        state = table[state, x[:, t]]
        assert (state == y[:, t].numpy()).all()


@pytest.mark.parametrize("length", [4, 8, 16])
def test_the_kernels_eigenvalues_on_the_two_irreps_are_in_the_ratio_of_theory(length: int) -> None:
    features, n = 4, 100_000
    x, _ = Permutation(seq_len=length, features=features).sample(TRAIN, n)
    basis = np.eye(length * features).reshape(-1, length, features)
    middle = kernel(basis, basis)  # k is linear in both: k(x, y) = x M y
    covariance = x.reshape(n, -1).T @ x.reshape(n, -1) / n
    values = np.sort(np.linalg.eigvals(middle @ covariance).real)[::-1]
    ratio = values[:features].mean() / values[features:].mean()
    assert ratio == pytest.approx(1 + length, rel=0.01)
    assert values[features:].mean() == pytest.approx(1 / (features * length**2), rel=0.01)


def test_the_kernel_learns_each_irrep_from_as_many_examples_as_theory_says() -> None:
    for irrep, length in (("standard", 4), ("standard", 8), ("trivial", 8)):
        errors = []
        theory = samples_to_halve(length, 16, irrep)
        for version in range(10):
            data = Permutation(seq_len=length, features=16, irrep=irrep, version=version)
            x, f = data.sample(TRAIN, round(theory))
            held_x, held_f = data.sample(HELD_OUT, 500)
            solution = np.linalg.solve(kernel(x, x) + 1e-9 * np.eye(len(x)), f)
            errors.append(((kernel(held_x, x) @ solution - held_f) ** 2).mean() / (held_f**2).mean())
        assert np.mean(errors) == pytest.approx(0.5, abs=0.1), (irrep, length)
    # of many modes that are alike, half must be learned; the invariant ones stay as many
    assert samples_to_halve(1024, 16, "standard") == pytest.approx(1023 * 16 / 2, rel=0.02)
    assert samples_to_halve(256, 16, "trivial") == pytest.approx(samples_to_halve(32, 16, "trivial"), rel=0.05)


def test_the_target_of_each_irrep_transforms_as_it_should() -> None:
    x, trivial = Permutation(irrep="trivial").sample(TRAIN, 1000)
    same, standard = Permutation(irrep="standard").sample(TRAIN, 1000)
    assert (x == same).all()
    total = x.sum(axis=1)
    fitted = total @ np.linalg.lstsq(total, trivial, rcond=None)[0]
    np.testing.assert_allclose(fitted, trivial, atol=1e-9)  # a function of the sum alone
    centred = (x - x.mean(axis=1, keepdims=True)).reshape(1000, -1)
    np.testing.assert_allclose(centred @ np.linalg.lstsq(centred, standard, rcond=None)[0], standard, atol=1e-9)
    assert np.var(standard) == pytest.approx(1, rel=0.2)


def test_every_sequence_of_the_hierarchy_has_one_class() -> None:
    data = Hierarchy(size=500)
    x, y = (t.numpy() for t in data.load().take(torch.arange(500)))
    features = x
    for ways in reversed(data.rules()):
        meaning = {
            tuple(way): feature for feature, synonyms in enumerate(ways.tolist()) for way in map(tuple, synonyms)
        }
        assert len(meaning) == ways.shape[0] * ways.shape[1]  # no tuple has two meanings
        pairs = features.reshape(500, -1, data.branch)
        features = np.array([[meaning[tuple(part)] for part in row] for row in pairs.tolist()])
    assert (features[:, 0] == y[:, -1]).all()
    assert data.facts()["data.needed"] == 8 * 4**3
    assert len(np.unique(x, axis=0)) > 450


def test_what_is_recalled_is_the_value_that_came_with_the_key() -> None:
    data = Recall(size=800)
    x, y = data.load().take(torch.arange(100))
    assert ((y >= 0).sum(1) == 8).all()
    for row, asked in zip(x.tolist(), y.tolist(), strict=True):
        value = dict(zip(row[0:16:2], row[1:16:2], strict=True))
        assert len(value) == 8
        queries = [(row[t], asked[t]) for t in range(64) if asked[t] >= 0]
        assert len(dict(queries)) == 8
        assert all(value[key] == answer for key, answer in queries)
        assert all(key < 32 <= answer for key, answer in queries)
    gaps = (y >= 0).float().mean(0)[16::2]
    assert gaps[:4].mean() > 2 * gaps[-8:].mean()  # most queries come soon


# learners of a theory


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_says_what_it_cannot_do(name: str) -> None:
    kind = family(name).learns[0]
    with pytest.raises(UserError, match=rf"family\.depth=2: {name} has no layers to stack; leave family\.depth=1"):
        family(name, depth=2).refuse(TASKS[kind])
    with pytest.raises(UserError, match=r"family\.width=300 is more than the \d+ [a-z]+ there are; give fewer"):
        family(name, width=300).refuse(TASKS[kind])
    with pytest.raises(UserError, match=r"family\.width=0 is not a whole number of at least 1"):
        type(family(name))(width=0, depth=1, lr=1.0)


def test_the_features_of_the_kernel_learner_have_the_kernel_of_the_theory() -> None:
    x, _ = Permutation(seq_len=6, features=4).sample(TRAIN, 8)
    task = Permutation(seq_len=6, features=4).task
    features = family("kernel").build(task).body(torch.from_numpy(x).float())[:, -1].double().numpy()
    np.testing.assert_allclose(features @ features.T, kernel(x, x) * 4 * 6**2, rtol=1e-5, atol=1e-5)


def test_the_cost_of_a_reference_is_its_closed_form() -> None:
    vectors, tokens = TASKS["vectors"], TASKS["tokens"]
    linear, table = count(family("linear", width=8), vectors), count(family("table", width=8), tokens)
    assert (linear.N, linear.flops_per_target) == (8 * 3, 3 * 2 * 8 * 3)
    assert (table.N, table.flops_per_target) == (8 * 256, 3 * 2 * 256)
    for name, task in (("linear", vectors), ("table", tokens)):
        roles = parameters_by_role(family(name, width=8).build(task))
        assert roles == {"embed": 0, "body": 0, "readout": 8 * task.d_out}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_rate_of_a_reference_does_not_depend_on_its_width(name: str) -> None:
    made = family(name, width=64)
    task = TASKS[made.learns[0]]
    model, recipe = made.build(task), AdamW(lr=0.01)
    (scales,) = recipe.multipliers(model, made, task).values()
    (group,) = recipe.optimizer(model, {"readout.weight": scales}).param_groups
    assert (scales.lr, group["weight_decay"]) == (1.0, 0.0)


@pytest.mark.parametrize("beta1", [0, 0.9])  # without momentum the sight's own step is enough
def test_a_table_learns_a_token_at_one_sight_and_no_other(beta1: float) -> None:
    task = Task("tokens", d_in=40, d_out=10, seq_len=8, targets=8)
    made = Table(width=32, depth=1, lr=1.0)
    model, recipe = made.build(task), AdamW(lr=1.0, beta1=beta1)
    optimizer = recipe.optimizer(model, recipe.multipliers(model, made, task))
    seen, classes = torch.arange(8)[None], torch.arange(8)[None]
    for step in range(80):
        x = seen if step == 40 else torch.full((1, 8), 39)  # else tokens without a row, whose loss has no gradient
        loss = torch.nn.functional.cross_entropy(model(x)[0], classes[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses = torch.nn.functional.cross_entropy(
        model(torch.arange(40)[None])[0], torch.arange(40) % 10, reduction="none"
    )
    assert losses[:8].max() < 0.01
    assert (losses[8:] - math.log(10)).abs().max() < 1e-5


def test_a_linear_readout_is_left_with_the_energy_beyond_its_width() -> None:
    data = Spectral(size=8000, features=32, a=2.0, b=0.5, sigma=0.1)
    x, y = data.load().take(torch.arange(8000))
    model = Linear(width=4, depth=1, lr=0.02).build(data.task)
    model.readout.weight.data = torch.linalg.lstsq(x[:, :4], y).solution.T
    energy = np.arange(1, 33) ** -2.0
    left = energy[4:].sum() / energy.sum() + 0.1**2
    assert (model(x) - y).square().mean().item() == pytest.approx(left, rel=0.06)


@pytest.mark.parametrize(
    ("kind", "knobs", "sentence"),
    [
        (
            Markov,
            {"symbols": 300, "order": 3},
            r"data\.symbols=300 and data\.order=3 make more than 65536 contexts; lower",
        ),
        (Markov, {"seq_len": 2, "order": 4}, r"data\.seq_len=2 is not a whole number of at least 4"),
        (HiddenMarkov, {"stay": 1.0}, r"data\.stay=1\.0 is not a number from 0 up to 1"),
        (Filtering, {"radius": 1.0}, r"data\.radius=1\.0 makes no stationary process; give a number below 1"),
        (Filtering, {"order": 17}, r"data\.order=17 is more than 16; give fewer"),
        (
            Manifold,
            {"dimension": 9},
            r"data\.features=16 are too few: a torus of data\.dimension=9 needs 18; give more",
        ),
        (Zipf, {"exponent": 0}, r"data\.exponent=0 is not a number above 0"),
        (Recall, {"vocab_size": 65}, r"data\.vocab_size=65 is odd, but half of it are keys; give an even one"),
        (Recall, {"seq_len": 16}, r"data\.seq_len=16 is not a whole number of at least 32"),
        (Tracking, {"group": "S9"}, r"data\.group='S9' is not one of S3 to S6, A3 to A6 and Z2 to Z720"),
        (Permutation, {"irrep": "sign"}, r"data\.irrep='sign' is not one of trivial, standard"),
        (Hierarchy, {"synonyms": 9}, r"data\.synonyms=9 for each feature are more tuples of data\.branch=2 than"),
        (Hierarchy, {"levels": 13}, r"data\.branch=2 and data\.levels=13 make more than 4096 symbols; lower one"),
        (
            Hierarchy,
            {"symbols": 2000},
            r"data\.symbols=2000 and data\.branch=2 make more than 1048576 tuples; lower one",
        ),
    ],
)
def test_a_generator_that_cannot_be_is_refused_in_one_sentence(
    kind: type, knobs: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        kind(**knobs)
