"""The leakage score: what it finds and does not find, its interval, its folds, attributes of all kinds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from sklearn_fairlatent import SmallGroupWarning
from sklearn_fairlatent.metrics import leakage_score
from sklearn_fairlatent.metrics._leakage import _critical_values
from sklearn_fairlatent.metrics._probing import _aucs, _folds, _r2

QUICK = {"nb": GaussianNB()}
TREES = {"trees": HistGradientBoostingClassifier(max_iter=30)}


def ring(n, seed=0):
    """Two groups that no linear probe tells apart: a disc and the ring around it."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    return Z, np.where((Z**2).sum(axis=1) > 1.4, "ring", "disc")


def test_finds_what_a_linear_probe_misses_and_names_the_probe():
    Z, group = ring(600)
    leak = leakage_score(Z, {"shape": group}, random_state=0)["shape"]
    assert leak.by_probe["linear"] < 0.6
    assert leak.score > 0.9
    assert leak.probe != "linear"
    assert leak.found
    assert leak.interval[0] < leak.score < leak.interval[1] <= 1
    # The control: the same panel on the attribute shuffled.
    assert 0.4 < leak.shuffled < 0.65


def test_independent_attribute_is_not_found():
    Z, _ = ring(600)
    leak = leakage_score(Z, {"s": np.random.default_rng(1).choice(["a", "b"], 600)}, random_state=0)["s"]
    assert not leak.found
    assert leak.interval[0] <= 0.5 <= leak.interval[1]


def test_is_a_mean_of_folds_scored_by_the_following_half():
    """The score by hand, from scikit-learn's parts."""
    Z, group = ring(300)
    leak = leakage_score(Z, {"s": group}, probes=QUICK, cv=5, n_shuffles=0, random_state=3)["s"]
    assert np.isnan(leak.shuffled)
    seed = int(np.random.RandomState(3).randint(np.iinfo(np.int32).max))
    inside = group == "ring"
    blocks = [test for _, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(Z, inside)]
    aucs, weights = [], []
    for k, test in enumerate(blocks):
        train = np.concatenate([blocks[(k + 1) % 5], blocks[(k + 2) % 5]])
        model = GaussianNB().fit(Z[train], inside[train])
        aucs.append(roc_auc_score(inside[test], model.predict_proba(Z[test])[:, 1]))
        weights.append(inside[test].sum() * (~inside[test]).sum() / (len(test) + 1))
    assert_allclose(leak.score, np.average(aucs, weights=weights))


@pytest.mark.parametrize("n_folds", [3, 4, 7, 8])
def test_no_two_folds_train_each_others_probes(n_folds):
    target = np.arange(80) % 2
    folds = _folds(n_folds, target, None, False, 0)
    assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(80))
    block_of = np.empty(80, dtype=int)
    for k, (_, test) in enumerate(folds):
        block_of[test] = k
    trains = [set(block_of[train]) for train, _ in folds]
    for i in range(n_folds):
        assert i not in trains[i]
        assert len(trains[i]) == (n_folds - 1) // 2
        assert not any(j in trains[i] and i in trains[j] for j in range(n_folds))


def test_standard_error_is_that_of_repeated_draws():
    """DeLong's error of a fixed score against the spread of the AUC over many samples."""
    rng = np.random.default_rng(0)
    aucs, errors = [], []
    for _ in range(300):
        codes = (np.arange(120) < 40).astype(int)
        scores = np.column_stack([rng.normal(size=120) - codes, rng.normal(size=120) + codes])
        found, influence = _aucs(scores, codes, [np.arange(120)])
        aucs.append(found[1])
        errors.append(np.sqrt((influence[:, 1] ** 2).sum()))
    assert_allclose(np.mean(errors), np.std(aucs), rtol=0.12)  # 300 draws tell a spread to 4 %


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_aucs_equal_scikit_learns_and_influences_sum_to_zero(seed, ties):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(60) % 3)
    scores = rng.normal(size=(60, 3))
    scores = np.round(scores) if ties else scores
    found, influence = _aucs(scores, codes, [np.arange(60)])
    assert_allclose(found, [roc_auc_score(codes == k, scores[:, k]) for k in range(3)])
    assert_allclose(influence.sum(axis=0), 0, atol=1e-12)


def test_r2_of_folds_against_their_own_means():
    target = np.array([1.0, 2, 3, 4, 10, 20, 30, 40])
    predicted = target + np.array([0.5, -0.5] * 4)
    tests = [np.arange(4), np.arange(4, 8)]
    found, influence = _r2(predicted, target, tests)
    assert_allclose(found, 1 - 8 * 0.25 / (5 + 500))
    assert_allclose(influence.sum(), 0, atol=1e-12)


def test_critical_values_widen_with_the_number_of_probes():
    rng = np.random.default_rng(0)
    one, three = (rng.normal(size=(5000, m)) for m in (1, 3))
    one, three = (x / np.sqrt((x**2).sum(axis=0)) for x in (one, three))
    single = norm.ppf(0.975)
    assert_allclose(_critical_values([one], 0.95), single, rtol=1e-3)
    lower, upper = _critical_values([three], 0.95)
    assert_allclose(upper, single)
    # Of three independent values the largest is below c with probability 0.95, bar the share above.
    assert_allclose(lower, norm.ppf(0.95 ** (1 / 3)), atol=0.03)
    # Three times the same probe need no correction.
    assert_allclose(_critical_values([np.repeat(one, 3, axis=1)], 0.95)[0], single, atol=0.03)


# ---------------------------------------------------------------------------------------------- kinds of attributes


def test_many_groups_name_the_worst():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(["a", "b", "c"], 200))
    Z = rng.normal(size=(600, 2)) + 2 * (group == "c")[:, None]
    leak = leakage_score(Z, {"race": group}, probes=QUICK, random_state=0)["race"]
    assert leak.group == "c"
    assert leak.by_group["c"] == leak.score > 0.9
    assert leak.by_group["a"] < leak.by_group["c"]
    assert set(leak.by_group) == {"a", "b", "c"}


def test_intersection_finds_what_neither_attribute_shows():
    rng = np.random.default_rng(0)
    sex, race = rng.choice(["f", "m"], 800), rng.choice(["k", "l"], 800)
    Z = rng.normal(size=(800, 1)) + 2.0 * ((sex == "f") == (race == "k"))[:, None]
    report = leakage_score(Z, pd.DataFrame({"sex": sex, "race": race}), probes=TREES, random_state=0)
    assert list(report) == ["sex", "race", "sex & race"]
    assert not report["sex"].found
    assert not report["race"].found
    assert report["sex & race"].found
    assert report.strongest.attribute == "sex & race"
    assert report["sex & race"].group in {"f & k", "f & l", "m & k", "m & l"}


def test_continuous_attribute():
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 70, 400)
    Z = np.column_stack([np.sin(age / 8), rng.normal(size=400)])
    report = leakage_score(Z, {"age": age, "other": rng.normal(size=400)}, random_state=0)
    assert report["age"].measure == "R2"
    assert report["age"].found
    assert report["age"].score > 0.2
    assert not report["other"].found
    assert report["other"].chance == 0.0
    assert "age & other" not in report
    frame = report.to_frame()
    assert frame.loc["age", "low"] < frame.loc["age", "score"] < frame.loc["age", "high"]
    whole = leakage_score(Z, {"age": age.astype(int)}, probes={"ridge": Ridge()}, random_state=0)
    declared = leakage_score(
        Z, {"few": age.astype(int) // 20}, continuous_features=["few"], probes={"ridge": Ridge()}, random_state=0
    )
    assert whole["age"].measure == declared["few"].measure == "R2"


def test_within_labels_reads_what_equalized_odds_forbids():
    rng = np.random.default_rng(0)
    group, y = rng.integers(0, 2, 900), rng.integers(0, 2, 900)
    # The group shows among the positives only; over all rows it is drowned.
    Z = rng.normal(size=(900, 1)) + 2.0 * (group * y)[:, None] - 1.0 * (group * (1 - y))[:, None]
    leak = leakage_score(Z, {"s": group}, within=y, probes=QUICK, random_state=0)["s"]
    assert leak.within == 1
    assert leak.score > leakage_score(Z, {"s": group}, probes=QUICK, random_state=0)["s"].score


def test_missing_values_and_small_groups_are_left_out():
    Z, group = ring(300)
    group = group.astype(object)
    group[:40] = None
    leak = leakage_score(Z, {"s": group}, probes=QUICK, random_state=0)["s"]
    assert leak.n_samples == 260
    assert_allclose(leak.score, leakage_score(Z[40:], {"s": group[40:]}, probes=QUICK, random_state=0)["s"].score)
    group[:3] = "rare"
    with pytest.warns(SmallGroupWarning, match=r"group\(s\) \['rare'\] have too few rows for 7 folds"):
        leak = leakage_score(Z, {"s": group}, probes=QUICK, random_state=0)["s"]
    assert leak.left_out == ("rare",)
    assert leak.n_samples == 260


# -------------------------------------------------------------------------------------------------- repeated persons


def persons(n_persons, n_rows, seed):
    """Rows of persons whose latents and group are their own, independent of each other."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_persons), n_rows)
    Z = rng.normal(size=(n_persons, 3))[person] + 0.05 * rng.normal(size=(n_persons * n_rows, 3))
    return Z, rng.permutation(np.arange(n_persons) % 2)[person], person


def test_rows_of_one_person_are_no_evidence():
    """Without groups= a tree knows the person again; with it chance, and the wide interval of few persons."""
    Z, group, person = persons(60, 8, 0)
    naive = leakage_score(Z, {"s": group}, probes=TREES, random_state=0)["s"]
    honest = leakage_score(Z, {"s": group}, probes=TREES, groups=person, random_state=0)["s"]
    assert naive.found  # the negative control: what is found is persons, not the attribute
    assert naive.score > 0.8
    assert not honest.found
    assert np.diff(honest.interval) > 1.5 * np.diff(naive.interval)
    # The shuffle moves the attribute between persons, not between their rows.
    assert honest.shuffled < 0.75


# ------------------------------------------------------------------------------------------------ determinism, input


def test_same_bits_for_any_number_of_jobs_and_untouched_generator():
    Z, group = ring(150)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what must not move
    first = leakage_score(Z, {"s": group}, cv=3, random_state=7)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 - the same
    assert first == leakage_score(Z, {"s": group}, cv=3, random_state=7, n_jobs=2)
    assert first != leakage_score(Z, {"s": group}, cv=3, random_state=8)


def test_kinds_of_input_agree():
    Z, group = ring(200)
    frame = pd.DataFrame({"shape": group})
    reports = [
        leakage_score(z, a, probes=QUICK, random_state=0)
        for z in (Z, pd.DataFrame(Z).add_prefix("z"))
        for a in (frame, frame["shape"], {"shape": group})
    ]
    assert all(report == reports[0] for report in reports)
    assert list(leakage_score(Z, group, probes=QUICK, random_state=0)) == ["sensitive_feature_0"]


def test_splitter():
    Z, group = ring(210)
    splitter = StratifiedKFold(5, shuffle=True, random_state=1)
    assert leakage_score(Z, {"s": group}, cv=splitter, probes=QUICK, random_state=0)["s"].score > 0.8
    person = np.repeat(np.arange(70), 3)
    leak = leakage_score(Z, {"s": group}, cv=GroupKFold(5), groups=person, probes=QUICK, random_state=0)["s"]
    assert leak.score > 0.8


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cv": 2}, ValueError, "cv=2: expected at least 3 folds"),
        ({"cv": "five"}, ValueError, "cv='five': expected a number of folds or a splitter"),
        ({"n_shuffles": -1}, ValueError, "n_shuffles=-1: expected an integer >= 0"),
        ({"confidence_level": 95}, ValueError, r"confidence_level=95: expected a number in \(0, 1\)"),
        ({"within": [0, 1]}, ValueError, r"within has shape \(2,\), Z has 100 rows"),
        ({"groups": [0, 1]}, ValueError, r"groups has shape \(2,\), Z has 100 rows"),
        ({"probes": "all"}, ValueError, "probes='all': expected 'default' or a dict"),
        ({"probes": {"ridge": Ridge()}}, TypeError, r"probes\['ridge'\] is a Ridge; expected a classifier"),
        ({"continuous_features": ["age"]}, ValueError, r"continuous_features names \['age'\]"),
        (
            {"continuous_features": ["s"]},
            ValueError,
            "'s' is declared continuous but holds values that are not numbers",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    Z, group = ring(100)
    with pytest.raises(error, match=message):
        leakage_score(Z, {"s": group}, **{"probes": QUICK, **arguments})


def test_bad_rows():
    Z, group = ring(100)
    with pytest.raises(ValueError, match=r"'s' has 1 group\(s\) with at least 28 rows"):
        leakage_score(Z, {"s": np.repeat("a", 100)})
    with pytest.raises(ValueError, match="has 100 rows, X has 50"):
        leakage_score(Z[:50], {"s": group})
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        leakage_score(np.where(Z > 2, np.nan, Z), {"s": group})
    with pytest.raises(ValueError, match="'age' is constant"):
        leakage_score(Z, {"age": np.zeros(100)}, continuous_features=["age"])


def test_small_data_needs_no_early_stopping_and_does_not_warn():
    Z, group = ring(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= leakage_score(Z, {"s": group}, probes="default", random_state=0)["s"].score <= 1


def test_report_as_frame():
    Z, group = ring(100)
    frame = leakage_score(Z, {"s": group}, probes={"lr": LogisticRegression()}, random_state=0).to_frame()
    assert frame.index.tolist() == ["s"]
    assert frame.columns.tolist() == [
        "measure", "score", "low", "high", "chance", "shuffled", "probe", "group", "within", "n_samples"
    ]  # fmt: skip


def test_rows_in_another_order_are_refused():
    Z, group = ring(100)
    frame = pd.DataFrame(Z).add_prefix("z")
    with pytest.raises(ValueError, match="in another order"):
        leakage_score(frame, pd.Series(group, name="s").sample(frac=1, random_state=0), probes=QUICK)


@pytest.mark.parametrize("argument", ["within", "groups"])
def test_missing_labels_and_persons_are_refused(argument):
    Z, group = ring(100)
    values = np.array([None, *"ab" * 49, "a"], dtype=object)
    with pytest.raises(ValueError, match=f"{argument} has missing values"):
        leakage_score(Z, {"s": group}, probes=QUICK, **{argument: values})


def test_groups_of_mixed_types_stay_when_a_small_one_goes():
    rng = np.random.default_rng(0)
    group = np.array(["a"] * 130 + ["b"] * 130 + [1] * 130 + ["c"] * 10, dtype=object)
    Z = rng.normal(size=(400, 2))
    Z[260:390, 0] += 5
    with pytest.warns(SmallGroupWarning, match="'c'"):
        leak = leakage_score(Z, {"s": group}, probes=QUICK, random_state=0)["s"]
    assert leak.n_samples == 390
    assert leak.score > 0.95
    assert leak.group == 1


def test_probes_that_fail_are_told():
    Z, group = ring(100)
    with pytest.raises(TypeError, match="which has no predict_proba"):
        leakage_score(Z, {"s": group}, probes={"svc": SVC()})

    class Broken(GaussianNB):
        def predict_proba(self, X):
            return np.full((len(X), 2), np.nan)

    with pytest.raises(ValueError, match="the probe Broken gave NaN"):
        leakage_score(Z, {"s": group}, probes={"broken": Broken()})


def test_few_persons_are_no_sample():
    Z, group, person = persons(20, 30, 0)
    with pytest.raises(ValueError, match=r"with at least 28 persons of groups="):
        leakage_score(Z, {"s": group}, probes=QUICK, groups=person)


def test_many_comparisons_are_corrected_for_skewness():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(2000, 16))
    columns /= np.sqrt((columns**2).sum(axis=0))
    plain, skewed = (_critical_values([columns], 0.95, skewness)[0] for skewness in (0.0, 0.35))
    assert_allclose(skewed, plain + 0.35 * (plain**2 - 1) / 6)


def test_an_intersection_of_few_rows_is_left_out_with_a_warning():
    rng = np.random.RandomState(0)
    Z = rng.normal(size=(100, 2))
    both = pd.DataFrame({"a": np.repeat([0, 1], 50), "b": np.tile([0, 1], 50)})
    with pytest.warns(SmallGroupWarning, match="intersection of the attributes is not probed: 'a & b' has 0 group"):
        report = leakage_score(Z, both, probes={"linear": LogisticRegression()}, random_state=0)
    assert list(report) == ["a", "b"]
    # An attribute that was asked for is not left out.
    with pytest.raises(ValueError, match="'a & b' has 0 group"):
        leakage_score(Z, {"a & b": both["a"].astype(str) + both["b"].astype(str)}, random_state=0)


def test_every_group_has_its_highest_score_over_the_labels():
    # Within one label b against c, which differ, within the other a against b, which do not.
    group, label = np.array(["b", "c"] * 120 + ["a", "b"] * 120), np.repeat([0, 1], 240)
    Z = np.random.default_rng(0).normal(size=(480, 2))
    Z[group == "c", 0] += 6.0
    leak = leakage_score(Z, {"g": group}, within=label, probes=QUICK, random_state=0, n_shuffles=0)["g"]
    assert min(leak.by_group["b"], leak.by_group["c"]) > 0.98
    assert leak.by_group["a"] < 0.65
