"""Every figure is drawn where its data exist, agrees with the verb of the same number, and names what it lacks."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import demo_study, grid_study, isoflop_study

from isoflop.analysis.claims.claim import load_claims
from isoflop.analysis.frontier.frontier import frontier
from isoflop.analysis.holdout.forecast import forecast
from isoflop.analysis.report.figures.base import MOST_POINTS, Figure, Unmet, draw_all, drawings
from isoflop.analysis.report.finding import finding
from isoflop.analysis.report.plot import named
from isoflop.analysis.report.report import headline
from isoflop.analysis.report.view import View, look
from isoflop.analysis.runs.levels import layout
from isoflop.analysis.runs.runs import Runs
from isoflop.analysis.verbs import main

pytestmark = pytest.mark.filterwarnings("ignore:.*imag.*")


@pytest.fixture(scope="module")
def profiles() -> View:
    return look(isoflop_study(), [])


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A grid with searched rates, two shapes, other losses, times, theory, profiles of probes and a forecast."""
    folder = tmp_path_factory.mktemp("all")
    grid = grid_study(["lstm", "mlp"]).assign(
        **{"floor": 0.0, "data.alpha_D": 0.33, "L.books": lambda d: 1.1 * d["L"] ** 0.9},
        peak_memory=lambda d: 16 * d["N"], wall_s=lambda d: d["C"] / 1e12, depth=lambda d: 2 + 2 * (d["seed"] % 2),
    )  # fmt: skip
    rates = [grid.assign(lr=lr, L=grid["L"] * (1 + 0.02 * np.log(lr / 3e-3) ** 2)) for lr in (1e-3, 3e-3, 9e-3)]
    rates = [rows.assign(run_id=rows["run_id"] + f"-{i}") for i, rows in enumerate(rates)]
    rows = pd.concat(rates, ignore_index=True)
    # shapes beside one another at one amount of data
    shapes = [rates[1].iloc[[40]].assign(run_id=f"s{w}{d}", seed=0, width=w, depth=d) for w in (16, 32) for d in (2, 4)]
    runs = pd.concat([rows, *shapes], ignore_index=True)
    runs.to_csv(folder / "runs.csv", index=False)
    points = [
        {"run_id": name, "mark": 1, "probe": "positions", "quantity": "loss", "axis": "position", "index": i + 1,
         "value": 3 / (i + 1), "se": 0.1}
        for name in rates[1]["run_id"].iloc[[0, 50]] for i in range(5)
    ]  # fmt: skip
    pd.DataFrame(points).to_csv(folder / "probes.csv", index=False)
    best = rates[1]
    early = best[best["C"] < best["C"].max()]
    at = [{"N": float(best["N"].max()), "D": float(best["D"].max())}]
    path = forecast(early, at, by=["family"], loss="l2").save(folder / "forecast.json")
    return look(Runs(runs, str(folder / "runs.csv")), [], path)


def test_every_figure_is_drawn_where_its_data_exist(everything: View, profiles: View) -> None:
    drawn = {}
    judged = look(demo_study(["lstm", "mlp"]), [claim for claim in load_claims() if claim.id == "matched-C"])
    for drawing in drawings():
        view = profiles if drawing.name in ("isoflop_profiles", "reducible_loss") else everything
        view = judged if drawing.name in ("contrasts", "scorecard") else view
        try:
            drawn[drawing.name] = drawing.draw(view)
        except Unmet as lack:
            pytest.fail(f"{drawing.name}: {lack}")
        assert drawn[drawing.name].name == drawing.name
    for name, figure in drawn.items():
        text = json.dumps(figure.spec(), allow_nan=False)
        assert not re.search(r" vs |\d|\.", figure.title), f"{name}: a title is a noun, and states no number"
        assert figure.alt.startswith(figure.title), name
        assert len(figure.alt) > 20, name
        assert figure.spec()["description"] == figure.alt
        assert len(text) < 250_000, name


def test_the_minima_of_the_profiles_are_those_of_the_frontier(profiles: View) -> None:
    assert profiles.layout is not None
    assert profiles.layout.kind == "isoflop"
    figure = named("isoflop_profiles").draw(profiles)
    runs = isoflop_study()
    for family, rows in runs.groupby("family"):
        budgets = frontier(rows).budgets
        minima = figure.data[(figure.data["kind"] == "minimum") & (figure.data["family"] == family)]
        assert len(minima) == 6
        np.testing.assert_allclose(minima["N"], budgets["N_opt"], rtol=1e-6)
        at = rows.groupby("C")["N"].agg(["min", "max"])
        assert (minima["N"].to_numpy() > at["min"].to_numpy()).all()
        assert (minima["N"].to_numpy() < at["max"].to_numpy()).all()


def test_the_law_that_a_report_has_fitted_is_not_fitted_again_by_its_frontier(profiles: View) -> None:
    again = frontier(profiles.compared("lstm"))
    assert profiles.frontiers["lstm"].approaches["parametric"].a == again.approaches["parametric"].a
    assert profiles.frontiers["lstm"].approaches["isoflop"].a == again.approaches["isoflop"].a


def test_a_budget_without_a_minimum_is_said_with_its_reason() -> None:
    runs = isoflop_study(("lstm",))
    centre = runs.groupby("C")["N"].transform("median")
    small = runs[(runs["C"] < runs["C"].max()) | (runs["N"] < centre)]
    figure = named("isoflop_profiles").draw(look(pd.concat([small, runs[runs["N"] <= 0]]), []))
    assert "1 of 6 levels of C has no minimum: 3 sizes, a parabola needs 4." in figure.subtitle


def test_a_long_table_is_thinned_and_its_lines_are_whole() -> None:
    runs = pd.concat([isoflop_study(("lstm",), noise) for noise in np.linspace(0.001, 0.003, 40)], ignore_index=True)
    runs["run_id"] = [f"r{i}" for i in range(len(runs))]
    figure = named("residuals").draw(look(runs, []))
    rows = figure.spec()["datasets"]["rows"]
    assert sum(row["kind"] == "run" for row in rows) == MOST_POINTS
    assert sum(row["kind"] == "zero" for row in rows) == 1
    assert len(figure.data) > len(rows)


def test_searched_rates_are_shown_and_the_laws_stand_on_the_best(everything: View) -> None:
    figure = named("rates").draw(everything)
    best = figure.data[figure.data["kind"] == "best"]
    assert set(best["lr"]) == {3e-3}
    assert not best["edge"].any()
    assert set(everything.rows["lr"]) == {3e-3}
    assert set(everything.searched["lr"]) == {1e-3, 3e-3, 9e-3}
    assert any("the best lr of each" in note for note in everything.notes)


@pytest.mark.sample(2)
@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "json", "csv"])
def test_one_figure_is_written_in_the_format_of_its_file(tmp_path: Path, suffix: str) -> None:
    table = (
        isoflop_study(("lstm",))
        .rename(columns={"N": "params", "D": "tokens", "L": "val/loss"})
        .drop(columns=["C", "family"])
    )
    table.to_csv(tmp_path / "mine.csv", index=False)
    out = tmp_path / f"x.{suffix}"
    named_columns = "N=params,D=tokens,L=val/loss"
    assert main(["plot", str(tmp_path / "mine.csv"), "--columns", named_columns, "-f", "isoflop", "-o", str(out)]) == 0
    start = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{", "csv": b"N,D,C,L"}[suffix]
    assert out.read_bytes().startswith(start)


def test_a_figure_that_is_none_or_cannot_be_drawn_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    isoflop_study(("lstm",)).to_csv(tmp_path / "r.csv", index=False)
    for arguments, sentence in (
        (["-f", "isoflop_profilse"], "did you mean isoflop_profiles?"),
        (["-f", "rates"], "rates cannot be drawn: no run has a learning rate"),
        (["-f", "rates", "-o", str(tmp_path / "x.gif")], "a figure is written as .svg, .png"),
    ):
        assert main(["plot", str(tmp_path / "r.csv"), *arguments]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["plot", "--figures"]) == 0
    listing = capsys.readouterr().out
    assert all(drawing.name in listing for drawing in drawings())


def test_figures_say_nothing_twice(profiles: View) -> None:
    titles = [figure.title for _, figure in draw_all(profiles) if isinstance(figure, Figure)]
    assert len(set(titles)) == len(titles)


def test_runs_that_a_fit_recognises_are_the_runs_of_a_page() -> None:
    marks = pd.DataFrame(
        [
            {"run_name": f"w{N:g}", "N": N, "D": D, "L": 1 + 400 * N**-0.34 + 300 * D**-0.3 * (1 + 0.001 * (i % 3))}
            for i, (N, D) in enumerate((N, D) for N in (1e5, 3e5, 1e6, 3e6) for D in np.geomspace(1e6, 1e8, 6))
        ]
    )
    view = look(marks, [])
    (law,) = view.laws.values()
    assert law.n_runs == 4
    assert view.layout is not None
    assert view.layout.kind == "marks"
    assert any("run_name are taken as one run" in note for note in view.notes)


def test_a_grid_whose_products_repeat_is_a_grid_and_budgets_are_budgets() -> None:
    steps = 2.0 ** np.arange(0, 8, 0.5)
    grid = pd.DataFrame([{"N": 1e6 * n, "D": 1e8 * d} for n in steps for d in steps])
    assert layout(grid).kind == "grid"
    assert layout(isoflop_study(["lstm"])).kind == "isoflop"


def table(N: object, D: object, seed: int = 0, **more: object) -> pd.DataFrame:
    """Runs at these sizes and amounts of data by Chinchilla's law, with .3 % of noise."""
    rows = pd.DataFrame({"N": N, "D": D} | more).astype({"N": float, "D": float})
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(len(rows)))
    return rows.assign(L=(1.7 + 400 * rows["N"] ** -0.34 + 1200 * rows["D"] ** -0.32) * noise)


def drawn(name: str, view: View) -> Figure:
    """A figure by its name."""
    return named(name).draw(view)


def grid(sizes: int = 5) -> pd.DataFrame:
    N, D = np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(2e8, 2e10, 5))
    return table(N.ravel(), D.ravel())


def test_a_ladder_of_one_ratio_has_a_law_of_compute() -> None:
    N = np.geomspace(1e7, 3e9, 8)
    view = look(table(N, 20 * N, C=120 * N**2), [])
    (law,) = view.laws.values()
    assert law.law.columns == ("C",)
    assert law.status == "converged"
    assert law.params["E"].low < 1.7 < law.params["E"].high
    curve = drawn("loss_vs_compute", view)
    assert "Dotted: the law, with its 90 % band" in curve.subtitle
    assert curve.data["kind"].eq("law").sum() > 5


def test_a_law_of_two_sizes_goes_through_the_runs_of_each() -> None:
    N, D = np.meshgrid([1e7, 1e8], np.geomspace(2e8, 6e10, 8))
    view = look(table(N.ravel(), D.ravel()), [])
    (law,) = view.laws.values()
    assert law.law.columns == ("N", "D")
    off = np.log(law.rows["L"] / law.predict(law.rows))
    assert off.abs().max() < 0.02


@pytest.mark.parametrize(("axis", "name"), [("N", "loss_vs_size"), ("D", "loss_vs_data")])
def test_a_table_of_one_column_is_headed_by_the_loss_against_it(axis: str, name: str) -> None:
    x = np.geomspace(1e7, 1e10, 8)
    view = look(table(x, x)[[axis, "L"]], [])
    figures = {file: figure for file, figure in draw_all(view) if isinstance(figure, Figure)}
    head = headline(view, figures)
    assert head is figures[name]
    assert head.title == f"Loss against {'size' if axis == 'N' else 'data'}"
    assert set(head.data["kind"]) == {"run", "law"}


def test_runs_of_other_data_are_not_averaged_into_the_lowest_loss() -> None:
    rows = pd.concat([grid(3).assign(D_unique=U) for U in (1e8, 1e11)])
    rows["L"] = np.where(rows["D"] > rows["D_unique"], rows["L"] * 1.3, rows["L"])
    data = drawn("loss_vs_compute", look(rows, [])).data
    assert data.loc[data["kind"] == "envelope", "L"].min() == pytest.approx(rows["L"].min())


def test_a_loss_that_rises_is_not_said_to_fall() -> None:
    N = np.geomspace(1e7, 1e9, 6)
    rising = table(N, 20 * N).assign(L=3 * N**0.02)
    view = look(rising, [])
    assert "lowers the loss" not in finding(view)
    assert "falls" not in drawn("loss_vs_compute", view).alt


def test_a_finding_says_how_many_families_it_leaves_out() -> None:
    two = pd.concat([grid().assign(family="a"), grid().assign(family="b", L=lambda t: 1.02 * t["L"])])
    few = look(pd.concat([two[two["family"] == "a"], two[two["family"] == "b"].head(3)]), [])
    assert "; the other family is below." in finding(few)


def test_a_size_with_one_amount_of_data_has_no_label() -> None:
    single = pd.concat([grid(), table([3e6, 4e9], [1e10, 1e10])])
    figure = drawn("loss_vs_data", look(single, []))
    assert figure.title == "Loss against data, by size"
    assert not {"3M", "4B"} & set(figure.data["label"].dropna())


def test_as_many_runs_as_parameters_are_a_law_and_no_scatter() -> None:
    view = look(grid().sample(5, random_state=1), [])
    assert not view.refused
    assert view.unheld
    assert "No law could be fitted" not in finding(view)
    with pytest.raises(Unmet, match="more runs than it has parameters"):
        drawn("residuals", view)


def test_a_family_without_levels_has_no_panel() -> None:
    N = np.geomspace(1e7, 1e9, 6)
    view = look(pd.concat([grid().assign(family="grid"), table(N, 20 * N).assign(family="ladder")]), [])
    for name in ("loss_vs_size", "loss_vs_data", "isoflop_profiles"):
        assert set(drawn(name, view).data["family"].dropna()) == {"grid"}, name
    assert ", at the best split where it has one, " in drawn("loss_vs_compute", view).subtitle


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_names_of_families_stand_apart_in_the_margin(shift: float) -> None:
    N = np.geomspace(1e7, 1e9, 6)
    families = "abcdef"
    rows = pd.concat([table(N * 10 ** (i * shift), 20 * N).assign(family=name * 24) for i, name in enumerate(families)])
    figure = drawn("loss_vs_compute", look(rows, []))
    (layer,) = (one for one in figure.chart["layer"] if one["mark"]["type"] == "text")
    assert layer["encoding"]["x"] == {"value": "width"}  # right of every line
    assert not layer["mark"]["clip"]
    low, high = np.log(layer["encoding"]["y"]["scale"]["domain"])
    names = figure.data[figure.data["kind"] == "label"]
    heights = np.sort((np.log(names["L"]) - low) / (high - low) * figure.chart["height"])
    assert np.diff(heights).min() >= 13.9  # a line of this font [px]
    assert heights.min() >= 0
    assert heights.max() <= figure.chart["height"]
    assert len(names) == len(families)
