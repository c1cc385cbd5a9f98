"""The finite code: which cells there are, what is handed on, and what stays as it was."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent._codebook import Codebook, _joined, _runs, group_gaps
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.certification import certify
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.inspection import _measuring, _report, fairness_report

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn_fairlatent.PenaltyIneffectiveWarning", "ignore::sklearn_fairlatent.LabelLostWarning"
)

DATA = make_biased_latents(1200, 8, sensitive=("binary", "categorical"), random_state=0)
X, Y, A = DATA.data, DATA.target, DATA.sensitive_features
OLD, NEW = slice(0, 700), slice(700, None)


def fit(n_codes=5, y=Y, attributes=A[["group"]], **params):
    fair = FairLatentTransformer(n_codes=n_codes, **{"max_epochs": 3, "random_state": 0, **params})
    return fair.fit(X[OLD], None if y is None else y[OLD], sensitive_features=attributes[OLD])


@pytest.fixture(scope="module")
def fair():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(max_epochs=15)


# ---------------------------------------------------------------- choosing cells


def _worth(code, counts, told, gaps):
    """What a code tells less what it shows, as the two searches see it."""
    total = 0.0
    for k in np.unique(code):
        own = code == k
        mean = np.average(told[own], axis=0, weights=counts[own])
        total += counts[own].sum() * (mean**2).sum() - 0.5 * np.abs(gaps[own].sum(axis=0)).sum()
    return total


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 7), st.sampled_from([0.0, 0.3, 3.0]))
def test_runs_are_the_best_of_all(seed, size, n_codes, strength):
    rng = np.random.RandomState(seed)
    counts, told, gaps = rng.randint(1, 9, size).astype(float), rng.normal(size=(size, 2)), rng.normal(size=(size, 2))
    n_codes = min(n_codes, size)
    found = _runs(counts, told, strength * gaps, n_codes)
    assert found[0] == 0
    assert set(np.diff(found)) <= {0, 1}
    assert found[-1] == n_codes - 1
    best = -np.inf
    for number in range(2 ** (size - 1)):
        begins = [number >> k & 1 for k in range(size - 1)]
        if sum(begins) == n_codes - 1:
            best = max(best, _worth(np.r_[0, np.cumsum(begins)], counts, told, strength * gaps))
    assert _worth(found, counts, told, strength * gaps) == pytest.approx(best)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 12))
def test_cells_that_are_joined_are_the_nearest(seed, size, n_codes):
    rng = np.random.RandomState(seed)
    counts, told = rng.randint(1, 9, size).astype(float), rng.normal(size=(size, 1))
    code = _joined(counts, told, np.zeros((size, 0)), min(n_codes, size))
    assert set(code) == set(range(min(n_codes, size)))
    # Of a single number that is told, cells are runs of it.
    assert (np.diff(code[np.argsort(told[:, 0])]) != 0).sum() == code.max()


def test_gaps_of_a_cell_sum_to_the_difference_of_the_groups():
    rng = np.random.RandomState(0)
    member, cell = rng.randint(2, size=(300, 1)).astype(float), rng.randint(4, size=300)
    member[:20] = np.nan
    strata = rng.randint(-1, 2, size=300)
    gaps = group_gaps(member, strata, np.ones(1))
    assert gaps.shape == (300, 2)
    for k, stratum in enumerate((0, 1)):
        inside, outside = ((strata == stratum) & (member[:, 0] == value) for value in (1, 0))
        expected = (cell[inside] == 2).mean() - (cell[outside] == 2).mean()
        assert 2 * gaps[cell == 2, k].sum() == pytest.approx(expected)


def test_attributes_count_alike_however_many_groups_they_have():
    rng = np.random.RandomState(0)
    members = np.column_stack([rng.randint(2, size=300), np.eye(4)[rng.randint(4, size=300)]])
    gaps = group_gaps(members, np.zeros(300, dtype=int), np.array([1.0, 0.25, 0.25, 0.25, 0.25]))
    sizes = np.abs(gaps).sum(axis=0)  # each twice its weight
    np.testing.assert_allclose(sizes, [1, 0.25, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("n_rows", [60, 400])
def test_also_of_few_rows_cells_are_chosen(n_rows):
    rng = np.random.RandomState(0)
    z, group = rng.normal(size=(n_rows, 1)), rng.randint(2, size=(n_rows, 1)).astype(float)
    z += group
    y = rng.random_sample(n_rows) < 1 / (1 + np.exp(-z[:, 0]))
    gaps = group_gaps(group, np.zeros(n_rows, dtype=int), np.ones(1))
    plain, even = (
        Codebook.fit(z, np.column_stack([y, ~y]).astype(float), gaps, 6, strength=strength, are_classes=True, seed=0)
        for strength in (0.0, 1000.0)
    )
    assert (plain.assign(z) != even.assign(z)).any()


def test_a_higher_strength_lowers_the_distance_between_groups():
    rng = np.random.RandomState(0)
    z, group = rng.normal(size=4000), rng.randint(2, size=4000)
    z += 0.5 * group
    y = (rng.random_sample(4000) < 1 / (1 + np.exp(-z))).astype(float)
    gaps = group_gaps(group[:, None].astype(float), np.zeros(4000, dtype=int), np.ones(1))
    distances = []
    for strength in (0.0, 1.0, 1000.0):
        book = Codebook.fit(
            z[:, None], np.column_stack([y, 1 - y]), gaps, 6, strength=strength, are_classes=True, seed=0
        )
        cells = book.assign(z[:, None])
        p, q = (np.bincount(cells[group == value], minlength=book.n_codes) / (group == value).sum() for value in (0, 1))
        distances.append(0.5 * np.abs(p - q).sum())
    assert distances[0] >= distances[1] >= distances[2]
    assert distances[2] < 0.6 * distances[0]


def test_an_edge_lies_where_decisions_change():
    z = np.linspace(0, 1, 4000)[:, None]
    y = np.random.RandomState(0).random_sample(4000) < 0.8 * z[:, 0] ** 3
    targets = np.column_stack([y, ~y]).astype(float)
    book = Codebook.fit(z, targets, np.zeros((4000, 0)), 2, strength=0.0, are_classes=True, seed=0)
    edge = z[np.argmax(book.assign(z) == 1), 0]
    assert edge == pytest.approx((0.5 / 0.8) ** (1 / 3), abs=0.05)


# ---------------------------------------------------------------- what is handed on


LABELS = {
    "classes": Y,
    "none": None,
    "numbers": Y.astype(float) + X[:, 0],
    "three": np.where(X[:, 0] > 1, "high", np.where(Y, "a", "b")),
}


@pytest.mark.parametrize("n_components", ["auto", 3, None])
@pytest.mark.parametrize("label", LABELS)
def test_at_most_n_codes_different_rows_are_handed_on(n_components, label):
    fair = fit(7, y=LABELS[label], n_components=n_components, attributes=A)
    Z, codes = fair.transform(X), fair.to_codes(X)
    assert Z.shape == (len(X), fair.latent_layout_.n_handed_on)
    assert 2 <= fair.codebook_.n_codes <= 7
    assert codes.min() >= 0
    assert codes.max() < fair.codebook_.n_codes
    np.testing.assert_array_equal(Z, fair.codebook_.representatives[codes])
    assert len(np.unique(Z, axis=0)) == len(np.unique(codes))
    # A representative lies in its own cell, so that there and back is the same code.
    own = fair.codebook_.assign(fair.codebook_.representatives)
    np.testing.assert_array_equal(own, np.arange(fair.codebook_.n_codes))
    np.testing.assert_allclose(fair.transform(fair.inverse_transform(Z)), Z)


def test_the_bijection_and_counterfactuals_do_not_know_of_cells(fair):
    plain = fit(None, max_epochs=15)
    for name, value in plain.flow_.state_dict().items():
        assert torch.equal(value, fair.flow_.state_dict()[name])
    np.testing.assert_array_equal(fair.to_latent(X), plain.to_latent(X))
    given = {"sensitive_features": A[["group"]]}
    np.testing.assert_array_equal(fair.counterfactual(X, "group", **given), plain.counterfactual(X, "group", **given))
    assert np.abs(fair.from_latent(fair.to_latent(X)) - X).max() < 1e-8
    assert len(np.unique(plain.transform(X))) > 1000


def test_the_label_is_kept(fair):
    plain = fit(None, max_epochs=15)
    scores = []
    for transformer in (fair, plain):
        model = LogisticRegression().fit(transformer.transform(X[OLD]), Y[OLD])
        scores.append(roc_auc_score(Y[NEW], model.predict_proba(transformer.transform(X[NEW]))[:, 1]))
    assert scores[1] > 0.65
    assert scores[0] > scores[1] - 0.03


@pytest.mark.parametrize("label", [Y, 1 - Y])
def test_codes_ascend_with_the_mean_label(label):
    for fair in (fit(4, y=label, max_epochs=15), fit(6, y=label, n_components=3)):
        codes = fair.to_codes(X[OLD])
        rates = [label[OLD][codes == code].mean() for code in range(fair.codebook_.n_codes)]
        assert np.corrcoef(rates, range(len(rates)))[0, 1] > 0.9
        if fair.latent_layout_.n_handed_on == 1:
            assert len(set(np.sign(np.diff(fair.codebook_.representatives[:, 0])))) == 1
        else:
            assert (np.diff(rates) > 0).all()


def test_float32_rows_give_float32_codes(fair):
    Z = fair.transform(X.astype(np.float32))
    assert Z.dtype == np.float32
    assert (fair.to_codes(X.astype(np.float32)) == fair.to_codes(X)).mean() > 0.99


def test_a_seed_gives_the_same_code_and_a_pickle_keeps_it(fair):
    again = clone(fair).fit(X[OLD], Y[OLD], sensitive_features=A[["group"]][OLD])
    loaded = pickle.loads(pickle.dumps(fair))
    for other in (again, loaded):
        np.testing.assert_array_equal(other.codebook_.representatives, fair.codebook_.representatives)
        np.testing.assert_array_equal(other.to_codes(X), fair.to_codes(X))
    assert repr(fair.codebook_) == "Codebook(5 codes of 1 column(s))"


def test_rows_of_two_values_make_two_cells():
    rows = np.tile([[0.0], [1.0]], (50, 1))
    fair = FairLatentTransformer(n_codes=8, max_epochs=1, random_state=0)
    fair.fit(rows, np.tile([0, 1], 50), sensitive_features=np.arange(100) // 50)
    assert len(np.unique(fair.transform(rows))) == 2


# ---------------------------------------------------------------- parameters and state


@pytest.mark.parametrize("n_codes", [1, 0, 513, 2.0, True, "8"])
def test_a_number_of_codes_that_makes_no_sense(n_codes):
    with pytest.raises(ValueError, match=r"n_codes=.*: expected None or an integer in \[2, 512\]"):
        fit(n_codes)


def test_more_codes_than_rows():
    fair = FairLatentTransformer(n_codes=50, max_epochs=1)
    with pytest.raises(ValueError, match="n_codes=50: X has only 40 rows to make cells of"):
        fair.fit(X[:40], Y[:40], sensitive_features=A["group"][:40])


def test_without_n_codes_there_is_no_code():
    plain = fit(None)
    assert not hasattr(plain, "to_codes")
    assert not hasattr(plain, "codebook_")
    plain.set_params(n_codes=4)
    with pytest.raises(ValueError, match=r"n_codes=4 was set after fit.* Call fit again"):
        plain.to_codes(X)


def test_a_parameter_changed_after_fit_changes_nothing_yet(fair):
    other = pickle.loads(pickle.dumps(fair)).set_params(n_codes=None)
    np.testing.assert_array_equal(other.transform(X), fair.transform(X))
    assert certify(other, X[NEW], A[["group"]][NEW]).bound == certify(fair, X[NEW], A[["group"]][NEW]).bound
    other.fit(X[OLD], Y[OLD], sensitive_features=A[["group"]][OLD])
    assert not hasattr(other, "codebook_")
    assert not hasattr(other, "_fingerprint")


def test_a_warm_start_remembers_the_rows_of_all_fits():
    fair = fit(4, warm_start=True)
    part = slice(600, 1000)
    fair.fit(X[part], Y[part], sensitive_features=A[["group"]][part])
    for seen in (slice(0, 600), part):
        with pytest.raises(ValueError, match="were in fit"):
            certify(fair, X[seen], A[["group"]][seen])
    assert certify(fair, X[1000:], A[["group"]][1000:]).bound < 1
    plain = fit(None, warm_start=True).set_params(n_codes=4)
    with pytest.raises(ValueError, match=r"n_codes=4 with warm_start=True: the last fit had n_codes=None"):
        plain.fit(X[OLD], Y[OLD], sensitive_features=A[["group"]][OLD])


# ---------------------------------------------------------------- other rooms


def test_frames_with_the_attribute_inside():
    frame = pd.DataFrame(X).add_prefix("x").assign(kind=np.where(X[:, 1] > 0, "up", "down"), sex=A["group"].to_numpy())
    fair = FairLatentTransformer(
        n_codes=4, encoder=TabularCodec(), sensitive_columns=["sex"], max_epochs=3, random_state=0
    ).fit(frame[OLD], Y[OLD])
    bound = certify(fair, frame[NEW], frame["sex"][NEW]).bound
    assert certify(fair, frame[NEW].drop(columns="sex"), frame["sex"][NEW]).bound == bound
    assert fair.set_output(transform="pandas").transform(frame).iloc[:, 0].nunique() <= 4
    with pytest.raises(ValueError, match="were in fit"):
        certify(fair, frame[OLD], frame["sex"][OLD])


def test_partners_come_from_a_transformer_with_codes(fair):
    sampler = LatentFlipSampler(transformer=fair, random_state=0)
    rows, label = sampler.fit_resample(X[OLD], Y[OLD], sensitive_features=A["group"][OLD])
    assert len(rows) == len(label) > 700


@pytest.fixture
def quick_report(monkeypatch):
    """Probes and pictures take the time, and are tested elsewhere."""
    monkeypatch.setattr(_measuring, "PROBES", {"linear": LogisticRegression()})
    monkeypatch.setattr(_report, "draw", lambda *_: {})


@pytest.mark.usefixtures("quick_report")
def test_a_report_has_a_line_or_says_why_not(fair):
    report = fairness_report(
        fair, X[NEW], Y[NEW], sensitive_features=A[["group"]][NEW], counterfactual_rows=0, random_state=0
    )
    certificate = certify(fair, X[NEW], A[["group"]][NEW])
    assert certificate.sentence in report.summary
    assert report.summary[-1].startswith("Apart from that bound, this is a measurement")
    assert report.latent["certificate"]["bound"] == certificate.bound
    assert "demographic parity difference at most" in report.to_html()
    assert f'"bound": {certificate.bound}' in report.to_json()
    told = report.to_frame().query("measure == 'certified_bound'")["value"]
    assert told.tolist() == [certificate.bound]
    seen = fairness_report(
        fair, X[OLD], Y[OLD], sensitive_features=A[["group"]][OLD], counterfactual_rows=0, random_state=0
    )
    assert seen.latent["certificate"] is None
    assert any(note.startswith("No certificate: X: 700 of its 700 rows were in fit") for note in seen.notes)
    assert seen.summary[-1].startswith("This is a measurement")


@pytest.mark.usefixtures("quick_report")
def test_a_report_certifies_the_groups_that_are_large_enough(fair):
    group = A["group"][NEW].to_numpy().astype(object)
    group[:3] = "few"
    given = {"sensitive_features": pd.Series(group, name="group"), "counterfactual_rows": 0, "random_state": 0}
    report = fairness_report(fair, X[NEW], Y[NEW], **given)
    assert "few" not in report.latent["certificate"]["sentence"]
    odds = fit(4, constraints="equalized_odds")
    label = Y[NEW].copy()
    label[group == 1] = 0
    label[np.flatnonzero(group == 1)[0]] = 1
    refused = fairness_report(odds, X[NEW], label, **given)
    assert refused.latent["certificate"] is None
    assert any("No certificate" in note and "fewer than 2 rows with label 1" in note for note in refused.notes)
