"""certify and certify_codes: whom they compare, what they refuse, and that no classifier exceeds the bound."""

import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fairlearn.metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer, SmallGroupWarning
from sklearn_fairlatent.certification import certify, certify_codes
from sklearn_fairlatent.certification._certificate import rounded_up
from sklearn_fairlatent.certification._comparing import METHODS
from sklearn_fairlatent.datasets import make_biased_latents

N_TRAIN = 2500
DATA = make_biased_latents(6000, random_state=0)
X, Y, A = DATA.data, DATA.target, DATA.sensitive_features
HELD_OUT = slice(N_TRAIN, None)


@pytest.fixture(scope="module")
def fair():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fair = FairLatentTransformer(n_codes=6, max_epochs=15, random_state=0)
        return fair.fit(X[:N_TRAIN], Y[:N_TRAIN], sensitive_features=A[:N_TRAIN])


@pytest.fixture(scope="module")
def unfair():
    fair = FairLatentTransformer(n_codes=6, fairness_strength=0, max_epochs=10, random_state=0)
    return fair.fit(X[:N_TRAIN], Y[:N_TRAIN], sensitive_features=A[:N_TRAIN])


def _rows(seed=0, n=3000, n_codes=5):
    """Codes that depend on the group and on the label."""
    rng = np.random.RandomState(seed)
    group = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    y = (rng.random_sample(n) < 0.4 + 0.1 * (group == "b")).astype(int)
    codes = rng.binomial(n_codes - 1, 0.3 + 0.15 * (group == "c") + 0.2 * y)
    return codes, group, y


# ---------------------------------------------------------------- the bound


def test_a_fair_code_has_a_lower_bound_than_an_unfair_one(fair, unfair):
    certificate = certify(fair, X[HELD_OUT], A[HELD_OUT])
    assert certificate.estimate < certificate.bound < 0.12
    # A negative control: without the penalty the code tells the group.
    assert certify(unfair, X[HELD_OUT], A[HELD_OUT]).estimate > 0.3


@pytest.mark.parametrize("model", [LogisticRegression(), HistGradientBoostingClassifier(random_state=0)])
def test_no_model_on_the_codes_exceeds_it(fair, unfair, model):
    half = slice(N_TRAIN, N_TRAIN + 1750), slice(N_TRAIN + 1750, None)
    for transformer in (fair, unfair):
        bound = certify(transformer, X[half[0]], A[half[0]]).bound
        Z, group = transformer.transform(X), A["group"]
        attack = model.fit(Z[:N_TRAIN], group[:N_TRAIN]).predict(Z[half[1]]) == 1
        found = demographic_parity_difference(attack, attack, sensitive_features=group[half[1]])
        assert found <= bound
    assert found > 0.25  # on the unfair code there is something to find


@pytest.mark.parametrize(
    ("constraints", "measure"),
    [
        ("demographic_parity", demographic_parity_difference),
        ("equalized_odds", equalized_odds_difference),
        ("equal_opportunity", equal_opportunity_difference),
    ],
)
def test_the_estimate_is_fairlearns_difference_of_the_worst_classifier(constraints, measure):
    codes, group, y = _rows()
    certificate = certify_codes(codes, group, y=y, n_codes=5, constraints=constraints)
    table = certificate.comparisons
    assert certificate.estimate == table["estimate"].max() < certificate.bound == table["bound"].max()
    worst = table.loc[table["estimate"].idxmax()]
    decided = np.isin(codes, worst["worst_set"]).astype(int)
    assert measure(y, decided, sensitive_features=group) == pytest.approx(certificate.estimate)
    # No other set has a larger one.
    for number in range(1, 2**5, 3):
        decided = np.isin(codes, [code for code in range(5) if number >> code & 1]).astype(int)
        assert measure(y, decided, sensitive_features=group) <= certificate.estimate + 1e-12


def test_thresholds_have_a_bound_of_their_own():
    codes, group, y = _rows()
    certificate = certify_codes(codes, group, n_codes=5, classifiers="monotone")
    thresholds = [(codes >= k).astype(int) for k in range(6)]
    found = max(demographic_parity_difference(y, rule, sensitive_features=group) for rule in thresholds)
    assert certificate.estimate == pytest.approx(found)
    assert certificate.bound <= certify_codes(codes, group, n_codes=5).bound
    worst = certificate.worst["worst_set"]
    assert worst in [tuple(range(k)) for k in range(1, 5)] + [tuple(range(k, 5)) for k in range(1, 5)]


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(0, 50))
def test_randomised_classifiers_do_not_exceed_the_estimate(accepts, seed):
    codes, group, _ = _rows(seed, n=600)
    estimate = certify_codes(codes, group, n_codes=5, method="l1").estimate
    scores = np.array(accepts)[codes]
    means = pd.Series(scores).groupby(group).mean()
    assert means.max() - means.min() <= estimate + 1e-12


def test_the_order_of_rows_and_the_names_of_codes_do_not_matter():
    codes, group, y = _rows()
    order = np.random.RandomState(1).permutation(len(codes))
    renamed = np.array([3, 0, 4, 1, 2])[codes]
    first = certify_codes(codes, group, y=y, n_codes=5, constraints="equalized_odds")
    other = certify_codes(renamed[order], group[order], y=y[order], n_codes=5, constraints="equalized_odds")
    assert first.bound == other.bound
    assert first.estimate == other.estimate


def test_a_shift_adds_its_share():
    codes, group, y = _rows()
    plain = certify_codes(codes, group, n_codes=5)
    shifted = certify_codes(codes, group, n_codes=5, max_shift=0.1)
    assert shifted.bound == pytest.approx(0.9 * plain.bound + 0.1)
    assert shifted.estimate == plain.estimate
    assert "but for a share of 0.1 at most of each group," in shifted.sentence
    within = certify_codes(codes, group, y=y, n_codes=5, max_shift=0.1, constraints="equalized_odds")
    assert "but for a share of 0.1 at most of each group and label," in within.sentence
    # In deployment the tenth may come from anywhere: at worst of one group from one code, of the other from another.
    p, q = (np.bincount(codes[group == name], minlength=5) / (group == name).sum() for name in "ac")
    far = 0.9 * p + 0.1 * np.eye(5)[0] - 0.9 * q - 0.1 * np.eye(5)[4]
    assert 0.5 * np.abs(far).sum() <= 0.9 * plain.estimate + 0.1 + 1e-12


@pytest.mark.parametrize("method", METHODS["any"][1:])
def test_best_is_hardly_above_any_other(method):
    codes, group, _ = _rows()
    best = certify_codes(codes, group, n_codes=5).bound
    assert best < 1.05 * certify_codes(codes, group, n_codes=5, method=method).bound


def test_best_is_the_intervals_where_all_codes_but_one_are_rare():
    codes = np.r_[np.zeros(5990, dtype=int), np.ones(10, dtype=int)]
    group = np.tile(["a", "b"], 3000)
    assert certify_codes(codes, group, n_codes=2).worst["method"] == "clopper_pearson"
    assert certify_codes(*_rows()[:2], n_codes=5).worst["method"] == "fixed_set"


def test_all_bounds_hold_together_in_most_samples():
    """Three groups, and two labels: how often the lowest of all bounds is below its own truth."""
    rng = np.random.RandomState(0)
    truth = rng.dirichlet(np.ones(3) * 4, size=(3, 2))
    too_low = 0
    for _ in range(12):
        group, y = np.repeat([0, 1, 2], [150, 200, 250]), rng.randint(2, size=600)
        codes = np.array([rng.choice(3, p=truth[g, label]) for g, label in zip(group, y, strict=True)])
        table = certify_codes(codes, group, y=y, n_codes=3, constraints="equalized_odds", confidence=0.8).comparisons
        distances = [
            np.abs(truth[row.first, row.label] - truth[row.second, row.label]).sum() / 2 for row in table.itertuples()
        ]
        too_low += bool((table["bound"] < distances).any())
    assert too_low <= binom.ppf(0.9999, 12, 0.2)
    # A negative control: the estimates are not above all of their truths.
    assert (table["estimate"] < distances).any()


# ---------------------------------------------------------------- groups


def test_the_worst_pair_of_groups_counts_and_all_hold_together():
    codes, group, _ = _rows()
    certificate = certify_codes(codes, pd.Series(group, name="origin"), n_codes=5)
    table = certificate.comparisons
    assert {frozenset(pair) for pair in zip(table["first"], table["second"], strict=True)} == {
        frozenset("ab"),
        frozenset("ac"),
        frozenset("bc"),
    }
    assert "c" in (certificate.worst["first"], certificate.worst["second"])
    two = certify_codes(codes[group != "b"], group[group != "b"], n_codes=5)
    assert certificate.bound > two.bound  # a third of the error probability each
    assert (table["n_first"] <= table["n_second"]).all()


def test_several_attributes_and_their_intersections():
    codes, group, _ = _rows()
    frame = pd.DataFrame({"origin": group, "sex": np.tile(["f", "m"], 1500)})
    certificate = certify_codes(codes, frame, n_codes=5)
    assert certificate.by_attribute.index.tolist() == ["origin", "sex"]
    assert certificate.by_attribute["origin"] == certificate.bound > certificate.by_attribute["sex"]
    assert f"{rounded_up(certificate.by_attribute['sex'])} by sex" in repr(certificate)
    sentence = certificate.sentence
    assert f"at most {rounded_up(certificate.bound)} by origin (between a, b and c of 3 groups; the highest" in sentence
    assert f"and at most {rounded_up(certificate.by_attribute['sex'])} by sex (" in sentence
    assert "All of this holds together." in sentence
    crossed = certify_codes(codes, frame, n_codes=5, intersections=True, method="l1")
    assert crossed.by_attribute.index.tolist() == ["origin", "sex", "origin & sex"]
    assert len(crossed.comparisons) == 3 + 1 + 15
    assert crossed.bound > certify_codes(codes, frame, n_codes=5, method="l1").bound


def test_rows_without_a_value_do_not_count():
    codes, group, _ = _rows()
    known = np.arange(len(codes)) % 3 > 0
    some = np.where(known, group, None)
    assert certify_codes(codes, some, n_codes=5).bound == certify_codes(codes[known], group[known], n_codes=5).bound


def test_a_quantity_takes_bins():
    codes, _, _ = _rows()
    age = {"age": np.random.RandomState(0).uniform(18, 80, len(codes))}
    with pytest.raises(ValueError, match=r"'age' is a quantity .* Pass bins="):
        certify_codes(codes, age, n_codes=5)
    certificate = certify_codes(codes, age, n_codes=5, bins={"age": [40]})
    assert {certificate.worst["first"], certificate.worst["second"]} == {"< 40", ">= 40"}


def test_labels_of_any_kind():
    codes, group, y = _rows()
    words = np.array(["no", "yes", "perhaps"])[y + (codes > 1)]
    certificate = certify_codes(codes, group, y=words, n_codes=5, constraints="equalized_odds")
    assert set(certificate.comparisons["label"]) == {"no", "yes", "perhaps"}
    opportunity = certify_codes(codes, group, y=words, n_codes=5, constraints="equal_opportunity", pos_label="yes")
    assert set(opportunity.comparisons["label"]) == {"yes"}
    assert "with label yes" in opportunity.sentence
    with pytest.raises(ValueError, match="pos_label=None is ambiguous"):
        certify_codes(codes, group, y=words, n_codes=5, constraints="equal_opportunity")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 1.0}, r"confidence=1.0: expected a number in \(0, 1\)"),
        ({"confidence": float("nan")}, "confidence=nan"),
        ({"method": "bootstrap"}, "method='bootstrap': expected one of"),
        ({"method": "dkw"}, "method='dkw'.*pass classifiers='monotone'"),
        ({"classifiers": "linear"}, "classifiers='linear': expected one of"),
        ({"constraints": "parity"}, "constraints='parity': expected one of"),
        ({"max_shift": 1.0}, r"max_shift=1.0: expected a share in \[0, 1\)"),
        ({"intersections": "yes"}, "intersections='yes': expected True or False"),
        ({"n_codes": 4}, r"codes: 4 lies outside \[0, n_codes=4\)"),
        ({"n_codes": 0}, "n_codes=0: expected an integer >= 1"),
        ({"n_codes": 5000}, "n_codes=5000 with 3000 rows: of more codes than rows"),
        ({"constraints": "equalized_odds"}, "constraints='equalized_odds' compares groups within labels, but y=None"),
        ({"constraints": "equalized_odds", "y": np.linspace(0.1, 0.9, 3000)}, "y is continuous"),
        ({"constraints": "equalized_odds", "y": np.zeros(9)}, "y has"),
        ({"sensitive_features": ["a"] * 3000}, r"has 1 group\(s\); a difference needs two"),
        ({"sensitive_features": ["a"] + ["b"] * 2999}, r"group\(s\) \['a'\] .* fewer than 2 rows"),
        ({"sensitive_features": ["a", "b"]}, "has 2 rows"),
        ({"codes": np.linspace(0, 1, 3000)}, "codes are of type float64: expected integers"),
        ({"codes": np.array([True, False] * 1500)}, "codes are of type bool"),
        ({"codes": np.zeros((3000, 1), dtype=int)}, r"codes has shape \(3000, 1\)"),
        ({"bins": [30]}, r"bins=\[30\]: expected a dict of edges by attribute"),
        ({"sensitive_features": None}, "sensitive_features=None: expected the attributes"),
    ],
)
def test_errors_name_the_argument_and_the_remedy(change, message):
    codes, group, _ = _rows()
    given = {"codes": codes, "sensitive_features": group, "y": None, "n_codes": 5, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        certify_codes(given.pop("codes"), given.pop("sensitive_features"), **given)


def test_a_group_that_lacks_a_label_is_refused():
    codes, group, y = _rows()
    y[group == "c"] = 0
    with pytest.raises(ValueError, match=r"group\(s\) \['c'\] .* fewer than 2 rows with label 1"):
        certify_codes(codes, group, y=y, n_codes=5, constraints="equalized_odds")


def test_a_group_that_fit_saw_must_not_be_left_out(fair):
    rows, group = X[HELD_OUT], A["group"][HELD_OUT].to_numpy()
    only = pd.Series(np.where(group == 1, 1, None), name="group")
    with pytest.raises(ValueError, match=r"no row of group\(s\) \[0\] of 'group', which fit saw"):
        certify(fair, rows, only)
    other = pd.Series(np.where(group == 1, "one", np.where(np.arange(len(group)) % 2, "two", "three")), name="group")
    with pytest.raises(
        ValueError, match=r"\[0, 1\] of 'group', which fit saw but of \['one', 'three', 'two'\], which it"
    ):
        certify(fair, rows, other)
    # Under another name they are another attribute.
    assert set(certify(fair, rows, other.rename("place")).comparisons["first"]) <= {"one", "two", "three"}


def test_the_label_is_no_attribute():
    named = pd.Series(Y, name="hired")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fair = FairLatentTransformer(n_codes=4, max_epochs=1, random_state=0)
        fair.fit(X[:500], named[:500], sensitive_features=A[:500])
    with pytest.raises(ValueError, match="sensitive_features: 'hired' is the label"):
        certify(fair, X[HELD_OUT], named[HELD_OUT])


def test_few_rows_are_warned_of():
    codes, group, y = _rows()
    group[20:] = np.where(group[20:] == "c", "a", group[20:])
    message = r"'c' has \d rows\. With so few, and 3 .* bounds below about 0\.\d\d are out of reach"
    with pytest.warns(SmallGroupWarning, match=message) as told:
        certificate = certify_codes(codes, group, n_codes=5)
    assert told[0].filename == __file__
    lowest = float(str(told[0].message).split("about ")[1][:4])
    assert certificate.bound > lowest - 0.005
    assert lowest > 0.3
    with pytest.warns(SmallGroupWarning, match="'c' has . rows with label"):
        certify_codes(codes, np.where(group == "b", "a", group), y=y, n_codes=5, constraints="equalized_odds")


def test_one_code_tells_nothing():
    certificate = certify_codes(np.zeros(100, dtype=int), ["a", "b"] * 50, n_codes=1)
    assert certificate.bound == certificate.estimate == 0
    assert "the single code" in certificate.sentence


def test_rows_of_codes_and_groups_are_matched_by_position():
    codes, group, _ = _rows()
    with pytest.raises(ValueError, match="the same index labels as X in another order"):
        certify_codes(pd.Series(codes), pd.Series(group, name="g").iloc[::-1], n_codes=5)
    assert certify_codes(codes.tolist(), list(group), n_codes=np.int64(5)).bound < 1


def test_confidence_is_not_rounded_up():
    codes, group, _ = _rows()
    certificate = certify_codes(codes, group, n_codes=5, confidence=1 - 1e-8, method="l1")
    assert "With 99.999999 % confidence" in certificate.sentence


def test_rows_of_the_training_part_are_refused(fair):
    with pytest.raises(ValueError, match=r"X: 2,500 of its 2,500 rows were in fit; chance explains \d+ at most"):
        certify(fair, X[:N_TRAIN], A[:N_TRAIN])
    with pytest.raises(ValueError, match="100 of its 3,600 rows were in fit"):
        certify(fair, np.r_[X[HELD_OUT], X[:100]], np.r_[A["group"][HELD_OUT], A["group"][:100]])


def test_numbers_without_codes_are_refused():
    plain = FairLatentTransformer(max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(X[:300], Y[:300], sensitive_features=A[:300])
    with pytest.raises(ValueError, match=r"Fit it with n_codes, such as FairLatentTransformer\(n_codes=8\)"):
        certify(plain, X[HELD_OUT], A[HELD_OUT])
    with pytest.raises(ValueError, match="sensitive_features=None: expected the attributes"):
        certify(plain, X[HELD_OUT], None)
    with pytest.raises(TypeError, match="certify: expected a FairLatentTransformer or a Pipeline"):
        certify(LogisticRegression(), X[HELD_OUT], A[HELD_OUT])


# ---------------------------------------------------------------- transformers and frames


def test_frames_of_any_kind_and_attributes_in_another_order(fair):
    bound = certify(fair, X[HELD_OUT], A[HELD_OUT]).bound
    assert certify(fair, X[HELD_OUT], pl.from_pandas(A)[N_TRAIN:]).bound == bound
    assert certify(fair, X[HELD_OUT].astype(np.float32), A[HELD_OUT]).bound == pytest.approx(bound, abs=0.003)
    frame = pd.DataFrame(X[HELD_OUT])
    with pytest.raises(ValueError, match="carries the same index labels as X in another order"):
        certify(fair, frame, A[HELD_OUT].reset_index(drop=True).iloc[::-1])


def test_of_a_pipeline_the_step_is_certified():
    fair = FairLatentTransformer(n_codes=5, max_epochs=10, random_state=0)
    pipeline = make_pipeline(StandardScaler(), fair, LogisticRegression())
    pipeline.fit(X[:N_TRAIN], Y[:N_TRAIN], fairlatenttransformer__sensitive_features=A[:N_TRAIN])
    certificate = certify(pipeline, X[HELD_OUT], A[HELD_OUT])
    step = pipeline[1]
    assert certificate.bound == certify(step, pipeline[0].transform(X[HELD_OUT]), A[HELD_OUT]).bound
    decided = pipeline.predict(X[HELD_OUT])
    found = demographic_parity_difference(decided, decided, sensitive_features=A[HELD_OUT])
    assert found <= certificate.estimate + 1e-12
    with pytest.raises(ValueError, match="were in fit"):
        certify(pipeline, X[:N_TRAIN], A[:N_TRAIN])


def test_of_a_search_the_best_pipeline_is_certified():
    pipeline = Pipeline([
        ("nothing", "passthrough"),
        ("fair", FairLatentTransformer(max_epochs=2, random_state=0)),
        ("classify", LogisticRegression()),
    ])  # fmt: skip
    search = GridSearchCV(pipeline, {"fair__n_codes": [3, 4]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X[:N_TRAIN], Y[:N_TRAIN], fair__sensitive_features=A[:N_TRAIN])
    certificate = certify(search, X[HELD_OUT], A[HELD_OUT])
    assert certificate.n_codes == search.best_params_["fair__n_codes"]


def test_the_constraint_is_the_transformers_own_if_none_is_given():
    fair = FairLatentTransformer(n_codes=4, constraints="equalized_odds", max_epochs=10, random_state=0)
    fair.fit(X[:N_TRAIN], Y[:N_TRAIN], sensitive_features=A[:N_TRAIN])
    certificate = certify(fair, X[HELD_OUT], A[HELD_OUT], y=Y[HELD_OUT])
    assert certificate.constraints == "equalized_odds"
    assert set(certificate.comparisons["label"]) == set(Y)
    assert certify(fair, X[HELD_OUT], A[HELD_OUT], constraints="demographic_parity").constraints == "demographic_parity"


# ---------------------------------------------------------------- words


def test_words_and_plain_values(fair):
    certificate = certify(fair, X[HELD_OUT], A[HELD_OUT])
    text = str(certificate)
    assert text == certificate.sentence
    start = "With 95 % confidence the demographic parity difference of any classifier that sees only the 6 codes"
    assert text.startswith(start)
    assert "by group (1 and 0, from" in text or "by group (0 and 1, from" in text
    sizes = A["group"][HELD_OUT].value_counts()
    assert f"{sizes.min():,} and {sizes.max():,} held-out rows" in text
    # In words the bound is rounded up, never down.
    written = float(repr(certificate).split("at most ")[1].split()[0])
    assert certificate.bound <= written < certificate.bound + 1e-4
    stored = json.loads(json.dumps(certificate.to_dict(), default=str))
    assert stored["bound"] == certificate.bound
    assert stored["sentence"] == text


def test_groups_may_be_tuples():
    codes, words = np.tile([0, 1, 1, 0, 1], 40), np.repeat(["f", "m"], 100)
    pairs = pd.Series([(word, 1) for word in words], name="group")
    plain = certify_codes(codes, pd.Series(words, name="group"), n_codes=2)
    assert certify_codes(codes, pairs, n_codes=2).bound == plain.bound
