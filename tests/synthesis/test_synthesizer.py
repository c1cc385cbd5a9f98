"""FairSynthesizer as scikit-learn's users expect it: input, output, errors, seeds, teachers, vectors, images."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback
from torch import nn

from sklearn_fairlatent import FairLatentTransformer, LabelLostWarning, MissingSensitiveWarning, TabularCodec
from sklearn_fairlatent.datasets import load_german
from sklearn_fairlatent.synthesis import FairSynthesizer
from sklearn_fairlatent.synthesis import _teacher as teacher_room

from .rows import quick, quick_teacher, table, table_teacher, vectors


# The checks fit without an attribute: the warning about that is right.
@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.MissingSensitiveWarning")
@parametrize_with_checks([FairSynthesizer(FairLatentTransformer(max_epochs=1), max_epochs=2)])
def test_estimator_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- what comes out


def test_rows_are_of_the_kind_of_those_that_were_learnt(of_table, frame):
    X, y, A = of_table.sample(300)
    pd.testing.assert_series_equal(X.dtypes, frame[0].dtypes)
    assert isinstance(y, pd.Series)
    assert (y.name, y.dtype) == ("hired", frame[1].dtype)
    assert list(A.columns) == ["sex"]
    assert A["sex"].dtype == frame[0]["sex"].dtype
    assert (X["sex"] == A["sex"]).all()
    for name in ("age", "pay", "gain", "since", "children"):
        assert X[name].dropna().between(frame[0][name].min(), frame[0][name].max()).all()
    assert 0 < X["pay"].isna().mean() < 0.3


def test_a_polars_frame_gives_polars_frames(frame):
    X, y = pl.from_pandas(frame[0].drop(columns="sex")), pl.Series("hired", frame[1].to_list())
    A = pl.DataFrame({"sex": frame[0]["sex"].to_list()})
    made = quick(table_teacher()).fit(X, y, sensitive_features=A).sample(50)
    assert made[0].schema == X.schema
    assert (made[1].name, made[1].dtype) == ("hired", pl.String)
    assert made[2].schema == A.schema


def test_attributes_of_two_libraries_come_in_the_kind_of_the_rows(frame):
    X, y = pl.from_pandas(frame[0]), frame[1]
    club = pd.Series(np.where(frame[0]["member"], "in", "out"), name="club")
    made, _, A = quick(table_teacher(), sensitive_columns=["sex"]).fit(X, y, sensitive_features=club).sample(20)
    assert made.columns == X.columns
    assert A.columns == ["sex", "club"]
    assert (made["sex"] == A["sex"]).all()


def test_arrays_give_arrays(of_vectors, rows):
    X, y, A = of_vectors.sample(50)
    assert X.shape == (50, 6)
    assert X.dtype == np.float64
    assert y.dtype == rows[1].dtype
    assert list(A.columns) == ["sensitive_feature_0"]
    single = quick(quick_teacher()).fit(rows[0].astype(np.float32), rows[1] == 1, sensitive_features=rows[2])
    X, y, _ = single.sample(5)
    assert (X.dtype, y.dtype) == (np.float32, np.dtype(bool))


def test_a_sensitive_column_of_an_array_is_back_in_its_place():
    X, y, group = vectors()
    whole = np.insert(X, 2, group, axis=1)
    synthesizer = quick(quick_teacher(), sensitive_columns=[2]).fit(whole, y)
    made, _, A = synthesizer.sample(100)
    assert made.shape == (100, 7)
    np.testing.assert_array_equal(made[:, 2], A["x2"])
    assert synthesizer.n_features_in_ == 7


def test_an_array_can_be_a_table():
    X = np.random.RandomState(0).randint(0, 3, size=(300, 4))
    y = X[:, 0] > 1
    made, _, _ = quick(table_teacher(), rows="table").fit(X, y, sensitive_features=X[:, 1] > 0).sample(200)
    assert made.dtype == X.dtype
    assert np.unique(made).tolist() == [0, 1, 2]


def test_images_go_through_encoder_and_decoder():
    X, y, group = vectors(300)
    pictures = np.repeat(X[:, None, :, None], 2, axis=3).astype(np.float32)  # (n, 1, 6, 2)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 6))
    decoder = nn.Sequential(nn.Linear(6, 12), nn.Unflatten(1, (1, 6, 2)))
    for module in (encoder, decoder):
        module.requires_grad_(False)
    teacher = quick_teacher(encoder, decoder=decoder)
    synthesizer = quick(teacher).fit(pictures, y, sensitive_features=group)
    made, _, _ = synthesizer.sample(20)
    assert made.shape == (20, 1, 6, 2)
    # Texts have no way back: embeddings.
    without = quick(quick_teacher(encoder)).fit(pictures, y, sensitive_features=group)
    assert without.sample(20)[0].shape == (20, 6)


# ---------------------------------------------------------------- what is learnt


@pytest.fixture(scope="module")
def credit():
    """German credit, with a sex that pay depends on made plain: a thousand rows, a label that depends on the group."""
    german = load_german()
    rng = np.random.RandomState(0)
    y = german.target.to_numpy()
    sex = np.where(rng.random_sample(len(y)) < np.where(y == "good", 0.8, 0.3), "m", "f")
    # A proxy of the attribute, which a model may read the group from.
    X = german.data.assign(club=np.where(rng.random_sample(len(y)) < 0.9, sex, "none"))
    return X, german.target, pd.Series(sex, name="sex", index=X.index)


@pytest.mark.slow
def test_a_model_of_synthetic_rows_is_fairer_on_real_ones(credit):
    X, y, sex = credit
    train, test = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0
    synthesizer = FairSynthesizer(random_state=0).fit(X[train], y[train], sensitive_features=sex[train])
    made = synthesizer.sample(5000)
    codec = TabularCodec().fit(X)

    def gap(rows, labels):
        model = HistGradientBoostingClassifier(random_state=0).fit(codec.transform(rows), labels)
        chosen = model.predict(codec.transform(X[test])) == "good"
        m = (sex[test] == "m").to_numpy()
        return abs(chosen[m].mean() - chosen[~m].mean()), (model.predict(codec.transform(X[test])) == y[test]).mean()

    real, accuracy_of_real = gap(X[train], y[train])
    fair, accuracy = gap(made[0], made[1])
    assert real > 0.3
    assert fair < real / 3
    # Nor is it fair for saying nothing of the label.
    assert accuracy > (y == "good").mean() - 0.02
    assert accuracy_of_real > accuracy
    # The group can be told from the synthetic rows as from real ones: they are not blind copies without it.
    club = pd.crosstab(made[0]["club"], made[2]["sex"], normalize="columns")
    assert club.loc["m", "m"] > 0.7
    assert club.loc["m", "f"] < 0.1
    # Teacher and student agree on the label, the student being a tenth of its size.
    cost = synthesizer.cost(1000)
    assert cost.loc["student", "n_parameters"] <= cost.loc["teacher", "n_parameters"] / 10
    assert min(epoch["valid_utility"] for epoch in synthesizer.history_) < 0.02


def test_history_has_both_terms(of_table):
    terms = {f"{part}_{term}" for part in ("train", "valid") for term in ("quality", "utility", "loss")}
    assert set(of_table.history_[0]) == terms
    assert len(of_table.history_) == of_table.n_iter_ == 5
    for epoch in of_table.history_:
        assert epoch["valid_loss"] == pytest.approx(epoch["valid_quality"] + epoch["valid_utility"], rel=1e-5)


def test_cost_shows_student_and_teacher(of_table):
    cost = of_table.cost(500)
    assert cost.loc["student", "n_parameters"] == of_table.student_.n_parameters
    assert cost.loc["student", "n_bytes"] == 4 * of_table.student_.n_parameters
    flow = of_table.teacher_.transformer.flow_
    assert cost.loc["teacher", "n_parameters"] >= sum(p.numel() for p in flow.parameters())
    assert (cost["rows_per_second"] > 0).all()


@pytest.mark.parametrize(("size", "most"), [("small", 0.1), ("medium", 0.25), (3000, None)])
def test_the_size_of_the_student(size, most):
    X, y, group = vectors(n_columns=12)
    synthesizer = quick(quick_teacher(), student_size=size, max_epochs=1).fit(X, y, sensitive_features=group)
    budget = 3000 if most is None else most * synthesizer.teacher_.n_parameters
    assert synthesizer.student_.n_parameters <= budget


def test_the_teacher_makes_rows_too(of_table, frame):
    X, y, A = of_table.sample(200, source="teacher")
    pd.testing.assert_series_equal(X.dtypes, frame[0].dtypes)
    assert (X["sex"] == A["sex"]).all()
    assert set(y) == {"yes", "no"}


# ---------------------------------------------------------------- teachers


def test_a_fitted_teacher_is_used_as_it_is(rows):
    X, y, group = rows
    fitted = quick_teacher().fit(X, y, sensitive_features=group)
    before = pickle.dumps(fitted)
    for given in (fitted, FrozenEstimator(fitted)):
        synthesizer = quick(given, max_epochs=1).fit(X, y, sensitive_features=group)
        assert synthesizer.teacher_.transformer is fitted
    assert pickle.dumps(fitted) == before
    unfitted = quick_teacher()
    synthesizer = quick(unfitted, max_epochs=1).fit(X, y, sensitive_features=group)
    assert synthesizer.teacher_.transformer is not unfitted
    assert not hasattr(unfitted, "flow_")


def test_a_default_teacher_that_lost_the_label_is_fitted_anew(rows, monkeypatch):
    X, y, group = rows
    tried = []

    class Forgetful(FairLatentTransformer):
        def fit_transform(self, X, y=None, *, sensitive_features=None):
            self.set_params(max_epochs=1)
            Z = super().fit_transform(X, y, sensitive_features=sensitive_features)
            tried.append(self.fairness_strength)
            self.label_lost_ = self.fairness_strength > 0.7
            return Z

    monkeypatch.setattr(teacher_room, "FairLatentTransformer", Forgetful)
    synthesizer = quick(max_epochs=1).fit(X, y, sensitive_features=group)
    assert tried == [1.0, 0.5]
    assert synthesizer.teacher_.transformer.fairness_strength == 0.5
    tried.clear()
    quick(Forgetful(fairness_strength=2.0), max_epochs=1).fit(X, y, sensitive_features=group)
    assert tried == [2.0]


def test_a_teacher_of_the_user_that_lost_the_label_says_so():
    rng = np.random.RandomState(0)
    X, group = rng.normal(size=(400, 3)), rng.randint(0, 2, 400)
    y = rng.randint(0, 2, 400)
    with pytest.warns(LabelLostWarning):
        quick(quick_teacher(), max_epochs=1).fit(X, y, sensitive_features=group)


# ---------------------------------------------------------------- attributes


def test_without_an_attribute_nothing_is_fair(rows):
    X, y, _ = rows
    synthesizer = quick(quick_teacher())
    with pytest.warns(MissingSensitiveWarning) as caught:
        synthesizer.fit(X, y)
    assert len([w for w in caught if w.category is MissingSensitiveWarning]) == 1
    assert synthesizer.trained_without_sensitive_
    made, labels, A = synthesizer.sample(30)
    assert (len(made), len(labels), A.shape) == (30, 30, (30, 0))
    assert set(synthesizer.sample(30, balance={0: 0.5, (1,): 0.5})[1]) == {0, 1}
    with pytest.raises(ValueError, match="fit saw no sensitive attribute"):
        synthesizer.sample(3, sensitive_features="m")
    with pytest.raises(ValueError, match="No sensitive attribute"):
        quick(quick_teacher(), on_missing_sensitive="raise").fit(X, y)


def test_rows_without_a_group_are_learnt_from_but_not_made(rows):
    X, y, group = rows
    some = pd.Series(np.where(group, "m", "f"), name="sex").where(np.arange(len(y)) % 5 > 0)
    with pytest.warns(UserWarning, match="have no value of 'sex'") as caught:
        synthesizer = quick(quick_teacher()).fit(X, y, sensitive_features=some)
    assert len(caught) == 1
    assert set(synthesizer.sample(100)[2]["sex"]) == {"f", "m"}


def test_attributes_of_every_kind(rows):
    X, y, group = rows
    words = np.where(group, "m", "f")
    expected = quick(quick_teacher()).fit(X, y, sensitive_features=words).sample(50)[0]
    for given in (list(words), words[:, None], {"sex": words}, pd.Series(words, name="sex"), pl.Series("sex", words)):
        made, _, A = quick(quick_teacher()).fit(X, y, sensitive_features=given).sample(50)
        np.testing.assert_array_equal(made, expected)
        assert A.shape == (50, 1)
    assert isinstance(A, pl.DataFrame)


# ---------------------------------------------------------------- seeds


def test_a_seed_gives_the_same_rows_and_leaves_the_generators_alone(rows):
    X, y, group = rows
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one must not move
    torch_state = torch.get_rng_state()
    one, other = (quick(quick_teacher(random_state=None)).fit(X, y, sensitive_features=group) for _ in range(2))
    np.testing.assert_array_equal(one.sample(50)[0], other.sample(50)[0])
    np.testing.assert_array_equal(one.sample(50)[0], one.sample(50)[0])
    assert not np.array_equal(one.sample(50)[0], one.sample(50, random_state=1)[0])
    np.testing.assert_array_equal(one.sample(50, random_state=1)[0], other.sample(50, random_state=1)[0])
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002 - the same
    assert torch.equal(torch.get_rng_state(), torch_state)
    third = quick(quick_teacher(random_state=None), random_state=1).fit(X, y, sensitive_features=group)
    assert not np.array_equal(one.sample(50)[0], third.sample(50)[0])


def _fitted_and_sampled(seed):
    X, y, group = vectors(200)
    return quick(quick_teacher(), random_state=seed).fit(X, y, sensitive_features=group).sample(20)[0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_bits_do_not_depend_on_the_number_of_jobs():
    alone = [_fitted_and_sampled(seed) for seed in (0, 1)]
    for backend in ("loky", "threading"):
        together = Parallel(n_jobs=2, backend=backend)(delayed(_fitted_and_sampled)(seed) for seed in (0, 1))
        np.testing.assert_array_equal(together, alone)


def test_a_pickle_draws_the_same_rows(of_table):
    again = pickle.loads(pickle.dumps(of_table))
    pd.testing.assert_frame_equal(again.sample(30)[0], of_table.sample(30)[0])


# ---------------------------------------------------------------- errors


def test_a_failed_fit_leaves_the_earlier_one(frame):
    synthesizer = quick(table_teacher(), sensitive_columns=["sex"]).fit(*frame)
    before = synthesizer.sample(30)[0]
    with pytest.raises(ValueError, match="y has 3 rows"):
        synthesizer.fit(frame[0], frame[1].iloc[:3])
    pd.testing.assert_frame_equal(synthesizer.sample(30)[0], before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"transformer": LogisticRegression()}, "transformer=.*expected a FairLatentTransformer"),
        ({"student_size": "tiny"}, "student_size='tiny': expected one of"),
        ({"student_size": 0}, "student_size=0"),
        ({"quality_weight": -1}, "quality_weight=-1: expected a finite number >= 0"),
        ({"quality_weight": 0, "utility_weight": 0}, "nothing would be learnt"),
        ({"rows": "pixels"}, "rows='pixels'"),
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"device": "abacus"}, "device='abacus'"),
        ({"net_params": {"max_epochs": 3}}, "net_params=.* sets"),
        ({"transformer": GridSearchCV(FairLatentTransformer(), {})}, "expected a FairLatentTransformer"),
        ({"transformer": FairLatentTransformer(sensitive_columns=[0])}, "it would not know the rows without them"),
        ({"transformer": quick_teacher(), "lr": 1e8, "max_epochs": 20}, "lr=100000000.0: the distillation diverged"),
        ({"sensitive_columns": ["nose"]}, "nose"),
    ],
)
def test_arguments_that_cannot_be_right(rows, params, message):
    X, y, group = rows
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(X, y, sensitive_features=group)


def test_labels_and_attributes_that_cannot_be_right(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="y is continuous, this is a synthesizer"):
        quick().fit(X, X[:, 0], sensitive_features=group)
    with pytest.raises(ValueError, match="y has a single class"):
        quick().fit(X, np.zeros(len(X)), sensitive_features=group)
    with pytest.raises(ValueError, match="are numbers, not groups"):
        quick().fit(X, y, sensitive_features=X[:, 0])
    with pytest.raises(NotFittedError):
        quick().sample(3)


@pytest.mark.filterwarnings("ignore:sensitive_features. .* rows have no value")
def test_two_attributes_of_which_every_row_lacks_one(rows):
    X, y, _ = rows
    k = np.arange(len(X))
    one = np.where(k % 2 == 0, np.where(k % 4 == 0, "a", "b"), None)
    other = np.where(k % 2 == 1, np.where(k % 4 == 1, "c", "d"), None)
    with pytest.raises(ValueError, match="every row with target=0 misses an attribute"):
        quick().fit(X, y, sensitive_features=pd.DataFrame({"one": one, "other": other}))


# ---------------------------------------------------------------- training


class Counter(Callback):
    """Counts epochs."""

    def __init__(self):
        self.n = 0

    def on_epoch_end(self, net, **kwargs):
        self.n += 1


def test_net_params_reach_skorch(rows):
    X, y, group = rows
    counter = Counter()
    quick(quick_teacher(), net_params={"callbacks": [("count", counter)]}).fit(X, y, sensitive_features=group)
    assert counter.n == 5


def test_verbose_says_something(rows, capsys):
    X, y, group = rows
    quick(quick_teacher(), verbose=1).fit(X, y, sensitive_features=group)
    assert "valid_quality" in capsys.readouterr().out
    quick(quick_teacher(), verbose=2).fit(X, y, sensitive_features=group)


def test_clone_and_names(of_table, frame):
    again = clone(of_table)
    assert again.get_params()["sensitive_columns"] == ["sex"]
    assert not hasattr(again, "student_")
    assert of_table.feature_names_in_.tolist() == list(frame[0].columns)


def test_few_rows():
    X, y = table(30)
    synthesizer = quick(table_teacher(), sensitive_columns=["sex"]).fit(X, y)
    assert len(synthesizer.sample(10, balance="as_observed")[0]) == 10


def test_one_column(frame):
    X, y = frame
    synthesizer = quick(table_teacher()).fit(X[["pay"]], y, sensitive_features=X["sex"])
    assert list(synthesizer.sample(10)[0].columns) == ["pay"]
    assert list(synthesizer.cost(100).index) == ["student", "teacher"]


def test_words_among_the_columns_of_an_array():
    X, y, group = vectors()
    whole = np.column_stack([X.astype(object), np.where(group, "m", "f")])
    made, _, A = quick(quick_teacher(), sensitive_columns=[6]).fit(whole, y).sample(20)
    np.testing.assert_array_equal(made[:, 6], A["x6"])


def test_a_frame_of_vectors_is_refused(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="rows='vectors', but X is a data frame"):
        quick(quick_teacher(), rows="vectors").fit(pd.DataFrame(X), y, sensitive_features=group)


def test_embeddings_without_a_way_back_have_no_sensitive_columns():
    X, y, group = vectors()
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(sex=np.where(group, "m", "f"))
    teacher = quick_teacher(_halves)
    synthesizer = quick(teacher, rows="vectors", sensitive_columns=["sex"]).fit(frame, y)
    assert synthesizer.sample(10)[0].shape == (10, 3)
    assert list(synthesizer.cost(50).index) == ["student"]


def _halves(X):
    return np.asarray(X, dtype=float)[:, ::2]


def test_a_rare_group_has_rows_of_the_teacher(rows, monkeypatch):
    monkeypatch.setattr(teacher_room, "LATENT_ROWS", 30)
    X, y, _ = rows
    group = np.array(["often"] * len(X), dtype=object)
    group[:4] = "rare"
    y = y.copy()
    y[:4] = [0, 1, 0, 1]
    synthesizer = quick(quick_teacher()).fit(X, y, sensitive_features=group)
    assert len(synthesizer.sample(5, sensitive_features="rare", source="teacher")[0]) == 5


def test_declared_categories_without_rows_are_hardly_drawn(frame):
    X, y = frame
    X = X.assign(job=X["job"].cat.add_categories([f"job {k}" for k in range(100)]))
    made, _, _ = quick(table_teacher(), sensitive_columns=["sex"]).fit(X, y).sample(2000)
    assert made["job"].isin(["clerk", "nurse"]).mean() > 0.99


def test_names_that_the_distribution_needs(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="n_rows"):
        quick(quick_teacher()).fit(X, y, sensitive_features={"n_rows": group})


def test_polars_frames_of_days_and_truth_values():
    rows = pl.DataFrame({"b": [True, False] * 30, "d": pd.date_range("2020", periods=60).to_numpy()})
    made = quick(quick_teacher(encoder=TabularCodec())).fit(
        rows, np.tile([0, 1], 30), sensitive_features=np.tile([0, 0, 1, 1], 15)
    )
    assert made.sample(5, random_state=0)[0].columns == ["b", "d"]


@pytest.mark.parametrize("name", ["probability", "n_rows"])
def test_a_label_does_not_bear_the_name_of_a_column_of_the_distribution(frame, name):
    X, y = frame
    with pytest.raises(ValueError, match=f"y bears the name '{name}', which is a column of sampled_distribution_"):
        quick(table_teacher(), sensitive_columns=["sex"]).fit(X, pd.Series(np.asarray(y), name=name))
