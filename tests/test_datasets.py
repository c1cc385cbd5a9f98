"""Tests of the data sets: shipped tables, their rebuilding, and generated rows with known truth."""

import gzip
import pickle
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch
from threadpoolctl import threadpool_limits

from sklearn_fairlatent import datasets
from sklearn_fairlatent.datasets import load_adult, load_german, make_biased_latents

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = Path(datasets.__file__).parent / "data"

TABLES = {
    "adult": {
        "load": load_adult,
        "shape": (45222, 13),
        "label": "income",
        "values": {">50K", "<=50K"},
        "positive_share": 0.2478,
        "groups": {
            "sex": {"Female": 14695, "Male": 30527},
            "race": {
                "Amer-Indian-Eskimo": 435,
                "Asian-Pac-Islander": 1303,
                "Black": 4228,
                "Other": 353,
                "White": 38903,
            },
        },
        "absent": {"income", "sex"},
        "doi": "10.24432/C5XW20",
        "source_label": "salary",
    },
    "german": {
        "load": load_german,
        "shape": (1000, 18),
        "label": "credit_risk",
        "values": {"good", "bad"},
        "positive_share": 0.7,
        "groups": {"sex": {"female": 310, "male": 690}, "age": {"<25": 149, ">=25": 851}},
        "absent": {"credit_risk", "sex", "age"},
        "doi": "10.24432/C5NC77",
    },
}


@pytest.fixture(scope="module", params=list(TABLES))
def table(request):
    expected = TABLES[request.param]
    return expected["load"](), expected


def test_table_has_the_documented_parts(table):
    bunch, expected = table
    assert isinstance(bunch, Bunch)
    assert bunch.data.shape == expected["shape"]
    assert list(bunch.data.columns) == bunch.feature_names
    assert expected["absent"].isdisjoint(bunch.feature_names)
    assert bunch.target.name == expected["label"]
    assert set(bunch.target) == expected["values"]
    is_positive = bunch.target == bunch.positive_label
    assert is_positive.mean() == pytest.approx(expected["positive_share"], abs=1e-4)
    assert set(bunch.frame.columns) == {*bunch.feature_names, *expected["absent"], *expected["groups"]}
    groups = {name: column.value_counts().to_dict() for name, column in bunch.sensitive_features.items()}
    assert groups == expected["groups"]


def test_table_rows_belong_together(table):
    bunch, expected = table
    pd.testing.assert_frame_equal(bunch.data, bunch.frame[bunch.feature_names])
    pd.testing.assert_series_equal(bunch.target, bunch.frame[expected["label"]])
    pd.testing.assert_frame_equal(bunch.sensitive_features, bunch.frame[list(expected["groups"])].astype(object))


def test_table_columns_are_raw(table):
    bunch, _ = table
    assert not bunch.frame.isna().any(axis=None)
    assert {str(dtype) for dtype in bunch.data.dtypes} == {"int64", "category"}
    assert {str(dtype) for dtype in bunch.sensitive_features.dtypes} == {"object"}
    for _, column in bunch.frame.select_dtypes([object, "category"]).items():
        words = set(column)
        assert {type(word) for word in words} == {str}
        assert not any(word.isdigit() or word in ("", "?", "nan") or word.startswith("A1") for word in words)


def test_table_is_described_with_source_and_licence(table):
    bunch, expected = table
    for text in (bunch.DESCR, (SHIPPED / "LICENSES.md").read_text(encoding="utf-8")):
        assert expected["doi"] in text
        assert "CC BY 4.0" in text
        assert "Changes:" in text
    for name in bunch.frame.columns:
        assert f'"{name}"' in bunch.DESCR


def test_return_X_y(table):
    bunch, expected = table
    X, y = expected["load"](return_X_y=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.target)
    with pytest.raises(TypeError, match="positional"):
        expected["load"](True)


def test_tables_are_loaded_afresh():
    first = load_german()
    first.data.loc[0, "duration"] = -1
    first.sensitive_features.loc[0, "sex"] = "changed"
    assert first.frame.loc[0, "purpose"] == "radio or television"
    assert load_german().data.loc[0, "purpose"] == "radio or television"
    assert first.frame.loc[0, "sex"] == "male"


def test_adult_one_hot_has_the_width_of_the_benchmarks():
    adult = load_adult()
    assert pd.get_dummies(adult.data).shape == (45222, 102)
    assert adult.data.select_dtypes("int64").max().to_dict() == {
        "age": 90,
        "fnlwgt": 1490400,
        "education-num": 16,
        "capital-gain": 99999,
        "capital-loss": 4356,
        "hours-per-week": 99,
    }


def test_shipped_files_are_small():
    sizes = [(SHIPPED / f"{name}.csv.gz").stat().st_size for name in TABLES]
    assert 100_000 < sum(sizes) < 1_000_000


def test_import_needs_no_torch():
    # A stand-in for the parent package keeps its own __init__, which imports torch, out of the picture.
    code = (
        "import sys, types; parent = types.ModuleType('sklearn_fairlatent'); "
        f"parent.__path__ = [{str(ROOT / 'sklearn_fairlatent')!r}]; "
        "sys.modules['sklearn_fairlatent'] = parent; "
        "import sklearn_fairlatent.datasets as d; d.load_german(); d.make_biased_latents(10); "
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# Rebuilding ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "make_datasets.py")))


@pytest.fixture
def source(script, tmp_path):
    """Return a folder with the shipped tables in the form of the source: one-hot, with codes."""
    adult = load_adult().frame.rename(columns={"income": "salary"})
    pd.get_dummies(adult, dtype=int).to_csv(tmp_path / "adult.csv.zip", index=False)
    german = load_german().frame
    for name, words in script.GERMAN_WORDS.items():
        code_of = {word: code for code, word in words.items()}
        assert len(code_of) == len(words)
        german[name] = german[name].map(code_of)
    german = german.rename(columns=script.GERMAN_COLUMNS)
    for name in ("sex", "age", "credit-label"):
        german[name] = german[name].astype(int)
    german["sex-age"] = 0
    pd.get_dummies(german, dtype=int).to_csv(tmp_path / "german.csv", index=False)
    return tmp_path


def test_script_rebuilds_the_shipped_rows(script, source, capsys):
    script.main([str(source), "--output", str(source)])
    assert "adult.csv.gz: 45222 rows, 15 columns" in capsys.readouterr().out
    for name in TABLES:
        rebuilt, shipped = ((folder / f"{name}.csv.gz").read_bytes() for folder in (source, SHIPPED))
        assert gzip.decompress(rebuilt) == gzip.decompress(shipped)
        # Flags, time of writing: nothing in the header but the level of compression and the system.
        assert rebuilt[3:8] == shipped[3:8] == bytes(5)


def test_script_writes_the_same_bytes_again(script, tmp_path):
    for path in (tmp_path / "one.gz", tmp_path / "two.gz"):
        script.write(load_german().frame, path)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_script_refuses_other_tables(script):
    frame = pd.DataFrame({"age": [20, 30], "sex_Male": [1, 1], "sex_Female": [0, 1]})
    with pytest.raises(ValueError, match="'sex' are not one-hot"):
        script.fold_one_hot(frame, ["age", "sex"])
    with pytest.raises(ValueError, match="'race' are not one-hot"):
        script.fold_one_hot(frame, ["age", "race"])
    with pytest.raises(ValueError, match="'age' has the codes \\['20', '30'\\]"):
        script.translate(frame, "age", {"0": "<25"})


# Generated rows ------------------------------------------------------------------------------------------

MIXED = ("binary", "categorical", "continuous", "binary")


def column_of(bunch, attr):
    """Return the values of an attribute or of the target."""
    return bunch.target if attr == "target" else bunch.sensitive_features[attr].to_numpy()


def step_and_misses(bunch, attr):
    """Return, for every row and every other group, the true step's length and the miss of the mean shift."""
    own = column_of(bunch, attr)
    steps, misses = [], []
    for value in np.unique(own):
        moved = own != value
        X, X_cf = bunch.data[moved], bunch.truth.counterfactual(attr, value)[moved]
        own_means = np.array([bunch.data[own == group].mean(axis=0) for group in own[moved]])
        X_shift = X + bunch.data[own == value].mean(axis=0) - own_means
        steps.append(np.linalg.norm(X_cf - X, axis=1))
        misses.append(np.linalg.norm(X_shift - X_cf, axis=1))
    return np.concatenate(steps), np.concatenate(misses)


def shift_miss(bunch, attr):
    """Return the mean miss of the group-mean shift relative to the mean true step."""
    steps, misses = step_and_misses(bunch, attr)
    return misses.mean() / steps.mean()


@pytest.mark.parametrize("seed", range(5))
def test_mean_shift_misses_the_truth_by_default(seed):
    bunch = make_biased_latents(random_state=seed)
    plain = make_biased_latents(correlation=0, nonlinearity=0, random_state=seed)
    for attr in ("group", "target"):
        assert shift_miss(bunch, attr) >= 0.40
        assert shift_miss(plain, attr) < shift_miss(bunch, attr)


@pytest.mark.parametrize("seed", range(5))
def test_mean_shift_misses_the_truth_for_several_attributes(seed):
    bunch = make_biased_latents(400, sensitive=MIXED, task="multiclass", random_state=seed)
    for attr in ("group", "category", "group_2", "target"):
        assert shift_miss(bunch, attr) >= 0.40


@pytest.mark.parametrize(("n_features", "seed"), [(8, 0), (16, 1), (16, 2), (64, 3)])
def test_attributes_and_label_are_predictable(n_features, seed):
    bunch = make_biased_latents(n_features=n_features, sensitive=MIXED[:3], random_state=seed)
    train, test = slice(None, 700), slice(700, None)
    # One thread: small boostings are slowed down, not sped up, by more, above all on a busy machine.
    with threadpool_limits(1):
        for attr in ("group", "category", "target"):
            own = column_of(bunch, attr)
            probe = HistGradientBoostingClassifier(max_iter=40, random_state=0)
            scores = probe.fit(bunch.data[train], own[train]).predict_proba(bunch.data[test])
            scores = scores[:, 1] if scores.shape[1] == 2 else scores
            assert roc_auc_score(own[test], scores, multi_class="ovr") > 0.8
        level = column_of(bunch, "level")
        probe = HistGradientBoostingRegressor(max_iter=40, random_state=0)
        assert probe.fit(bunch.data[train], level[train]).score(bunch.data[test], level[test]) > 0.25


def test_the_bunch_has_the_documented_parts():
    bunch = make_biased_latents(50, 7, sensitive=MIXED, random_state=0)
    assert bunch.data.shape == bunch.latents.shape == (50, 7)
    assert bunch.data.dtype == np.float64
    assert list(bunch.sensitive_features) == ["group", "category", "level", "group_2"]
    assert bunch.sensitive_features.dtypes.astype(str).to_list() == ["int64", "object", "float64", "int64"]
    names = ["target", "group", "category", "level", "group_2", "residual_0", "residual_1"]
    assert list(bunch.latents) == bunch.truth.latent_names == names
    np.testing.assert_array_equal(bunch.latents, bunch.truth.latents)
    assert make_biased_latents(5, 2, sensitive="binary", random_state=0).data.shape == (5, 2)


@pytest.mark.parametrize(
    ("task", "dtype", "values"),
    [("binary", np.int64, {0, 1}), ("multiclass", np.int64, {0, 1, 2, 3}), ("regression", np.float64, None)],
)
def test_the_label_follows_the_task(task, dtype, values):
    target = make_biased_latents(300, task=task, n_classes=4, random_state=0).target
    assert target.dtype == dtype
    assert len(set(target)) == 300 if values is None else set(target) == values


def test_groups_are_equally_frequent():
    bunch = make_biased_latents(20_000, sensitive=("binary", "categorical"), n_groups=4, random_state=0)
    for attr, n_groups in (("target", 2), ("group", 2), ("category", 4)):
        shares = pd.Series(column_of(bunch, attr)).value_counts(normalize=True)
        assert len(shares) == n_groups
        np.testing.assert_allclose(shares, 1 / n_groups, atol=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_correlation_is_as_asked(correlation):
    two = ("binary", "binary")
    bunch = make_biased_latents(20_000, sensitive=two, correlation=correlation, random_state=0)
    phi = np.corrcoef(bunch.target, bunch.sensitive_features.T)
    np.testing.assert_allclose(phi[0, 1:], 2 / np.pi * np.arcsin(correlation), atol=0.03)
    np.testing.assert_allclose(phi[1, 2], 2 / np.pi * np.arcsin(correlation**2), atol=0.03)
    scores = make_biased_latents(
        20_000, sensitive=("continuous",), task="regression", correlation=correlation, random_state=0
    )
    r = np.corrcoef(scores.target, scores.sensitive_features["level"])[0, 1]
    assert r == pytest.approx(correlation, abs=0.03)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_features=st.integers(5, 40),
    nonlinearity=st.floats(0, 2),
    scale=st.floats(1, 100),
)
@settings(max_examples=40, deadline=None)
def test_the_map_is_invertible(seed, n_features, nonlinearity, scale):
    truth = make_biased_latents(1, n_features, sensitive=MIXED, nonlinearity=nonlinearity, random_state=seed).truth
    latents = scale * np.random.default_rng(seed).normal(size=(20, n_features))
    X = truth.from_latent(latents)
    np.testing.assert_allclose(truth.to_latent(X), latents, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(truth.from_latent(truth.to_latent(X)), X, rtol=0, atol=1e-10 * scale)


def test_nonlinearity_zero_is_a_rotation():
    bent, straight = (make_biased_latents(random_state=0, nonlinearity=bend) for bend in (1.0, 0.0))
    for bunch, is_rotation in ((straight, True), (bent, False)):
        lengths = [np.linalg.norm(rows, axis=1) for rows in (bunch.data, bunch.latents)]
        assert np.allclose(*lengths) == is_rotation


@given(seed=st.integers(0, 2**32 - 1), task=st.sampled_from(["binary", "multiclass", "regression"]))
@settings(max_examples=25, deadline=None)
def test_own_value_is_the_row_itself(seed, task):
    bunch = make_biased_latents(20, sensitive=MIXED, task=task, random_state=seed)
    for attr in ("target", *bunch.sensitive_features):
        X_own = bunch.truth.counterfactual(attr, column_of(bunch, attr))
        np.testing.assert_allclose(X_own, bunch.data, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("attr", "value"), [("group", None), ("category", "b"), ("level", 0.7), ("group_2", 0), ("target", 1)]
)
def test_a_counterfactual_moves_only_its_factor(attr, value):
    bunch = make_biased_latents(500, sensitive=MIXED, random_state=3)
    latents = bunch.truth.to_latent(bunch.truth.counterfactual(attr, value))
    moved = np.abs(latents - bunch.latents.to_numpy()).max(axis=0) > 1e-9
    assert [name for name, has_moved in zip(bunch.latents, moved, strict=True) if has_moved] == [attr]


@pytest.mark.parametrize(("attr", "value"), [("group", 1), ("category", "c"), ("target", 0)])
def test_the_rank_in_the_group_is_kept_and_the_other_group_is_met(attr, value):
    bunch = make_biased_latents(3000, sensitive=MIXED, random_state=4)
    own = column_of(bunch, attr)
    before = bunch.latents[attr].to_numpy()
    j = list(bunch.latents).index(attr)
    after = bunch.truth.to_latent(bunch.truth.counterfactual(attr, value))[:, j]
    for group in np.unique(own[own != value]):
        rows = own == group
        np.testing.assert_array_equal(np.argsort(before[rows]), np.argsort(after[rows]))
        assert ks_2samp(after[rows], before[own == value])[1] > 0.001
        # The control: the test does tell the groups apart before.
        assert ks_2samp(before[rows], before[own == value])[1] < 1e-6


def test_forms_of_asking_for_a_counterfactual():
    bunch = make_biased_latents(40, sensitive=MIXED, random_state=0)
    ask = bunch.truth.counterfactual
    group = bunch.sensitive_features["group"]
    np.testing.assert_array_equal(ask("group"), ask("group", 1 - group))
    np.testing.assert_array_equal(ask("group"), ask(["group"], (1 - group).to_list()))
    np.testing.assert_array_equal(ask("group"), ask("group", {"group": 1 - group}))
    np.testing.assert_array_equal(ask("category", "a"), ask("category", ["a"] * 40))
    np.testing.assert_array_equal(ask("level", -1), ask("level", np.full(40, -1.0)))
    np.testing.assert_allclose(ask([], None), bunch.data)
    both = ask(["group", "category"], {"category": "b"})
    latents = bunch.truth.to_latent(both)
    for name, single in (("group", ask("group")), ("category", ask("category", "b"))):
        j = list(bunch.latents).index(name)
        np.testing.assert_allclose(latents[:, j], bunch.truth.to_latent(single)[:, j], atol=1e-9)


def test_same_seed_same_bits():
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global generator is what is tested
    first, second, other = (make_biased_latents(30, random_state=seed) for seed in (7, 7, 8))
    from_instance = make_biased_latents(30, random_state=np.random.RandomState(7))
    for same in (second, from_instance):
        np.testing.assert_array_equal(first.data, same.data)
        np.testing.assert_array_equal(first.target, same.target)
        pd.testing.assert_frame_equal(first.sensitive_features, same.sensitive_features)
    assert not np.allclose(first.data, other.data)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002 - the global generator is what is tested


def test_one_seed_is_one_map():
    small, large = (make_biased_latents(n, random_state=5).truth for n in (10, 200))
    np.testing.assert_allclose(small.from_latent(np.eye(16)), large.from_latent(np.eye(16)), atol=1e-12)


def test_the_truth_can_be_pickled():
    truth = make_biased_latents(30, sensitive=MIXED, random_state=0).truth
    copy = pickle.loads(pickle.dumps(truth))
    np.testing.assert_array_equal(copy.counterfactual("category", "b"), truth.counterfactual("category", "b"))


def test_the_truth_survives_changes_to_the_bunch():
    bunch = make_biased_latents(30, task="regression", sensitive=MIXED, random_state=0)
    expected = bunch.truth.counterfactual(["group", "target"], {"target": 0.0})
    bunch.data[:] = 0
    bunch.target[:] = 0
    bunch.latents.iloc[:] = 0
    bunch.sensitive_features["group"] = 0
    np.testing.assert_array_equal(bunch.truth.counterfactual(["group", "target"], {"target": 0.0}), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, r"n_samples=0 does not fit. Pass an integer in \[1, inf\)"),
        ({"n_samples": 2.5}, "n_samples=2.5"),
        ({"n_samples": True}, "n_samples=True"),
        ({"n_features": 2, "sensitive": ("binary", "binary")}, r"n_features=2 does not fit.*\[3, inf\)"),
        ({"n_groups": 1}, r"n_groups=1.*\[2, 27\)"),
        ({"n_groups": 27}, "n_groups=27"),
        ({"n_classes": 1}, "n_classes=1"),
        ({"correlation": 1.0}, r"correlation=1.0 does not fit. Pass a number in \[0, 1\)"),
        ({"correlation": -0.1}, "correlation=-0.1"),
        ({"correlation": float("nan")}, "correlation=nan"),
        ({"correlation": "high"}, "correlation='high'"),
        ({"nonlinearity": -1}, "nonlinearity=-1"),
        ({"nonlinearity": float("inf")}, "nonlinearity=inf"),
        ({"task": "ranking"}, "task='ranking' is not known. Pass one of"),
        ({"sensitive": ()}, r"sensitive=\(\) does not fit"),
        ({"sensitive": ("binary", "ordinal")}, "Pass one or more of"),
        ({"random_state": "seed"}, "cannot be used to seed"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_biased_latents(**arguments)


@pytest.mark.parametrize(
    ("attr", "value", "message"),
    [
        ("age", None, "attr='age' is not known. Pass one or more of"),
        (3, None, "attr=3 is not known"),
        ("category", None, "value=None is ambiguous for 'category', which has 3 groups"),
        ("level", None, "value=None does not fit 'level', which is continuous"),
        ("level", "much", "value='much' does not fit 'level'"),
        ("level", float("nan"), "value=nan does not fit 'level'"),
        ("level", [0.0, 1.0], r"value has shape \(2,\) for 'level'"),
        ("group", 2, "value=2 is not a group of 'group'"),
        ("group", "0", "value='0' is not a group of 'group'"),
        ("group", float("nan"), "value=nan is not a group"),
        ("category", ["a", "b"], r"value has shape \(2,\) for 'category'. Pass a scalar, or 10 values"),
        (["group", "category"], "b", "does not say which of attr="),
        (["group"], {"category": "b"}, "value has an entry 'category'"),
        (["group", "category"], None, "value=None is ambiguous for 'category'"),
    ],
)
def test_bad_questions_are_named(attr, value, message):
    truth = make_biased_latents(10, sensitive=MIXED, random_state=0).truth
    with pytest.raises(ValueError, match=message):
        truth.counterfactual(attr, value)


def test_rows_of_another_width_are_named():
    truth = make_biased_latents(10, random_state=0).truth
    with pytest.raises(ValueError, match=r"X has shape \(3, 4\). Pass an array of shape \(n_rows, 16\)"):
        truth.to_latent(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"latents has shape \(16,\)"):
        truth.from_latent(np.zeros(16))
