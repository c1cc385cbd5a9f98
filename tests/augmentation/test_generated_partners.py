"""Partners from a generator, with labels and attributes from annotators."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from .samples import NAMES, TELLERS, Flattened, Generator, N, Reads, cells, flip, generate, module, pictures, small

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@pytest.mark.parametrize("annotators", [None, "fitted", "frozen", "one of two"])
def test_what_a_generator_makes_is_added_with_its_partners(rows, annotators):
    X, y, group = rows
    tellers = {"target": LogisticRegression(), "group": LogisticRegression()}
    if annotators == "frozen":
        tellers = {"target": FrozenEstimator(clone(tellers["target"]).fit(X, y)),
                   "group": FrozenEstimator(clone(tellers["group"]).fit(X, group))}  # fmt: skip
    elif annotators == "one of two":
        del tellers["target"]
    generator = Generator()
    made, X_more, y_more = generate(rows, generator=generator, annotators=tellers if annotators else None, judge="auto")
    assert X_more.shape == (N + 800, 6)
    assert_array_equal(X_more[:N], X)
    assert_array_equal(y_more[:N], y)
    assert_array_equal(made.sample_indices_, np.r_[np.arange(N), np.full(800, -1)])
    assert_array_equal(made.flipped_, np.arange(N + 800) >= N + 400)
    drawn, partners = slice(N, N + 400), slice(N + 400, None)
    assert_array_equal(y_more[drawn], y_more[partners])
    told = made.sensitive_features_["group"].to_numpy()
    assert_array_equal(told[:N], group)
    assert_array_equal(told[drawn], 1 - told[partners])
    assert 0 <= made.label_changed_ < 0.5
    # What is told is what was read.
    if annotators in ("fitted", "frozen"):
        assert_array_equal(y_more[drawn], LogisticRegression().fit(X, y).predict(X_more[drawn]))
        assert_array_equal(told[drawn], LogisticRegression().fit(X, group).predict(X_more[drawn]))
    # They lie where the generator puts latents.
    latents = np.linalg.lstsq(generator.mixture.T, X_more[N:].T, rcond=None)[0].T
    assert_allclose(latents @ generator.mixture, X_more[N:], atol=1e-8)
    assert abs(latents[:400].mean()) < 0.1
    assert abs(latents[:400].std() - 1) < 0.1


def test_generated_partners_balance_the_rows(rows, groups):
    made, X_more, y_more = generate(rows, groups[["three"]], pairs="balance", n_generated=1500)
    assert_array_equal(X_more[:N], rows[0])
    assert made.flipped_[N:].all()
    assert (made.sample_indices_[N:] == -1).all()
    assert (cells(y_more, made.sensitive_features_).nunique(axis=1) == 1).all()
    largest = cells(rows[1], groups[["three"]]).max(axis=1)
    assert_array_equal(cells(y_more, made.sensitive_features_).iloc[:, 0], largest)


def test_too_few_generated_rows_are_told(rows):
    X, y, _ = rows
    group = np.r_[np.zeros(N - 4, dtype=int), np.ones(4, dtype=int)]
    with pytest.warns(UserWarning, match=r"pairs='balance': \d+ partner\(s\) are missing: .* Draw more"):
        made, _, y_more = generate((X, y, group), annotators={"target": Reads(0), "sensitive_feature_0": Reads(1)},
                                   n_generated=40, pairs="balance")  # fmt: skip
    counts = cells(y_more, made.sensitive_features_)
    assert (counts[1] < counts[0]).any()


@pytest.mark.parametrize("kind", ["module", "callable", "estimator"])
def test_all_kinds_of_generators(rows, kind):
    generator = {
        "module": module(torch.nn.Linear(4, 6)),
        "callable": Generator(),
        "estimator": FrozenEstimator(PCA(6).fit(np.random.default_rng(0).normal(size=(50, 6)))),
    }[kind]
    made, X_more, _ = generate(rows, generator=generator, annotators=TELLERS, n_latent=6 if kind == "estimator" else 4)
    assert X_more.shape == (N + 800, 6)
    pickle.loads(pickle.dumps(made))
    other = clone(made)
    assert_array_equal(other.fit_resample(rows[0], rows[1], sensitive_features=rows[2])[0], X_more)


def test_float32_rows_stay_so_beside_generated_ones(rows):
    X, y, group = rows
    assert generate((X.astype(np.float32), y, group))[1].dtype == np.float32


def test_as_many_latents_are_drawn_as_there_are_rows_but_a_thousand_at_least(rows):
    X, y, group = rows
    assert len(generate(rows, annotators=TELLERS, n_generated=None)[1]) == N + 2000
    many = np.repeat(X, 4, axis=0), np.repeat(y, 4), np.repeat(group.to_numpy(), 4)
    tellers = {"target": Reads(0), "sensitive_feature_0": Reads(1)}
    assert len(generate(many, annotators=tellers, n_generated=None)[1]) == 3 * 4 * N


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_a_transformer_moves_the_latents(rows, pairs):
    made, X_more, y_more = generate(rows, transformer=small(), annotators=TELLERS, pairs=pairs, n_generated=600)
    assert made.transformer_.n_features_in_ == 4
    assert made.n_features_in_ == 6
    if pairs == "balance":
        assert (cells(y_more, made.sensitive_features_).nunique(axis=1) == 1).all()
    # One that is fitted tells how many columns latents have.
    frozen = FrozenEstimator(made.transformer_)
    _, X_again, _ = generate(
        rows, transformer=frozen, n_latent=None, annotators=TELLERS, pairs=pairs, n_generated=600, random_state=0
    )
    assert X_again.shape == X_more.shape


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_pictures_of_a_generator(rows, pairs):
    shown = pictures(rows)
    params = {
        "generator": module(torch.nn.Linear(4, 12), torch.nn.Unflatten(1, (3, 2, 2))),
        "annotators": {"target": Flattened(), "group": Flattened()},
        "pairs": pairs,
        "judge": "auto",
    }
    made, X_more, y_more = generate(shown, **params)
    assert X_more.shape[1:] == (3, 2, 2)
    assert X_more.dtype == np.float32
    assert len(X_more) == len(y_more) == (N + 800 if pairs == "all" else N + made.flipped_.sum())
    assert_array_equal(X_more[:N], shown[0])
    assert not np.isnan(made.label_changed_)
    with pytest.raises(ValueError, match=r"annotators=None read tables; X has the shape \(300, 3, 2, 2\)"):
        generate(shown, **{**params, "annotators": None})
    with pytest.raises(ValueError, match=r"X has the shape \(300, 3, 2, 2\): the linear flip takes embeddings"):
        flip(shown)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 400, 10_000])
def test_no_more_rows_are_made_at_once_than_asked_for(rows, batch_size):
    generator = Generator()
    params = {"generator": generator, "annotators": TELLERS, "judge": "auto", "batch_size": batch_size}
    _, X_more, _ = generate(rows, n_generated=150, **params)
    assert max(generator.sizes) == min(batch_size, 150)
    assert min(generator.sizes) > 0
    assert X_more.shape == (N + 300, 6)
    generator.sizes.clear()
    generate(rows, n_generated=300, transformer=small(max_epochs=1), pairs="balance", **params)
    assert 0 < max(generator.sizes) <= batch_size


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_sensitive_columns_beside_a_generator(rows, pairs):
    X, y, group = rows
    wide = np.insert(X, 2, group, axis=1)
    tellers = {"target": Reads(0), "x2": Reads(1)}
    made, X_more, _ = generate((wide, y, None), sensitive_columns=[2], annotators=tellers, pairs=pairs)
    assert_array_equal(X_more[:N], wide)
    assert_array_equal(X_more[:, 2], made.sensitive_features_["x2"])
    if pairs == "all":
        assert_array_equal(made.sensitive_features_["x2"][N : N + 400], Reads(1).predict(X_more[N : N + 400]))


class FrameGenerator(Generator):
    def __call__(self, Z):
        return pd.DataFrame(super().__call__(Z), columns=NAMES)


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_a_generator_of_frames(rows, pairs):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES)
    frame.insert(2, "sex", group)
    # Trees, or readings that have all groups of both labels.
    tellers = None if pairs == "all" else {"target": Reads(0), "sex": Reads(1)}
    params = {"generator": FrameGenerator(), "annotators": tellers, "sensitive_columns": ["sex"], "pairs": pairs}
    made, more, _ = generate((frame, y, None), **params)
    assert more.columns.tolist() == frame.columns.tolist()
    assert more.dtypes.tolist() == frame.dtypes.tolist()
    assert_array_equal(more["sex"], made.sensitive_features_["sex"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_latent": None}, "n_latent=None: the generator does not tell how many columns"),
        ({"n_latent": 0}, "n_latent=0: expected an integer >= 1"),
        ({"n_generated": 1}, "n_generated=1: expected an integer >= 2"),
        ({"n_generated": 10.0}, "n_generated=10.0: expected an integer >= 2"),
        ({"annotators": {"sex": Reads()}}, r"annotators names \['sex'\], expected \['target', 'group'\]"),
        ({"annotators": TELLERS | {"group": Reads(0, (1,))}}, r"annotators\['group'\] reads one value only in 400"),
        ({"annotators": TELLERS | {"target": Reads(0, (1,))}}, r"annotators\['target'\] reads one value only"),
        ({"annotators": TELLERS | {"group": Reads(0, (1, 7))}}, r"annotators\['group'\]: 7 is not a known value"),
        ({"generator": Generator(4, 5)}, "X has 5 features, but .* is expecting 6 features"),
        (
            {"generator": Generator(4, 5), "annotators": TELLERS},
            r"rows of shape \(5,\) do not go with those of X, of shape \(6,\)",
        ),
        (
            {"generator": Generator(4, 5), "annotators": TELLERS, "pairs": "balance"},
            r"rows of shape \(5,\) do not go with those of X",
        ),
    ],
)
def test_generators_that_cannot_be(rows, wrong, message):
    with pytest.raises(ValueError, match=message):
        generate(rows, **wrong)


def test_a_group_of_x_that_no_generated_row_shows_cannot_be_balanced(rows, groups):
    tellers = {"target": Reads(0), "three": Reads(1, ("u", "w"))}
    with pytest.raises(ValueError, match=r"No generated row is read as one of the group\(s\) \[\['v'\]\]"):
        generate(rows, groups[["three"]], annotators=tellers, pairs="balance")


def test_a_group_that_no_generated_row_shows_is_left_out(rows, groups):
    tellers = {"target": Reads(0), "three": Reads(1, ("u", "w"))}
    made, _, _ = generate(rows, groups[["three"]], annotators=tellers)
    assert set(made.sensitive_features_["three"][N:]) == {"u", "w"}


def test_a_forest_may_annotate(rows):
    tellers = {"target": RandomForestClassifier(5, random_state=0), "group": Reads(1)}
    assert generate(rows, annotators=tellers)[1].shape == (N + 800, 6)


def test_groups_of_booleans_some_missing_can_be_annotated(rows):
    X, y, group = rows
    told = pd.Series(np.where(np.arange(N) % 9 > 0, group == 1, None), name="member")
    assert generate((X, y, told))[1].shape == (N + 800, 6)


def test_a_generator_of_arrays_beside_a_frame(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="X is a frame, and the generator or decoder gives arrays"):
        generate((pd.DataFrame(X, columns=NAMES), y, group), annotators=TELLERS)


def test_parameters_of_a_generator_need_one(rows):
    for name, value in (("annotators", TELLERS), ("n_latent", 3), ("n_generated", 100)):
        with pytest.raises(ValueError, match=rf"\['{name}'\] are of a generator, and generator=None"):
            flip(rows, **{name: value})
