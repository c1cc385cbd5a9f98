"""Tests of the displays: what is drawn is the data, in the axes given, and said in words; nothing else is changed."""

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt
from fairlearn.metrics import equalized_odds_difference
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.inspection import (
    CounterfactualDisplay,
    FrontierDisplay,
    LatentDisplay,
    LeakageDisplay,
    TrainingDisplay,
)
from sklearn_fairlatent.inspection._drawing import by_size, in_thirds, listed, number, short
from sklearn_fairlatent.metrics import Leakage, LeakageReport
from sklearn_fairlatent.model_selection import FairnessFrontier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")

RESULTS = pd.DataFrame(
    {
        "strength": [0.0, 0.5, 1.0, 2.0],
        "score": [0.85, 0.84, 0.81, 0.82],
        "score_std": [0.01, 0.0, 0.02, 0.01],
        "disparity": [0.18, 0.09, 0.04, 0.02],
        "ratio": [0.3, 0.6, 0.8, 0.9],
        "on_frontier": [True, True, False, True],
    }
)


@pytest.fixture(autouse=True)
def _close_figures():
    """Every test starts without figures and leaves the global settings alone."""
    plt.close("all")
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_biased_latents(700, 8, sensitive=("binary", "categorical", "continuous"), random_state=0)


@pytest.fixture(scope="module")
def fair(data):
    return FairLatentTransformer(max_epochs=6, random_state=0).fit(
        data.data[:500], data.target[:500], sensitive_features=data.sensitive_features[:500]
    )


@pytest.fixture(scope="module")
def people():
    """A table with words and numbers in which the group shows, and the group."""
    rng = np.random.default_rng(0)
    group = rng.choice(["f", "m"], 400)
    X = pd.DataFrame(
        {
            "hours": np.round(38 + 4 * (group == "m") + 3 * rng.standard_normal(400)).astype(int),
            "pay": 10 + 5 * (group == "m") + rng.standard_normal(400),
            "role": np.where(rng.random(400) < np.where(group == "m", 0.95, 0.05), "husband", "wife"),
            "skill": rng.standard_normal(400),
            "code": pd.Series(rng.choice(["1", "2"], 400)).astype("category"),
        }
    )
    y = (X["skill"] + 0.1 * X["pay"] + 0.3 * rng.standard_normal(400) > 1.2).astype(int)
    return X, y, pd.Series(group, name="sex")


@pytest.fixture(scope="module")
def of_people(people):
    X, y, sex = people
    return FairLatentTransformer(encoder=TabularCodec(), max_epochs=6, random_state=0).fit(X, y, sensitive_features=sex)


def leak(score, *, measure="AUC", shuffled=0.51, probes=None, name="sex"):
    probes = probes or {"linear": score, "boosting": score - 0.03}
    return Leakage(
        attribute=name, measure=measure, score=score, interval=(score - 0.02, min(1.0, score + 0.02)),
        chance=0.0 if measure == "R2" else 0.5, shuffled=shuffled, probe="linear", group=None, within=None,
        by_probe=probes, by_group={}, left_out=(), n_samples=100,
    )  # fmt: skip


BEFORE = LeakageReport({"sex": leak(0.93), "race": leak(0.85)})
AFTER = LeakageReport({"sex": leak(0.515), "race": leak(0.61, shuffled=0.62)})


def all_displays(fair, data):
    """One of each, with the number of its panels."""
    X, y, A = data.data[500:], data.target[500:], data.sensitive_features[500:]
    one = CounterfactualDisplay(np.zeros(4), [0.0, 1.0, 0.0, 2.0])
    return [
        (FrontierDisplay({"fair": RESULTS}), 1),
        (LeakageDisplay(BEFORE, AFTER), 1),
        (LatentDisplay(X[:, 0], X[:, 1], A["group"], labels=y), 2),
        (one, 1),
        (CounterfactualDisplay(np.zeros(4), np.ones(4), image_shape=(2, 2)), 3),
        (TrainingDisplay(fair.history_), 2),
    ]


# ------------------------------------------------------------------ every display


def test_axes_given_are_used_and_no_figure_is_left_behind(fair, data):
    for display, n_panels in all_displays(fair, data):
        figure = Figure(figsize=(4.2, 6), layout="constrained")
        axes = figure.subplots(n_panels, squeeze=False).ravel()
        assert display.plot(axes[0] if n_panels == 1 else axes) is display
        assert display.figure_ is figure
        drawn = list(display.axes_) if n_panels > 1 else [display.ax_]
        assert drawn == list(axes)
        assert plt.get_fignums() == []


def test_without_axes_one_figure_is_made(fair, data):
    for display, n_panels in all_displays(fair, data):
        display.plot()
        assert plt.get_fignums() == [display.figure_.number]
        assert len(display.figure_.axes) == n_panels
        plt.close("all")


@pytest.mark.parametrize(("width", "beside"), [(12, True), (4.2, False)])
def test_a_figure_is_divided_by_its_width(fair, width, beside):
    figure = Figure(figsize=(width, 6))
    first, second = TrainingDisplay(fair.history_).plot(figure).axes_
    assert bool(first.get_position().y0 == pytest.approx(second.get_position().y0)) is beside
    sub = Figure(figsize=(12, 4), layout="constrained").subfigures(1, 3)[0]
    first, second = TrainingDisplay(fair.history_).plot(sub).axes_
    assert first.get_position().y0 > second.get_position().y0


def test_nothing_sticks_out_at_the_width_of_a_phone(fair, data):
    for display, _ in all_displays(fair, data):
        display.plot()
        figure = display.figure_
        figure.set_dpi(390 / figure.get_figwidth())
        figure.draw_without_rendering()
        box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert box.x0 >= -1
        assert box.x1 <= 391
        assert box.y0 >= -1
        assert box.y1 <= figure.bbox.height + 1
        texts = [text for ax in figure.axes for text in ax.findobj(mpl.text.Text) if text.get_text()]
        assert min(text.get_fontsize() * figure.dpi / 72 for text in texts) > 10


def test_wrong_axes_are_an_error_and_leave_no_figure(fair, data):
    for display, n_panels in all_displays(fair, data):
        with pytest.raises(TypeError, match="Pass for example plt.subplots"):
            display.plot([Figure().add_subplot()] * (n_panels + 1))
        with pytest.raises(TypeError, match="expected"):
            display.plot("axes")
    assert plt.get_fignums() == []


def test_without_matplotlib_the_error_names_the_remedy(fair, data, monkeypatch):
    displays = all_displays(fair, data)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for display, _ in displays:
        with pytest.raises(ImportError, match=r"sklearn-fairlatent\[plot\]"):
            display.plot()
        assert display.describe()  # words need no picture
    with pytest.raises(ImportError, match="LeakageDisplay.from_estimator needs matplotlib"):
        LeakageDisplay.from_estimator(fair, data.data, sensitive_features=data.sensitive_features)


def test_what_is_no_transformer_is_an_error(data):
    X, y, A = data.data, data.target, data.sensitive_features
    with pytest.raises(TypeError, match="got a LogisticRegression"):
        TrainingDisplay.from_estimator(LogisticRegression())
    with pytest.raises(TypeError, match="got a Pipeline with 0 of them"):
        LeakageDisplay.from_estimator(make_pipeline(StandardScaler()), X, sensitive_features=A)
    with pytest.raises(NotFittedError):
        LatentDisplay.from_estimator(FairLatentTransformer(), X, y, A)
    assert plt.get_fignums() == []


def test_of_a_search_the_best_estimator_is_shown(data):
    X, y, A = data.data, data.target, data.sensitive_features[["group"]]
    model = make_pipeline(StandardScaler(), FairLatentTransformer(max_epochs=5, random_state=0), LogisticRegression())
    search = GridSearchCV(model, {"fairlatenttransformer__max_epochs": [2, 3]}, cv=2)
    search.fit(X, y, fairlatenttransformer__sensitive_features=A)
    options = {"probes": {"linear": LogisticRegression()}, "cv": 3, "n_shuffles": 0, "random_state": 0}
    for display, arguments, given in (
        (LeakageDisplay, (X, None, A), options),
        (LatentDisplay, (X, y, A), {}),
        (CounterfactualDisplay, (X[:1], "group"), {}),
        (TrainingDisplay, (), {}),
    ):
        found, expected = (display.from_estimator(m, *arguments, **given) for m in (search, search.best_estimator_))
        assert found.describe() == expected.describe()


@pytest.mark.parametrize("behind", [True, False], ids=["behind a scaler", "alone"])
def test_attributes_in_another_order_than_the_rows_are_refused(data, behind):
    X, A = pd.DataFrame(data.data).add_prefix("x"), data.sensitive_features[["group"]]
    fair = FairLatentTransformer(max_epochs=2, random_state=0)
    model = make_pipeline(*[StandardScaler()] * behind, fair)
    model.fit(X, data.target, fairlatenttransformer__sensitive_features=A)
    moved = A.sample(frac=1, random_state=0)
    options = {"probes": {"linear": LogisticRegression()}, "cv": 3, "n_shuffles": 0, "random_state": 0}
    for told in (moved, {"group": moved["group"]}):
        with pytest.raises(ValueError, match="same index labels as X in another order"):
            LeakageDisplay.from_estimator(model, X, None, told, **options)
        with pytest.raises(ValueError, match="same index labels as X in another order"):
            LatentDisplay.from_estimator(model, X, None, told)
    assert LeakageDisplay.from_estimator(model, X, None, moved.loc[X.index], **options).before["group"].score > 0.7


# ------------------------------------------------------------------ frontier


def test_frontier_draws_its_points():
    display = FrontierDisplay({"fair": RESULTS, "other": RESULTS.drop(columns="on_frontier")}, max_disparity=0.1).plot()
    for name in ("fair", "other"):  # the second finds its frontier by itself
        line, beaten = display.lines_[name], display.beaten_[name]
        assert line.get_xdata().tolist() == [0.02, 0.09, 0.18]
        assert line.get_ydata().tolist() == [0.82, 0.84, 0.85]
        assert (beaten.get_xdata().tolist(), beaten.get_ydata().tolist()) == ([0.04], [0.81])
        assert (beaten.get_linestyle(), beaten.get_markerfacecolor()) == ("None", "none")
    assert display.limit_.get_xdata() == [0.1, 0.1]
    first, second = display.lines_.values()
    assert first.get_color() != second.get_color()
    assert (first.get_marker(), first.get_linestyle()) != (second.get_marker(), second.get_linestyle())
    assert display.ax_.get_xlim()[0] < 0


def test_frontier_writes_each_strength_at_its_own_point():
    display = FrontierDisplay({"fair": RESULTS}).plot()
    written = {text.get_text(): tuple(text.xy) for text in display.strengths_}
    assert {"0", "0.5", "2"} <= set(written) <= {"0", "0.5", "1", "2"}
    for text, point in written.items():
        row = RESULTS[RESULTS["strength"] == float(text)].iloc[0]
        assert point == (row["disparity"], row["score"])
    boxes = [text.get_window_extent() for text in display.strengths_]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert FrontierDisplay({"fair": RESULTS}).plot(annotate=False).strengths_ == []
    # Of many settings in one place not all can be written.
    close = pd.DataFrame({"strength": range(40), "score": 0.8, "disparity": np.linspace(0.1, 0.101, 40)})
    wide = pd.DataFrame({"strength": [99], "score": [0.9], "disparity": [0.5]})
    assert len(FrontierDisplay({"a": close, "b": wide}).plot().strengths_) < 20


def test_frontier_says_its_numbers():
    said = FrontierDisplay({"fair": RESULTS}, score_name="roc_auc", max_disparity=0.1).describe()
    assert said.startswith("ROC AUC against disparity: of 4 settings of fair 3 are not beaten by another")
    assert "from 0.820 at 0.020 (strength 2) to 0.850 at 0.180 (strength 0)" in said
    assert said.endswith("The best within the limit of 0.1 is fair, 0.840 at 0.090 (strength 0.5).")
    assert "None stays within" in FrontierDisplay({"fair": RESULTS}, max_disparity=0.001).describe()


def test_frontier_from_frontier_takes_its_results():
    display = FrontierDisplay.from_frontier(FairnessFrontier(RESULTS, {}), name="ours", score_name="accuracy")
    assert display.lines_["ours"].get_xdata().tolist() == [0.02, 0.09, 0.18]
    assert display.ax_.get_ylabel() == "accuracy (0 to 1, higher is better)"
    with pytest.raises(TypeError, match="DataFrame without results_"):
        FrontierDisplay.from_frontier(RESULTS)


def test_frontier_from_estimator_measures(data):
    model = make_pipeline(FairLatentTransformer(max_epochs=2), LogisticRegression())
    display = FrontierDisplay.from_estimator(
        model, data.data[:200], data.target[:200], sensitive_features=data.sensitive_features["group"][:200],
        strengths=[0.0, 1.0], cv=2, random_state=0, max_disparity=0.4,
    )  # fmt: skip
    table = display.curves["fair latent"]
    assert table["strength"].tolist() == [0.0, 1.0]
    assert display.ax_.get_xlabel() == "demographic parity difference (0 is fair)"
    assert display.ax_.get_ylabel().startswith("accuracy")
    drawn = sorted([*display.lines_["fair latent"].get_xdata(), *display.beaten_["fair latent"].get_xdata()])
    assert drawn == sorted(table["disparity"])


def test_frontier_from_predictions_measures_every_model(data):
    y, group = data.target, data.sensitive_features["group"]
    rng = np.random.default_rng(0)
    models = {
        "good": np.where(rng.random(700) < 0.9, y, 1 - y),
        "group": group.to_numpy(),
        "lot": rng.integers(2, size=700),
    }
    display = FrontierDisplay.from_predictions(y, models, sensitive_features=group, constraint="equalized_odds")
    for name, y_pred in models.items():
        drawn = display.lines_[name] if len(display.lines_[name].get_xdata()) else display.beaten_[name]
        expected = equalized_odds_difference(y, y_pred, sensitive_features=group)
        assert drawn.get_xdata() == pytest.approx([expected])
        assert drawn.get_ydata() == pytest.approx([accuracy_score(y, y_pred)])
        assert f"{name} {accuracy_score(y, y_pred):.3f} at {expected:.3f}" in display.describe()
    assert len(display.beaten_["group"].get_xdata()) == 1
    assert len(display.lines_["good"].get_xdata()) == 1
    assert display.strengths_ == []
    assert display.ax_.get_xlabel().startswith("equalized odds difference")
    # Of several attributes the largest difference counts, that of the intersection here.
    both = data.sensitive_features[["group", "category"]]
    wider = FrontierDisplay.from_predictions(y, models, sensitive_features=both, constraint="equalized_odds")
    assert wider.curves["good"]["disparity"].iloc[0] >= display.curves["good"]["disparity"].iloc[0]


def test_frontier_from_predictions_of_one_column_and_by_any_name_of_a_constraint():
    y, group = np.array([0, 1] * 10), ["a"] * 10 + ["b"] * 10
    models = {"good": np.where(np.arange(20) == 1, 0, y), "lot": np.array([0, 0, 1, 1] * 5)}
    columns = {name: y_pred[:, None] for name, y_pred in models.items()}
    for constraint in ("equal_opportunity", "true_positive_rate_parity"):
        plain = FrontierDisplay.from_predictions(y, models, sensitive_features=group, constraint=constraint)
        assert plain.curves["good"]["score"].tolist() == [accuracy_score(y, models["good"])]
        assert plain.curves["good"]["disparity"].tolist() == [pytest.approx(0.2)]
        assert plain.ax_.get_xlabel().startswith("equal opportunity difference")
        for labels, y_preds in ((y[:, None], models), (y, columns), (y[:, None], columns)):
            display = FrontierDisplay.from_predictions(labels, y_preds, sensitive_features=group, constraint=constraint)
            assert display.describe() == plain.describe()


@pytest.mark.parametrize(
    ("curves", "message"),
    [({}, "at least one"), ([RESULTS], "expected a dict"), ({"a": RESULTS.drop(columns="score")}, r"lacks \['score'\]"),
     ({"a": 3}, "it is a int"), ({"a": pl.DataFrame({"score": [1.0]})}, "pandas DataFrame"),
     ({"a": RESULTS.assign(score=np.nan)}, "has no row")],
)  # fmt: skip
def test_frontier_bad_curves(curves, message):
    with pytest.raises(ValueError, match=message):
        FrontierDisplay(curves)


def test_frontier_bad_arguments():
    for bad in (-0.1, float("nan"), "0.1"):
        with pytest.raises(ValueError, match="max_disparity"):
            FrontierDisplay({"a": RESULTS}, max_disparity=bad)
    with pytest.raises(ValueError, match="constraint='parity' is not known"):
        FrontierDisplay.from_predictions([0, 1], {"a": [0, 1]}, sensitive_features=[0, 1], constraint="parity")
    with pytest.raises(ValueError, match="y_preds is a list"):
        FrontierDisplay.from_predictions([0, 1], [0, 1], sensitive_features=[0, 1])


# ------------------------------------------------------------------ leakage


def test_leakage_draws_every_probe_its_interval_and_the_controls():
    display = LeakageDisplay.from_scores(BEFORE, AFTER)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [
        "sex", "linear", "boosting", "race", "linear", "boosting",
    ]  # fmt: skip
    nan = np.nan
    np.testing.assert_allclose(display.before_.get_xdata(), [nan, 0.93, 0.90, nan, 0.85, 0.82])
    np.testing.assert_allclose(display.after_.get_xdata(), [nan, 0.515, 0.485, nan, 0.61, 0.58])
    np.testing.assert_allclose(display.intervals_["sex", "before"].get_xdata(), BEFORE["sex"].interval)
    np.testing.assert_allclose(display.intervals_["race", "after"].get_xdata(), AFTER["race"].interval)
    assert list(display.intervals_["race", "after"].get_ydata()) == [4, 4]
    assert display.chance_.get_xdata() == [0.5, 0.5]
    assert {name: line.get_xdata()[0] for name, line in display.shuffled_.items()} == {"sex": 0.51, "race": 0.62}
    assert display.before_.get_marker() != display.after_.get_marker()
    assert "0.93" in {text.get_text() for text in display.ax_.texts}


def test_leakage_says_its_numbers():
    said = LeakageDisplay(BEFORE, AFTER).describe()
    assert "Of sex the strongest probe reads AUC 0.930 before (linear; 0.910 to 0.950) and 0.515 after" in said
    assert (
        "0.515 after (linear; 0.495 to 0.535), not told apart from chance (chance 0.5; 0.510 with sex shuffled)" in said
    )
    assert "0.610 after (linear; 0.590 to 0.630), no more than shuffled" in said
    assert "still above chance" in LeakageDisplay(BEFORE, BEFORE).describe()


def test_leakage_of_both_kinds_shares_one_scale():
    age = leak(0.4, measure="R2", shuffled=float("nan"), name="age")
    report = LeakageReport({"sex": leak(0.75), "age": age})
    display = LeakageDisplay.from_scores(report, report)
    np.testing.assert_allclose(display.before_.get_xdata()[[1, 4]], [0.5, 0.4])
    assert display.chance_.get_xdata() == [0, 0]
    assert set(display.shuffled_) == {"sex"}
    only = LeakageDisplay.from_scores({"age": age}, {"age": age})
    assert only.ax_.get_xlabel().startswith("R2")
    np.testing.assert_allclose(only.before_.get_xdata()[1], 0.4)


def test_leakage_from_estimator_reads_the_group_before_and_not_after(people, of_people):
    X, _, sex = people
    probes = {"linear": LogisticRegression()}
    display = LeakageDisplay.from_estimator(of_people, X, sensitive_features=sex, probes=probes, random_state=0, cv=3)
    assert display.before["sex"].score > 0.9
    assert display.after["sex"].score < 0.7


def test_leakage_of_a_pipeline_is_that_around_its_step(data):
    X, y, A = data.data, data.target, data.sensitive_features[["group"]]
    model = make_pipeline(StandardScaler(), FairLatentTransformer(max_epochs=2, random_state=0), LogisticRegression())
    model.fit(X, y, fairlatenttransformer__sensitive_features=A)
    options = {"probes": {"linear": LogisticRegression()}, "cv": 3, "n_shuffles": 0, "random_state": 3}
    whole = LeakageDisplay.from_estimator(model, X, None, A, **options)
    step = LeakageDisplay.from_estimator(model[1], model[0].transform(X), None, A, **options)
    pd.testing.assert_frame_equal(whole.before.to_frame(), step.before.to_frame())
    pd.testing.assert_frame_equal(whole.after.to_frame(), step.after.to_frame())
    assert whole.shuffled_ == {}


def test_leakage_finds_attributes_inside_X(data):
    table = pd.DataFrame(data.data).add_prefix("x").assign(group=data.sensitive_features["group"])
    fair = FairLatentTransformer(sensitive_columns=["group"], max_epochs=2, random_state=0).fit(table, data.target)
    options = {"probes": {"linear": LogisticRegression()}, "cv": 3, "n_shuffles": 0, "random_state": 0}
    assert list(LeakageDisplay.from_estimator(fair, table, **options).after) == ["group"]
    with pytest.raises(ValueError, match="sensitive_features=None"):
        LeakageDisplay.from_estimator(fair, table.drop(columns="group"), **options)


def test_leakage_bad_reports():
    with pytest.raises(ValueError, match=r"before has the attributes \['sex', 'race'\], after has \['sex'\]"):
        LeakageDisplay(BEFORE, {"sex": AFTER["sex"]})
    for bad in ({}, 3, {"sex": 0.9}):
        with pytest.raises(TypeError, match="expected what leakage_score returns"):
            LeakageDisplay(bad, AFTER)


# ------------------------------------------------------------------ latent


def points_of(display):
    return np.concatenate([points.get_offsets() for points in display.points_.values()])


def test_latent_draws_blocks_and_distributions(fair, data):
    X, y, A = data.data, data.target, data.sensitive_features
    display = LatentDisplay.from_estimator(fair, X, y, A)
    L = fair.to_latent(X)
    own = L[:, fair.latent_layout_["group"]][:, 0]
    expected = L[(y == 1) & (A["group"] == 0)][:, 0]
    np.testing.assert_allclose(display.points_["1", "0"].get_offsets()[:, 0], expected)
    assert set(display.points_) == {("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")}
    np.testing.assert_allclose(sorted(points_of(display)[:, 1]), np.sort(own))
    assert display.medians_["1"].get_ydata()[0] == np.median(own[A["group"] == 1])
    Z = fair.transform(X)[:, 0]
    for group in (0, 1):
        steps = display.distributions_[None, str(group)].get_data()
        inside = (steps.edges[0] <= Z) & (steps.edges[-1] >= Z)
        assert (steps.values * np.diff(steps.edges)).sum() == pytest.approx(inside[A["group"] == group].mean())
    low, high = display.medians_.values()
    assert low.get_linestyle() != high.get_linestyle()


def test_latent_says_how_far_the_groups_are_apart(fair, data):
    group = data.sensitive_features["group"].to_numpy()
    values = np.where(group == 1, 2.0, 0.0) + 1e-3 * np.arange(700)
    said = LatentDisplay(np.zeros(700), values, group, attribute="sex").describe()
    assert "In the block of sex a row of 1 lies above one of 0 in 100 % of pairs" in said
    assert "handed on a row of 0 lies above one of 1 in 50 % of pairs" in said
    shown = LatentDisplay.from_estimator(fair, data.data, data.target, data.sensitive_features)
    own, handed_on = (int(part.split(" % of pairs")[0].split()[-1]) for part in shown.describe().split(". "))
    assert own > 85 > 62 > handed_on


def test_latent_within_labels(fair, data):
    X, y, A = data.data, data.target, data.sensitive_features
    display = LatentDisplay.from_estimator(fair, X, y, A, "category", within_labels=True)
    assert set(display.distributions_) == {(label, group) for label in "01" for group in "abc"}
    assert "within target" in display.describe()
    assert display.axes_[0].get_ylabel().startswith("category block, column ")
    odds = FairLatentTransformer(constraints="equalized_odds", max_epochs=2, random_state=0)
    odds.fit(X, y, sensitive_features=A["group"])
    assert LatentDisplay.from_estimator(odds, X, y, A["group"]).within_labels
    assert not LatentDisplay.from_estimator(odds, X, None, A["group"]).within_labels


def test_latent_cuts_quantities_and_draws_few_points(fair, data):
    display = LatentDisplay.from_estimator(
        fair, data.data, data.target, data.sensitive_features, "level", max_points=50
    )
    assert len(points_of(display)) == 50
    assert len(display.medians_) == 3
    again = LatentDisplay.from_estimator(fair, data.data, data.target, data.sensitive_features, "level", max_points=50)
    np.testing.assert_array_equal(points_of(display), points_of(again))


def test_latent_without_labels_and_with_missing_groups(data):
    X, A = data.data, data.sensitive_features[["group"]].astype(object)
    A.iloc[:100] = None
    fair = FairLatentTransformer(max_epochs=2, random_state=0)
    with pytest.warns(UserWarning, match="100 of 700 rows"):
        fair.fit(X, sensitive_features=A)
    display = LatentDisplay.from_estimator(fair, X, sensitive_features=A)
    assert len(points_of(display)) == 600
    assert display.axes_[0].get_xlabel() == "handed-on column 1 (latent units)"
    np.testing.assert_allclose(sorted(points_of(display)[:, 0]), np.sort(fair.transform(X)[100:, 0]))


def test_latent_bad_arguments(fair, data):
    X, y, A = data.data, data.target, data.sensitive_features
    with pytest.raises(ValueError, match=r"attribute='sex' is not known. Pass one of \['group', 'category', 'level'\]"):
        LatentDisplay.from_estimator(fair, X, y, A, "sex")
    with pytest.raises(ValueError, match="values of 'level' are not known"):
        LatentDisplay.from_estimator(fair, X, y, A[["group"]], "level")
    with pytest.raises(ValueError, match="fewer than two groups"):
        LatentDisplay([0.0, 1.0], [0.0, 1.0], ["a", "a"])
    with pytest.raises(ValueError, match=r"own_block has shape \(3,\)"):
        LatentDisplay([0.0, 1.0], [0.0, 1.0, 2.0], ["a", "b"])
    with pytest.raises(ValueError, match="handed_on has shape"):
        LatentDisplay([0.0, np.nan], [0.0, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match="needs labels"):
        LatentDisplay([0.0, 1.0], [0.0, 1.0], ["a", "b"], within_labels=True)
    with pytest.raises(ValueError, match="max_points=0"):
        LatentDisplay([0.0, 1.0], [0.0, 1.0], ["a", "b"], max_points=0)
    plain = FairLatentTransformer(max_epochs=1, random_state=0)
    with pytest.warns(UserWarning, match="No sensitive attribute"):
        plain.fit(X, y)
    with pytest.raises(ValueError, match="without a sensitive attribute"):
        LatentDisplay.from_estimator(plain, X, y)


# ------------------------------------------------------------------ counterfactual


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_counterfactual_of_a_frame(people, kind):
    X, y, sex = people
    make = pl.from_pandas if kind == "polars" else lambda frame: frame
    fair = FairLatentTransformer(encoder=TabularCodec(), max_epochs=6, random_state=0)
    fair.fit(make(X), y, sensitive_features=sex)
    row = make(X.iloc[[int((sex == "f").argmax())]])
    display = CounterfactualDisplay.from_estimator(fair, row, "sex", sensitive_features="f")
    moved = fair.counterfactual(row, "sex", sensitive_features=["f"])
    changes = display.changes_.set_index("column")
    for name in X.columns:
        before, after = row[name].to_list()[0], moved[name].to_list()[0]
        assert (name in changes.index) == (before != after)
    assert changes.loc["role", "after"] == "husband"
    # The codec knows the spread of its training rows.
    for name in ("hours", "pay"):
        expected = (moved[name].to_list()[0] - row[name].to_list()[0]) / X[name].std(ddof=0)
        assert changes.loc[name, "change"] == pytest.approx(expected)
        assert display.bars_[name].get_width() == pytest.approx(expected)
    reference = CounterfactualDisplay.from_estimator(fair, row, "sex", sensitive_features="f", X_reference=make(X))
    np.testing.assert_allclose(reference.changes_["change"], display.changes_["change"])
    assert display.ax_.get_title() == "sex: f \u2192 m"
    texts = {text.get_text() for text in display.ax_.texts}
    assert "wife \u2192 husband" in texts
    assert "role" not in display.bars_
    said = display.describe()
    assert said.startswith(f"sex: f to m. {len(changes)} of 5 columns change: role from wife to husband, ")
    assert f"({changes.loc['pay', 'change']:+.2f} standard deviations)" in said


def test_counterfactual_of_an_array(fair, data):
    x, own = data.data[3], data.sensitive_features.iloc[[3]]
    display = CounterfactualDisplay.from_estimator(
        fair, x, ["group", "level"], {"level": 2.0}, sensitive_features=own, X_reference=data.data, max_changes=4
    )
    moved = fair.counterfactual(x[None], ["group", "level"], {"level": 2.0}, sensitive_features=own)[0]
    sizes = np.abs(moved - x) / data.data.std(axis=0)
    assert display.changes_["column"].tolist() == [f"x{j}" for j in np.argsort(-sizes)]
    assert len(display.bars_) == 4
    assert "4 smaller changes not shown" in display.ax_.get_xlabel()
    assert "and 4 more" in display.describe()
    group = int(own["group"].iloc[0])
    assert display.move.startswith(f"group: {group} \u2192 {1 - group}; level: ")
    read = CounterfactualDisplay.from_estimator(fair, x, "group")
    assert "(as read)" in read.move
    assert read.ax_.get_xlabel().startswith("change in the column's own unit")


def test_counterfactual_of_a_pipeline_is_in_its_units(data):
    X, y, A = data.data, data.target, data.sensitive_features[["group"]]
    model = make_pipeline(StandardScaler(), FairLatentTransformer(max_epochs=2, random_state=0), LogisticRegression())
    model.fit(100 * X, y, fairlatenttransformer__sensitive_features=A)
    display = CounterfactualDisplay.from_estimator(model, 100 * X[:1], "group", sensitive_features=A[:1])
    before = display.changes_.set_index("column")["before"].to_dict()
    assert before == {f"x{j}": value for j, value in enumerate(100 * X[0])}


def test_counterfactual_leaves_the_moved_column_to_the_title(people):
    X, y, sex = people
    fair = FairLatentTransformer(
        encoder=TabularCodec(), sensitive_columns=["sex"], max_epochs=6, random_state=0
    ).fit(X.assign(sex=sex), y)  # fmt: skip
    display = CounterfactualDisplay.from_estimator(fair, X.assign(sex=sex)[:1], "sex")
    assert "sex" not in display.changes_["column"].tolist()
    assert display.ax_.get_title().startswith("sex: ")
    assert "as read" not in display.ax_.get_title()
    assert {"hours", "pay"} & set(display.bars_)


def test_counterfactual_pairs_of_all_kinds_of_values():
    x = pd.DataFrame({"a": [1.0], "b": [None], "c": ["x"], "d": [True], "e": [5], "f": [7.0]})
    moved = pd.DataFrame({"a": [1.0 + 1e-12], "b": [None], "c": ["y"], "d": [False], "e": [3], "f": [np.nan]})
    display = CounterfactualDisplay.from_pairs(x, moved)
    assert display.changes_["column"].tolist() == ["c", "d", "f", "e"]
    assert display.changes_["is_word"].tolist() == [True, True, True, False]
    assert {text.get_text() for text in display.ax_.texts} >= {"7 \u2192 missing", "True \u2192 False", "5 \u2192 3"}
    assert "2 of 6 columns unchanged" in display.ax_.get_xlabel()
    assert "e from 5 to 3." in display.describe()
    constant = CounterfactualDisplay.from_pairs(x, moved, X_reference=pd.concat([x, x]).assign(a=[1, 2], f=[1, 2]))
    assert constant.bars_ == {}  # e has no spread: words only
    same = CounterfactualDisplay.from_pairs(x, x)
    assert same.describe() == "None of 6 columns changes."
    assert "no column changes" in {text.get_text() for text in same.ax_.texts}
    codes = pd.DataFrame({"code": pd.Categorical([1, 2])})
    assert CounterfactualDisplay.from_pairs(codes[:1], codes[1:]).changes_["is_word"].tolist() == [True]
    long = CounterfactualDisplay.from_pairs(["a" * 60], ["b" * 60])
    assert len(long.ax_.texts[0].get_text()) < 50


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_counterfactual_of_an_image(shape):
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    moved = x.copy()
    moved[:2, :3] += 0.5
    display = CounterfactualDisplay.from_pairs(
        x.reshape(1, -1), moved.ravel(), image_shape=shape, move="hat: no \u2192 yes"
    )
    original, other, change = (ax.images[0].get_array() for ax in display.axes_)
    expected = (moved - x).reshape(4, 6, -1).mean(axis=2)
    np.testing.assert_allclose(change, expected)
    if len(shape) == 2:
        np.testing.assert_allclose(original, x)
        np.testing.assert_allclose(other, moved)
        assert display.axes_[0].images[0].get_clim() == display.axes_[1].images[0].get_clim()
    else:
        assert np.max(other) <= max(1.0, moved.max() if shape[2] == 1 else 1.0)
    assert display.axes_[2].images[0].get_clim() == pytest.approx((-0.5, 0.5))
    assert display.describe().startswith("hat: no to yes. 6 of 24 pixels change by more than 5 %")
    assert "largest change is 0.5" in display.describe()


def test_counterfactual_of_an_image_from_an_estimator(fair, data):
    own = data.sensitive_features[:1]
    display = CounterfactualDisplay.from_estimator(
        fair, data.data[:1], "group", sensitive_features=own, image_shape=(2, 4)
    )
    moved = fair.counterfactual(data.data[:1], "group", sensitive_features=own)
    np.testing.assert_allclose(display.axes_[1].images[0].get_array(), moved.reshape(2, 4))
    assert "pixels change" in display.describe()
    bytes_ = CounterfactualDisplay.from_pairs([0.0, 128.0, 255.0], [10.0, 128.0, 255.0], image_shape=(1, 1, 3))
    np.testing.assert_allclose(bytes_.axes_[0].images[0].get_array().ravel(), [0, 128 / 255, 1])
    outside = CounterfactualDisplay.from_pairs([-1.0, 0.0, 1.0], [3.0, 0.0, 1.0], image_shape=(1, 1, 3))
    np.testing.assert_allclose(outside.axes_[1].images[0].get_array().ravel(), [1, 0.25, 0.5])


def test_counterfactual_bad_arguments(fair, data, people):
    X, _, _ = people
    with pytest.raises(TypeError, match=r"X_row is a Series.*X.iloc\[\[0\]\]"):
        CounterfactualDisplay.from_estimator(fair, X.iloc[0], "group")
    with pytest.raises(ValueError, match="X_row has 2 rows"):
        CounterfactualDisplay.from_estimator(fair, data.data[:2], "group")
    with pytest.raises(ValueError, match="x has 2 rows"):
        CounterfactualDisplay.from_pairs(X[:2], X[:2])
    with pytest.raises(ValueError, match=r"x has shape \(2, 2\)"):
        CounterfactualDisplay.from_pairs(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="Pass two rows of one table"):
        CounterfactualDisplay.from_pairs(X[:1], X[:1].drop(columns="pay"))
    with pytest.raises(ValueError, match=r"X_reference has no numeric columns \['pay'\]"):
        CounterfactualDisplay.from_pairs(X[:1], X[1:2], X_reference=X.drop(columns="pay"))
    with pytest.raises(ValueError, match="max_changes=0"):
        CounterfactualDisplay.from_pairs([0.0], [1.0], max_changes=0)
    with pytest.raises(ValueError, match="x holds 4 numbers, image_shape=\\(3, 3\\) needs 9"):
        CounterfactualDisplay.from_pairs(np.zeros(4), np.ones(4), image_shape=(3, 3))
    with pytest.raises(ValueError, match="expected \\(height, width\\)"):
        CounterfactualDisplay.from_pairs(np.zeros(4), np.ones(4), image_shape=(2, 1, 2))
    assert plt.get_fignums() == []


# ------------------------------------------------------------------ training


def test_training_draws_the_history(fair):
    display = TrainingDisplay.from_estimator(fair)
    history = pd.DataFrame(fair.history_)
    assert set(display.losses_) == {(t, p) for t in ("label_loss", "dependence") for p in ("train", "valid")}
    for (term, part), line in display.losses_.items():
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(line.get_ydata(), history[f"{part}_{term}"])
    for name, line in display.scores_.items():
        np.testing.assert_array_equal(line.get_ydata(), history[name])
    assert display.penalty == (1.5, 3.0)
    assert len(display.penalty_) == 2
    said = display.describe()
    for name in ("valid_label_loss", "valid_dependence", "validation_utility", "adversary_auc"):
        assert number(history[name].iloc[-1]) in said
    assert "The penalty grew from epoch 2 to 3." in said


def test_training_shows_the_terms_asked_for(fair):
    display = TrainingDisplay.from_estimator(fair, terms=["loss", "likelihood", "isolation"])
    assert {term for term, _ in display.losses_} == {"loss", "likelihood", "isolation"}
    with pytest.raises(ValueError, match=r"terms=\['label'\]: this fit has \['loss', 'label_loss'"):
        TrainingDisplay.from_estimator(fair, terms=["label"])
    for bad in ([], {}, [3]):
        with pytest.raises(ValueError, match="expected a list of dicts"):
            TrainingDisplay(bad)


def test_training_of_a_quantity_and_without_a_label():
    data = make_biased_latents(200, 6, task="regression", random_state=0)
    options = {"max_epochs": 1, "random_state": 0}
    fair = FairLatentTransformer(**options).fit(data.data, data.target, sensitive_features=data.sensitive_features)
    display = TrainingDisplay.from_estimator(make_pipeline(fair))
    assert "the label is read with R2" in display.describe()
    assert display.axes_[1].get_ylabel().startswith("held-out R2")
    plain = FairLatentTransformer(**options).fit(data.data, sensitive_features=data.sensitive_features)
    display = TrainingDisplay.from_estimator(plain)
    assert {term for term, _ in display.losses_} == {"dependence"}
    assert set(display.scores_) == {"adversary_auc"}
    bare = TrainingDisplay([{"valid_loss": 1.0, "valid_likelihood": 0.5}])
    assert bare.describe().endswith(
        "1 epoch: likelihood of the rest from 0.500 to 0.500 (nats a column, highest 0.500)."
    )


@pytest.mark.parametrize(
    ("params", "penalty"),
    [({"max_epochs": 4}, (1.0, 2.0)), ({"max_epochs": 4, "warm_start": True}, None),
     ({"max_epochs": 4, "fairness_strength": 0}, None), ({"max_epochs": 4, "early_stopping": True}, (1.0, 2.0)),
     ({"max_epochs": "auto", "batch_size": 180, "early_stopping": True}, None),
     ({"max_epochs": 4, "net_params": {"callbacks": []}}, None)],
)  # fmt: skip
def test_training_marks_the_penalty_where_it_is_known(params, penalty):
    data = make_biased_latents(200, 6, random_state=0)
    fair = FairLatentTransformer(random_state=0, **params)
    fair.fit(data.data, data.target, sensitive_features=data.sensitive_features)
    display = TrainingDisplay.from_estimator(fair)
    assert display.penalty == penalty
    assert bool(display.penalty_) is (penalty is not None)
    assert ("penalty" in display.describe()) is (penalty is not None)


@pytest.mark.parametrize("encoder", [None, TabularCodec()])
def test_a_frame_whose_columns_are_called_by_numbers(encoder):
    data = make_biased_latents(200, 6, random_state=0)
    named = pd.DataFrame(data.data).add_prefix("c").assign(c6=data.sensitive_features["group"])
    words = []
    for frame, column in ((named, "c6"), (named.rename(columns=lambda name: int(name[1:])), 6)):
        fair = FairLatentTransformer(max_epochs=1, sensitive_columns=[column], encoder=encoder, random_state=0)
        fair.fit(frame, data.target)
        shown = CounterfactualDisplay.from_estimator(fair, frame.head(1), fair.latent_layout_.sensitive[0])
        words.append(shown.describe().replace("c", "").replace("x", ""))
    assert words[0] == words[1]


# ------------------------------------------------------------------ words and names


def test_names_by_size_and_thirds():
    names, order = by_size(["b"] * 5 + ["a"] * 4 + ["c"] * 3 + ["d", None], most=3)
    assert order == ["a", "b", "other (2)"]
    assert names.tolist() == ["b"] * 5 + ["a"] * 4 + ["other (2)"] * 4 + [None]
    assert by_size([1, "x", 1], most=4)[1] == ["1", "x"]
    ranges = ["< -2.33", "-2.33 to -1.67", "> -1.67"]
    names, order = by_size(in_thirds([-1.0, -2.0, -3.0, np.nan]), most=3)
    assert order == ranges  # not in the order of the alphabet
    assert names.tolist() == [*ranges[::-1], None]
    assert by_size(in_thirds([1.0, 1.0]), most=3)[1] == ["1 to 1"]


def test_words():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert number(-0.0001) == "0.000"
    assert number(0.1236) == "0.124"
    assert short("abc", 3) == "abc"
    assert short("abcd", 3) == "ab\u2026"
