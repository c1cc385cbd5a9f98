"""synthesis_report and its parts against naive versions, with controls that they must tell apart."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.metrics import synthesis_report
from sklearn_fairlatent.metrics._copying import authenticity, membership_auc
from sklearn_fairlatent.metrics._fidelity import manifold_scores, marginal_fidelity, pairwise_fidelity

LEARNERS = {"tree": make_pipeline(TabularCodec(), DecisionTreeClassifier(max_depth=3))}


def rows(n=400, seed=0):
    """A table, labels that depend on both columns, and groups."""
    rng = np.random.RandomState(seed)
    group = rng.choice(["f", "m"], n)
    pay = rng.normal(size=n) + (group == "m")
    X = pd.DataFrame(
        {"pay": pay, "age": rng.randint(18, 70, n), "job": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])}
    )
    y = pd.Series(np.where(pay + 0.5 * rng.normal(size=n) > 0.5, "yes", "no"), name="hired")
    return X, y, pd.DataFrame({"sex": group})


def numbers(n=200, seed=0, d=3):
    return np.random.RandomState(seed).normal(size=(n, d))


@pytest.fixture(scope="module")
def parts():
    """Training rows, held-out rows, and fresh rows of the same kind."""
    return rows(400, 0), rows(300, 1), rows(500, 2)


# ---------------------------------------------------------------- parts against naive versions


def test_marginals_are_distances_of_distributions():
    one, other = rows(300, 0)[0], rows(200, 1)[0]
    found = marginal_fidelity(one, other)
    assert found["pay"] == pytest.approx(1 - ks_2samp(one["pay"], other["pay"]).statistic)
    shares = [table["job"].value_counts(normalize=True) for table in (one, other)]
    assert found["job"] == pytest.approx(1 - 0.5 * shares[0].sub(shares[1], fill_value=0).abs().sum())
    assert (marginal_fidelity(one, one) == 1).all()


def test_missing_values_and_dates_are_compared():
    dates = pd.DataFrame({"at": pd.date_range("2024-01-01", periods=200, freq="h"), "n": np.arange(200.0)})
    later = dates.assign(at=dates["at"] + pd.Timedelta(100, "h"), n=dates["n"].where(dates["n"] >= 50))
    found = marginal_fidelity(dates, later)
    assert found["at"] == pytest.approx(0.5)
    assert found["n"] == pytest.approx(0.75)
    zoned = dates.assign(at=dates["at"].dt.tz_localize("UTC"))
    assert marginal_fidelity(zoned, zoned)["at"] == 1


def test_pairs_see_what_marginals_do_not():
    rng = np.random.RandomState(0)
    a = rng.randint(0, 3, 2000)
    together, apart = pd.DataFrame({"a": a, "b": a}), pd.DataFrame({"a": a, "b": rng.permutation(a)})
    assert marginal_fidelity(together.astype(str), apart.astype(str)).min() == 1
    joint = [pd.crosstab(t["a"], t["b"], normalize=True).reindex(index=range(3), columns=range(3)).fillna(0)
             for t in (together, apart)]  # fmt: skip
    expected = 1 - 0.5 * np.abs(joint[0] - joint[1]).to_numpy().sum()
    assert pairwise_fidelity(together.astype(str), apart.astype(str)) == pytest.approx(expected)
    assert pairwise_fidelity(together[["a"]].astype(str), apart[["a"]].astype(str)) == 1


def naive_manifold(real, synthetic, k):
    def radii(points):
        return np.sort(cdist(points, points), axis=1)[:, k]

    distances = cdist(synthetic, real)
    inside = distances <= radii(real)
    return {
        "precision": inside.any(1).mean(),
        "density": inside.sum(1).mean() / k,
        "coverage": inside.any(0).mean(),
        "recall": (radii(synthetic) >= distances.T).any(1).mean(),
    }


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 5), shift=st.floats(0, 3))
def test_manifold_scores(seed, k, shift):
    real, synthetic = numbers(60, seed), numbers(50, seed + 1) + shift
    found, expected = manifold_scores(real, synthetic, k), naive_manifold(real, synthetic, k)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_copies_lie_on_the_manifold_and_far_rows_do_not():
    real = np.repeat(100 * np.random.RandomState(0).standard_cauchy(size=(50, 20)), 8, axis=0)
    copies = manifold_scores(real, real)
    assert copies["precision"] == copies["recall"] == copies["coverage"] == 1
    assert manifold_scores(numbers(), numbers(seed=1) + 20)["coverage"] == 0


def test_authenticity_tells_copies_from_fresh_rows():
    train, fresh = numbers(300), numbers(300, 1)
    distances, own = cdist(fresh, train), cdist(train, train)
    np.fill_diagonal(own, np.inf)
    nearest = distances.argmin(1)
    assert authenticity(train, fresh) == pytest.approx((distances.min(1) >= own[nearest].min(1)).mean())
    assert authenticity(train, train[::2] + 1e-6) == 0
    assert 0.3 < authenticity(train, fresh) < 0.7


def test_membership_is_seen_in_copies_only():
    train, other = numbers(300), numbers(300, 1)
    copies, fresh = train[::2] + 1e-3, numbers(300, 2)
    assert membership_auc(train, other, copies) > 0.7
    assert abs(membership_auc(train, other, fresh) - 0.5) < 0.08
    # The plain attack, by itself.
    nearest = [cdist(points, copies).min(1) for points in (train, other)]
    plain = roc_auc_score(np.r_[np.ones(300), np.zeros(300)], -np.concatenate(nearest))
    assert membership_auc(train, other, copies) >= plain


# ---------------------------------------------------------------- the report


def test_fresh_rows_look_like_real_ones(parts):
    train, held_out, fresh = parts
    report = synthesis_report(held_out, fresh, train=train, learners=LEARNERS)
    utility = report.utility
    assert utility.index.tolist() == [("synthetic", "tree"), ("real", "tree")]
    assert abs(utility.loc["synthetic", "accuracy"].item() - utility.loc["real", "accuracy"].item()) < 0.06
    assert utility["demographic_parity_difference"].min() > 0.15
    assert utility["accuracy"].min() > report.majority_accuracy
    assert report.scores["pairwise_fidelity"] > 0.85
    assert report.scores["authenticity"] == pytest.approx(report.scores["authenticity_of_real"], abs=0.1)
    assert report.scores["membership_auc"] < 0.57
    for value in report.to_frame()["value"]:
        assert value >= 0
    assert "boosting" not in str(report)
    assert f"{report.majority_accuracy:.3f}" in str(report)
    assert len(report.to_frame()) == 2 * 4 + 1 + 10


def test_controls_are_told_apart(parts):
    train, held_out, fresh = parts
    rng = np.random.RandomState(0)
    good = synthesis_report(held_out, fresh, train=train, learners=LEARNERS)
    copied = synthesis_report(held_out, train, train=train, learners=LEARNERS)
    assert copied.scores["authenticity"] == 0
    assert copied.scores["membership_auc"] > 0.9
    X, y, A = fresh
    shuffled = X.apply(lambda column: rng.permutation(column)), pd.Series(rng.permutation(y)), A
    noise = synthesis_report(held_out, shuffled, train=train, learners=LEARNERS)
    assert noise.scores["pairwise_fidelity"] < good.scores["pairwise_fidelity"]
    assert noise.utility.loc["synthetic", "roc_auc"].item() < 0.65 < good.utility.loc["synthetic", "roc_auc"].item()
    fair = synthesis_report(held_out, (X, pd.Series(np.where(X["age"] > 40, "yes", "no")), A), learners=LEARNERS)
    assert fair.utility["demographic_parity_difference"].max() < 0.12
    assert "authenticity" not in fair.scores
    # The label was changed, not the rest.
    assert fair.scores["pairwise_fidelity_without_label"] > fair.scores["pairwise_fidelity"]


def test_default_learners_take_every_kind_of_frame(parts):
    train, held_out, fresh = parts
    report = synthesis_report(held_out, fresh, train=train, learn_from_real=False)
    assert report.utility.index.get_level_values("learner").tolist() == [
        "logistic regression",
        "boosting",
        "random forest",
    ]
    as_polars = [(pl.from_pandas(X), pl.from_pandas(y), pl.from_pandas(A)) for X, y, A in (held_out, fresh)]
    again = synthesis_report(*as_polars)
    np.testing.assert_allclose(again.utility.to_numpy(), report.utility.to_numpy(), atol=1e-12)
    gaps = [(X.assign(pay=X["pay"].where(X["pay"] > -1)), y, A) for X, y, A in (held_out, fresh)]
    assert synthesis_report(*gaps).scores["marginal_fidelity"] > 0.9


def test_arrays_images_and_many_classes():
    rng = np.random.RandomState(0)

    def pictures(n):
        X = rng.normal(size=(n, 1, 3, 2))
        return X, np.digitize(X[:, 0, 0, 0], [-0.5, 0.5]), rng.randint(0, 2, n)

    report = synthesis_report(pictures(200), pictures(300), learners={"LR": LogisticRegression()})
    assert report.utility["accuracy"].item() > 0.7
    assert len(report.marginals) == 6 + 2


def test_inputs_are_left_alone_and_a_seed_repeats(parts):
    train, held_out, fresh = parts
    before = [part.copy() for part in (*train, *held_out, *fresh)]
    one, other = (synthesis_report(held_out, fresh, train=train, learners=LEARNERS) for _ in range(2))
    pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())
    for part, copy in zip((*train, *held_out, *fresh), before, strict=True):
        assert part.equals(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, A: (X, y), r"expected a tuple \(X, y, sensitive_features\)"),
        (lambda X, y, A: (X.drop(columns="age"), y, A), r"\[\] too many, \['age'\] too few"),
        (lambda X, y, A: (X, y.iloc[:10], A), "y has 10 rows, X has 500"),
        (lambda X, y, A: (X, y.str.upper(), A), r"y of synthetic has the values .* none in common"),
        (lambda X, y, A: (X, y, A.rename(columns={"sex": "Sex"})), r"sensitive_features of synthetic are \['Sex'\]"),
        (lambda X, y, A: (X, y, A["sex"].str.upper()), r"sensitive_features\['sex'\] of synthetic"),
        (lambda X, y, A: (X, y.where(y == "yes"), A), "y contains missing values"),
        (lambda X, y, A: (X, pd.Series(["yes"] * len(y)), A), "has one class; a learner needs two"),
        (lambda X, y, A: (X.iloc[:4], y.iloc[:4], A.iloc[:4]), "synthetic has 4 rows: expected at least 7"),
        (lambda X, y, A: (np.zeros(500), y, A), "X has 1 dimension"),
    ],
)
def test_rows_that_do_not_fit(parts, change, message):
    _, held_out, fresh = parts
    with pytest.raises(ValueError, match=message):
        synthesis_report(held_out, change(*fresh), learners=LEARNERS)


def test_learners_that_are_none(parts):
    with pytest.raises(ValueError, match="expected a dict of classifiers with predict_proba"):
        synthesis_report(parts[1], parts[2], learners=[LogisticRegression()])


def test_the_kind_of_output_that_scikit_learn_is_set_to_does_not_matter():
    real, made = rows(100, seed=0), rows(100, seed=1)
    expected = synthesis_report(real, made, learners=LEARNERS, random_state=0)
    with config_context(transform_output="pandas"):
        found = synthesis_report(real, made, learners=LEARNERS, random_state=0)
    assert repr(found) == repr(expected)


def test_differences_that_are_undefined_are_no_numbers():
    """A class that a group lacks has no true positive rate there; fairlearn's 0 is no difference of a learner."""
    rng = np.random.default_rng(0)
    sex = np.array(["f"] * 120 + ["m"] * 120)
    y = np.r_[rng.choice(["u", "v", "w"], 120), rng.choice(["u", "v"], 120)]
    X = np.column_stack([y == "u", y == "v"]) * 3.0 + 0.1 * rng.normal(size=(240, 2))
    learners = {"linear": LogisticRegression()}

    def utility(rows, held_out, attribute):
        parts = [(X[some], y[some], attribute[some]) for some in (held_out, rows)]
        return synthesis_report(*parts, learners=learners).utility.loc[("synthetic", "linear")]

    found = utility(slice(None, None, 2), slice(1, None, 2), sex)
    assert found["accuracy"] == 1
    assert found["equalized_odds_difference"] == 0  # of the two classes that both groups have
    assert found["demographic_parity_difference"] > 0.2  # nobody of one group is "w"
    alone = utility(slice(None, None, 2), slice(1, None, 2), np.full(240, "f"))
    assert alone.filter(like="difference").isna().all()
