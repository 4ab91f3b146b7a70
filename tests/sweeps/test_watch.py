"""A run is watched against its forecast: silent while it is sound, and loud soon after a fault of 1 %."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from isoflop.analysis.holdout.forecast import forecast, load_forecast
from isoflop.analysis.holdout.watching.curves import with_curves
from isoflop.analysis.holdout.watching.follow import follow
from isoflop.analysis.runs.read import read_runs
from isoflop.errors import UserError
from isoflop.scaling.config.composed import register_resolvers, resolve
from isoflop.scaling.config.frozen import freeze
from isoflop.scaling.config.sections import RunPlan
from isoflop.sweeps.importing.importing import import_logs, read_curve
from isoflop.sweeps.importing.verbs import main
from isoflop.sweeps.verbs import main as sweeps

STEPS, PER_STEP, LARGE = 400, 1_000_000, 3.2e7


def write(
    path: Path, N: float, noise: float = 0.002, begins: int = STEPS + 1, last: int = STEPS, low: float = 1.0
) -> Path:
    """Write the log of a run whose loss is 1 % higher from a step on, and whose rate falls to a share."""
    draw, lines = np.random.default_rng(int(N)), [json.dumps({"config": {"params": N}})]
    for step in range(1, last + 1):
        D = step * PER_STEP
        L = (1.7 + 30 * N**-0.3 + 150 * D**-0.35) * (1.01 if step >= begins else 1.0)
        point = {"step": step, "tokens": D, "train_loss": L * np.exp(noise * draw.normal())}
        point["lr"] = 3e-4 * (1 - (1 - low) * step / STEPS)
        lines.append(json.dumps(point | ({} if step % 100 else {"val_loss": L * np.exp(0.001 * draw.normal())})))
    path.write_text("\n".join(lines) + "\n")
    return path


def foretold(folder: Path, noise: float = 0.002) -> Path:
    """Forecast a large run by five smaller ones, and their curves."""
    for N in 1e6 * 2.0 ** np.arange(5):
        write(folder / f"{N:g}.jsonl", N, noise)
    tables = folder / "runs.csv", folder / "curves.csv"
    import_logs(str(folder), *tables)
    runs, points = read_runs(tables[0]), [{"N": LARGE, "D": float(STEPS * PER_STEP)}]
    return with_curves(forecast(runs, points, interval="none"), tables[1], runs).save(folder / "forecast.json")


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foretold(tmp_path_factory.mktemp("smaller"))


def watched(log: Path, dated: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    code = main(["watch", str(log), "--forecast", str(dated), *more])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_a_sound_run_stays_inside(dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = watched(write(tmp_path / "log.jsonl", LARGE), dated, capsys, "--below", "9")
    assert (code, "inside its band" in text, "ends below 9 with probability 100%" in text) == (0, True, True)
    assert "), train_loss\n" in text


def test_a_log_that_is_torn_or_was_taken_up_again_is_watched_to_its_end(
    dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The branch that was given up had a fault, and led further than the run is now."""
    given_up = write(tmp_path / "log.jsonl", LARGE, begins=250, last=300).read_text()
    again = write(tmp_path / "log.jsonl", LARGE, last=260).read_text().splitlines()
    (tmp_path / "log.jsonl").write_text(given_up + "\n".join(again[200:]) + "\n" + '{"step": 261, "tok')
    code, text = watched(tmp_path / "log.jsonl", dated, capsys)
    assert (code, text.startswith("step 260, 65% of D=4e+08: inside its band")) == (0, True)


def test_a_fault_of_one_percent_is_found_within_2_percent_of_the_run(
    dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the moment at which 2 % of the run have a higher loss; a minute before the fault all is well."""
    begins, soon = 250, 250 + STEPS // 50
    assert watched(write(tmp_path / "before.jsonl", LARGE, last=begins - 1), dated, capsys)[0] == 0
    log = write(tmp_path / "after.jsonl", LARGE, begins=begins, last=soon)
    code, text = watched(log, dated, capsys, "--json")
    assert code == 3
    document = json.loads(text)
    assert document["state"] == "outside"
    assert document["since"]["step"] == pytest.approx(begins, abs=4)
    assert document["change"] == pytest.approx(0.01, rel=0.5)
    assert document["visible"] < 0.01


def test_the_end_that_is_foretold_is_the_end(dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "half.jsonl", LARGE, last=STEPS // 2)
    end = json.loads(watched(log, dated, capsys, "--json")[1])["end"]
    assert end["low"] < 1.7 + 30 * LARGE**-0.3 + 150 * (STEPS * PER_STEP) ** -0.35 < end["high"]
    assert end["high"] / end["low"] < 1.05


def test_another_tokenizer_is_no_fault_and_not_what_was_forecast(
    dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss that is 15 % higher from the beginning."""
    log, said = write(tmp_path / "log.jsonl", LARGE), "the run is heading elsewhere"
    assert said not in watched(log, dated, capsys)[1]
    first, *lines = map(json.loads, log.read_text().splitlines())
    higher = [line | {"train_loss": 1.15 * line["train_loss"]} for line in lines]
    log.write_text("".join(json.dumps(line) + "\n" for line in [first, *higher]))
    code, text = watched(log, dated, capsys)
    assert (code, said in text) == (0, True)


def test_what_a_rate_does_that_no_smaller_run_had_is_no_alarm(
    dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "log.jsonl", LARGE, begins=250)
    code, text = watched(log, dated, capsys)
    assert (code, "schedule" in text) == (3, False)
    code, text = watched(without("lr", log), dated, capsys)
    assert (code, "  schedule   no learning rate was logged: taken to be that of the smaller" in text) == (3, True)
    code, text = watched(write(log, LARGE, begins=250, low=0.9), dated, capsys)
    assert (code, ": a fault, or the work of its learning rate" in text) == (0, True)
    assert "  schedule   not the smaller runs' since step " in text
    document = json.loads(watched(log, dated, capsys, "--json")[1])
    assert (document["state"], document["unlike"]) == ("unclear", pytest.approx(0.05 / 0.1 * STEPS, abs=2))
    assert document["end"] is None
    assert (
        watched(log, dated, capsys, "--below", "2")[1].splitlines()[-1] == "  ends below 2 with probability not known"
    )


@pytest.mark.nightly
def test_what_cannot_be_seen_in_the_noise_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "smaller").mkdir()
    noisy = foretold(tmp_path / "smaller", noise=0.03)
    code, text = watched(write(tmp_path / "log.jsonl", LARGE, noise=0.03), noisy, capsys)
    assert (code, "cannot see 1 % in this noise" in text) == (0, True)


def without(field: str, log: Path) -> Path:
    """Write a log again without a field."""
    points = [{k: v for k, v in json.loads(line).items() if k != field} for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(point) + "\n" for point in points if point))
    return log


def planned(log: Path) -> Path:
    """Write a log again whose tokens are a plan, in its config."""
    lines = without("tokens", log).read_text().replace('"params":', '"tokens": 4e8, "params":').splitlines()
    log.write_text("\n".join(lines[:200]))
    return log


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (lambda log: without("config", log), (), "does not say N"),
        (lambda log: without("train_loss", without("val_loss", log)), (), "no one column is its loss"),
        (lambda log: write(log, LARGE, last=9), (), "has not passed 3%"),
        (lambda log: write(log, 1e6), (), "the log is of N=1e+06 up to D=4e+08, the forecast of N=3.2e+07"),
        (lambda log: log.with_name("nowhere"), (), "is neither a file nor a folder"),
        (lambda log: write(log.with_name("second.jsonl"), LARGE).parent, (), "holds several runs"),
        (lambda log: log, ("--set", "nonsense=3"), "--set nonsense is nothing that watch uses; set N, batch_size, "),
        (planned, (), "tells D of the whole run alone"),
        (lambda log: log, ("--at", "N=1e9"), "has 0 points there; choose one by --at: N=3.2e+07,D=4e+08"),
    ],
)
def test_bad_input_is_one_sentence(
    change: Any, more: tuple[str, ...], said: str, dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = watched(change(write(tmp_path / "log.jsonl", LARGE)), dated, capsys, *more)
    assert code == 2
    assert said in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("target", "acc", "is of acc"), ("curves", None, "holds no curves"), ("unit", "bits", "forecast in bits")],
)
def test_a_forecast_of_something_else_is_refused(
    field: str, value: str | None, said: str, dated: Path, tmp_path: Path
) -> None:
    made = load_forecast(dated)
    other = {"curves": {**(made.curves or {}), "loss_unit": value}} if field == "unit" else {field: value}
    curve = read_curve(str(write(tmp_path / "log.jsonl", LARGE))).curve
    with pytest.raises(UserError, match=said):
        follow(replace(made, **other), curve, {})


def test_a_forecast_without_an_interval_is_refused(dated: Path, tmp_path: Path) -> None:
    made = load_forecast(dated)
    (point,) = made.points
    bare = {**point, "reason": "too few runs", "L": {**point["L"], "low": None, "high": None}}
    curve = read_curve(str(write(tmp_path / "log.jsonl", LARGE))).curve
    with pytest.raises(UserError, match=r"no interval at its point \(too few runs\)"):
        follow(replace(made, points=(bare,)), curve, {})


@pytest.mark.parametrize("first", [150, 1])
def test_a_loss_that_is_no_number_any_more_is_an_alarm(
    first: int, dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "log.jsonl", LARGE, last=200)
    head, *lines = log.read_text().splitlines()
    points = [json.loads(line) for line in lines]
    for point in points[first - 1 :]:
        point.update(train_loss=float("nan"))
    log.write_text("\n".join([head, *map(json.dumps, points)]))
    code, text = watched(log, dated, capsys)
    assert (code, text) == (3, f"step {first}: the loss is not finite from here on, and the run has diverged\n")


def test_what_watch_cannot_use_is_refused(dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "log.jsonl", LARGE)
    assert watched(log, dated, capsys, "--below", "-1") == (
        2, "isoflop: --below -1 is no loss; give a number above 0, such as --below 2.5\n"
    )  # fmt: skip
    table = str(tmp_path / "one.csv")
    assert main(["import", str(log), "-o", table, "--curves", table]) == 2
    assert "name two files" in capsys.readouterr().err
    made = load_forecast(dated)
    bare = replace(made, points=tuple({**p, "L": {**p["L"], "low": None}} for p in made.points), curves=None)
    with pytest.raises(UserError, match=r"at N and D: .*; give another law, or no --curves"):
        with_curves(bare, dated.parent / "curves.csv", read_runs(dated.parent / "runs.csv"))


def own(folder: Path, seed: int, N: float = LARGE, **log: int) -> str:
    """Write a run of isoflop's own, planned and with the curve of a log, and return its id."""
    register_resolvers()
    with initialize_config_module("isoflop.conf", version_base="1.3"):
        cfg = compose("train", ["family=mlp", f"seed={seed}"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        config = resolve(cfg)
    plan = RunPlan(1, 1, 1e6, 1, 1e6, 0.01, 4, 2**20, (), rounded=1.0)
    freeze(replace(config, plan=replace(plan, N=int(N), D=STEPS * PER_STEP)), folder / config.run_id)
    points = map(json.loads, write(folder / "log.jsonl", LARGE, **log).read_text().splitlines()[1:])
    lines = [f"{p['step']},{p['tokens']},0,{p['lr']},{p['train_loss']}\n" for p in points]
    (folder / config.run_id / "curve.csv").write_text("".join(["step,D,C,lr,L_train\n", *lines]))
    return config.run_id


def test_the_runs_of_a_sweep_are_watched_by_status(
    dated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def status(*more: str) -> tuple[int, str]:
        code = sweeps(["status", str(tmp_path), "--forecast", str(dated), *more])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    sound, other = own(tmp_path, 0), own(tmp_path, 1, N=1e6)
    code, text = status()
    assert (code, "against the forecast: 1 inside, 1 not watched" in text) == (0, True)
    faulty = own(tmp_path, 2, begins=250)
    code, text = status()
    assert (code, "against the forecast: 1 inside, 1 not watched, 1 outside" in text) == (3, True)
    first, second, third = text.splitlines()[-3:]
    assert first.startswith(faulty), "alarms stand first"
    assert "outside its band since step 2" in first
    assert {second.split()[0], third.split()[0]} == {sound, other}
    code, text = status("--json")
    document = json.loads(text)["watched"]
    assert (code, document[sound]["state"], document[faulty]["state"]) == (3, "inside", "outside")
    assert document[other]["reason"].startswith("the forecast has 0 points there")
    assert watched(tmp_path / sound, dated, capsys, "--json")[1] == json.dumps(document[sound], indent=1) + "\n"
    made = load_forecast(dated)
    in_bits = replace(made, curves={**(made.curves or {}), "loss_unit": "bits"})
    others = {
        "is of acc": replace(made, target="acc"),
        "forecast in bits": in_bits,
        "no curves": replace(made, curves=None),
    }
    for number, (said, other_one) in enumerate(others.items()):
        assert said in refused(status("--forecast", str(other_one.save(tmp_path / f"{number}.json"))))
    assert "nowhere.json" in refused(status("--forecast", str(tmp_path / "nowhere.json")))
    assert "--watch" in refused(status("--watch"))
    for curve in tmp_path.glob("*/curve.csv"):
        curve.unlink()
    assert "none has a curve yet" in refused(status())


def refused(ended: tuple[int, str]) -> str:
    """Return the one sentence that a command ended with."""
    code, text = ended
    assert (code, len(text.splitlines())) == (2, 1)
    return text
