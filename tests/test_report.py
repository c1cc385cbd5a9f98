# fairness_report: what it measures, what it says in words, the page, the table and the JSON.
import html.parser
import json
import os
import sys
import warnings
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_fairlatent import FairLatentTransformer, MissingSensitiveWarning, TabularCodec
from sklearn_fairlatent.inspection import FairnessReport, _findings, _measuring, _report, fairness_report
from sklearn_fairlatent.inspection._measuring_latent import round_trip
from sklearn_fairlatent.metrics import disparity_table, group_table

# Most fits here are short, as what they learn is not the point; the flags of the fair one are asserted.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

DATE = "2026-01-02 03:04 UTC"
# Names that would break a page, an attribute of a tag, a formula or a format.
NASTY = '<script>alert("x")</script> & $a$ {b}'


def make_people(n=600, seed=0):
    """Two attributes with different means; words and numbers that tell the first one."""
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n, p=[0.4, 0.6])
    race = rng.choice(["a", "b", "c"], n, p=[0.5, 0.35, 0.15])
    merit = rng.normal(size=n)
    pay = merit + 0.9 * (sex == "m") + 0.4 * (race == "a") + 0.5 * rng.normal(size=n)
    X = pd.DataFrame({
        "merit": merit,
        "hours": np.round(35 + 4 * (sex == "m") + 3 * rng.normal(size=n)),
        "job": np.where(rng.uniform(size=n) < 0.8, np.where(sex == "m", "driver", "nurse"), "clerk"),
    })  # fmt: skip
    y = pd.Series(np.where(pay > 0.7, "high", "low"), name="pay")
    return X, y, pd.DataFrame({"sex": sex, "race": race})


OLD, NEW = slice(0, 360), slice(360, None)
X, y, A = make_people()
X_new, y_new, A_new = X[NEW], y[NEW], A[NEW]


@pytest.fixture(scope="module", autouse=True)
def _one_probe():
    """The panel takes most of the time, and its parts are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_measuring, "PROBES", {"linear": make_pipeline(StandardScaler(), LogisticRegression())})
        yield


@pytest.fixture(scope="module")
def raw():
    return make_pipeline(TabularCodec(), LogisticRegression()).fit(X[OLD], y[OLD])


@pytest.fixture(scope="module")
def fair():
    fair = FairLatentTransformer(encoder=TabularCodec(handle_unknown="ignore"), max_epochs=30, random_state=0)
    pipeline = Pipeline([("fair", fair), ("classify", LogisticRegression())])
    return pipeline.fit(X[OLD], y[OLD], fair__sensitive_features=A[OLD])


@pytest.fixture(scope="module")
def report(fair, raw):
    return measure(fair, A=A_new, baseline=raw, pictures=True)


@pytest.fixture(scope="module")
def again(fair, raw):
    """The same report measured a second time, with the date of another time zone and other settings of matplotlib."""
    matplotlib = pytest.importorskip("matplotlib")
    date = datetime(2026, 1, 2, 4, 4, tzinfo=timezone(timedelta(hours=1)))
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 30, "text.color": "#123456"}):
        return measure(fair, A=A_new, baseline=raw, date=date, pictures=True)


def measure(model, X=X_new, y=y_new, A=A_new[["sex"]], *, pictures=False, **arguments):
    """A report of one attribute without pictures, which take time, unless asked for."""
    given = {"pos_label": "high", "random_state": 0, "date": DATE} | arguments
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr(_report, "draw", lambda *_: {})
        return fairness_report(model, X, y, sensitive_features=A, **given)


# ---------------------------------------------------------------- what is measured


def test_scores_are_those_of_the_metrics(report, fair, raw):
    for name, model in {"model": fair, "baseline": raw}.items():
        row = report.scores.loc[name]
        assert row["accuracy"] == accuracy_score(y_new, model.predict(X_new))
        assert row["roc_auc"] == roc_auc_score(y_new == "high", model.predict_proba(X_new)[:, 0])
        assert row["majority_class"] == y_new.value_counts(normalize=True).max()


def test_disparities_and_groups_are_those_of_the_metrics(report, fair):
    arguments = {"sensitive_features": A_new, "pos_label": "high"}
    table = disparity_table(y_new, fair.predict(X_new), **arguments)
    assert list(report.disparities.loc["model"].index) == ["sex", "race", "sex & race"]
    for column in table.columns.drop(["four_fifths", "worst_group", "left_out"]):
        np.testing.assert_array_equal(report.disparities.loc["model"][column], table[column])
    pd.testing.assert_frame_equal(report.groups.loc["model"], group_table(y_new, fair.predict(X_new), **arguments))


def test_the_raw_model_differs_and_the_latent_less(report):
    gaps = report.disparities["demographic_parity_difference"]
    by_chance = report.disparities["demographic_parity_difference_shuffled"]
    assert gaps["baseline", "sex"] > by_chance["baseline", "sex"] > 0
    assert gaps["model", "sex"] < gaps["baseline", "sex"] / 2
    assert "(baseline " in report.summary[1]


def test_chance_is_that_of_shuffled_groups(raw):
    selected, sex = raw.predict(X_new) == "high", A_new["sex"].to_numpy()
    rng = np.random.RandomState(0)
    gaps = []
    for _ in range(2000):
        shuffled = rng.permutation(sex)
        gaps.append(abs(selected[shuffled == "f"].mean() - selected[shuffled == "m"].mean()))
    by_chance = _measuring._chance_difference(selected, sex, 0)
    assert by_chance == pytest.approx(np.quantile(gaps, 0.95), abs=0.015)


def test_the_attribute_is_read_before_and_not_after(report):
    assert report.leakage.loc[("before", "sex"), "low"] > 0.6
    assert report.leakage.loc[("after", "sex"), "high"] < report.leakage.loc[("before", "sex"), "low"]
    assert set(report.leakage.index) == {(s, a) for s in ("before", "after") for a in ("sex", "race", "sex & race")}


def test_latent_tells_its_layout_flags_and_round_trip(report, fair):
    latent = report.latent
    assert latent["layout"] == repr(fair["fair"].latent_layout_)
    assert latent["blocks"] == {"pay": 1, "sex": 1, "race": 2, "residual": 1}
    assert not any(latent["flags"][name] for name in latent["flags"] if name != "improved_on_start_")
    there_and_back = latent["round_trip"]
    assert (there_and_back["words"], there_and_back["words_that_differ"]) == (len(X_new), 0)
    assert there_and_back["numbers"] == 2 * len(X_new)
    assert latent["not_protected"] == []
    assert len(report.training) == 30


def test_round_trip_counts_what_the_codec_clips(fair):
    # Beyond the range of the training rows the codec gives back the highest value that it saw.
    far = X_new.assign(merit=X_new["merit"] + 100)
    report = measure(fair, far, counterfactual_rows=0)
    assert report.latent["round_trip"]["largest_error_of_numbers"] > 90
    clipped = len(far) + (~X_new["hours"].between(X["hours"][OLD].min(), X["hours"][OLD].max())).sum()
    assert report.latent["round_trip"]["numbers_that_differ"] == clipped
    assert f"{clipped} of {2 * len(far)} numbers and 0 of {len(far)} words come back different" in report.to_html()


def test_counterfactuals_are_those_of_the_transformer(report, fair):
    table = report.counterfactuals
    assert table.groupby("attribute")["row"].nunique().to_dict() == {"race": 3, "sex": 3}
    for attribute, part in table.groupby("attribute"):
        for row, cells in part.groupby("row"):
            cells = cells.set_index("column")
            assert cells["own"].iloc[0] == A_new[attribute].iloc[row] != cells["wanted"].iloc[0]
            moved = fair["fair"].counterfactual(
                X_new.iloc[[row]], attribute, cells["wanted"].iloc[0], sensitive_features=A_new.iloc[[row]]
            )
            for column in X.columns:
                assert cells["before"][column] == X_new[column].iloc[row]
                assert cells["after"][column] == pytest.approx(moved[column].iloc[0])
            assert cells["after"]["prediction"] == fair.predict(moved)[0]
    assert table["changed"].any()
    assert not table.loc[table["before"] == table["after"], "changed"].any()


def test_rows_come_from_all_groups_in_turn(fair):
    table = measure(fair, A=A_new[["race"]], counterfactual_rows=6).counterfactuals
    own = table.drop_duplicates("row")["own"]
    assert own.value_counts().to_dict() == {"a": 2, "b": 2, "c": 2}


def test_no_rows_are_shown_if_none_are_wanted(fair):
    assert measure(fair, counterfactual_rows=0).counterfactuals is None


# ---------------------------------------------------------------- kinds of estimators


def test_a_classifier_alone_has_no_latent(raw):
    report = measure(raw)
    assert report.leakage is report.latent is report.training is report.counterfactuals is None
    assert report.pictures == {}
    page = report.to_html()
    assert 'id="groups"' in page
    assert not any(f'id="{section}"' in page for section in ("leakage", "latent", "counterfactuals"))


def test_a_transformer_alone_is_judged_by_a_stand_in(fair):
    report = measure(fair["fair"])
    assert report.scores.loc["model", "accuracy"] > report.scores.loc["model", "majority_class"]
    assert "a logistic regression on what the transformer hands on, cross-validated" in report.summary[0]
    assert "prediction" not in set(report.counterfactuals["column"])
    few = pd.Series(np.where(np.arange(len(y_new)) < 2, "high", "low"))
    with pytest.raises(ValueError, match="class with fewer than 3 rows"):
        measure(fair["fair"], y=few)


def test_steps_before_the_transformer_are_gone_through_and_back():
    numbers = X[["merit", "hours"]]
    pipeline = Pipeline([
        ("nothing", "passthrough"),
        ("scale", StandardScaler()),
        ("fair", FairLatentTransformer(max_epochs=3, random_state=0)),
        ("classify", RidgeClassifier()),
    ])  # fmt: skip
    pipeline.fit(numbers[OLD], y[OLD], fair__sensitive_features=A["sex"][OLD])
    report = measure(pipeline, numbers[NEW], A=A_new)
    # Given as a frame, moved as an array: a frame again, or the classifier would warn.
    assert set(report.counterfactuals["column"]) == {"merit", "hours", "prediction"}
    score = -pipeline.decision_function(numbers[NEW])  # of "low"
    assert report.scores.loc["model", "roc_auc"] == roc_auc_score(y_new == "high", score)
    assert report.latent["not_protected"] == ["race"]
    assert any("fit saw sex and not race" in sentence for sentence in report.summary)
    assert "nothing protects" in report.to_html()


def test_a_way_back_that_is_missing_is_noted():
    encoder = torch.nn.Linear(2, 2, dtype=torch.float64)
    frozen = FairLatentTransformer(encoder=encoder, max_epochs=3, random_state=0)
    numbers = X[["merit", "hours"]].to_numpy()
    frozen.fit(numbers[OLD], y[OLD], sensitive_features=A[OLD])
    report = measure(frozen, numbers[NEW])
    assert report.counterfactuals is None
    assert report.latent["round_trip"] is None
    assert any("Linear has no way back" in note for note in report.notes)
    assert "not measured, as no table comes back" in report.to_html()


def _pictures_and_generators():
    """Transformers, and rows, of which none comes back as a row of a table."""
    torch.manual_seed(0)
    table = np.random.RandomState(0).normal(size=(len(X), 16)).astype(np.float32)
    table[:, :2] += np.column_stack([A["sex"] == "m", y == "high"])
    pictures = table.reshape(-1, 1, 4, 4)
    flatten, unflatten = torch.nn.Flatten(), torch.nn.Unflatten(1, (1, 4, 4))
    return {
        "pictures": ({"encoder": flatten, "decoder": unflatten}, pictures),
        "pictures that come back flat": ({"encoder": flatten, "decoder": torch.nn.Identity()}, pictures),
        "a generator of pictures": ({"decoder": unflatten}, table),
        "a generator of as many columns": ({"decoder": torch.nn.Linear(16, 16)}, table),
    }


@pytest.mark.parametrize(
    "kind",
    ["pictures", "pictures that come back flat", "a generator of pictures", "a generator of as many columns"],
)
def test_pictures_and_what_a_generator_makes_are_not_compared_by_columns(kind):
    coders, rows = _pictures_and_generators()[kind]
    fair = FairLatentTransformer(**coders, max_epochs=2, random_state=0)
    pipeline = Pipeline([("fair", fair), ("classify", LogisticRegression())])
    pipeline.fit(rows[OLD], y[OLD], fair__sensitive_features=A["sex"][OLD])
    report = measure(pipeline, rows[NEW], A=A_new["sex"], pictures=kind == "pictures")
    assert report.counterfactuals is None
    assert report.latent["round_trip"] is None
    for part in ("No round trip", "No counterfactuals"):
        assert sum(note.startswith(f"{part}: only rows of a table") for note in report.notes) == 1
    page = report.to_html()
    assert "not measured, as no table comes back" in page
    assert "No counterfactuals: only rows of a table" in page
    assert report.about["columns"] == 16
    # The rest is there.
    assert report.scores.loc["model", "accuracy"] == pipeline.score(rows[NEW], y_new)
    assert report.leakage.loc[("before", "sex"), "score"] > 0.6
    assert json.loads(report.to_json())["latent"]["round_trip"] is None
    assert "No counterfactuals" not in " ".join(measure(pipeline, rows[NEW], counterfactual_rows=0).notes)


def test_pictures_that_a_step_makes_flat_have_no_counterfactual_rows():
    _, rows = _pictures_and_generators()["pictures"]
    flat = FunctionTransformer(lambda P: P.reshape(len(P), -1), lambda F: F.reshape(-1, 1, 4, 4))
    pipeline = Pipeline([("flat", flat), ("fair", FairLatentTransformer(max_epochs=2, random_state=0))])
    pipeline.fit(rows[OLD], y[OLD], fair__sensitive_features=A["sex"][OLD])
    report = measure(pipeline, rows[NEW], A=A_new["sex"])
    assert report.latent["round_trip"]["numbers"] == 16 * len(y_new)
    assert report.counterfactuals is None
    assert any(note.startswith("No counterfactuals: only rows of a table") for note in report.notes)


def test_a_search_is_taken_for_its_best_estimator(raw):
    search = GridSearchCV(raw, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(X[OLD], y[OLD])
    report = measure(search)
    assert report.scores.loc["model", "accuracy"] == search.score(X_new, y_new)


def test_columns_of_x_may_be_the_attributes():
    table = X.assign(sex=A["sex"])
    inside = FairLatentTransformer(encoder=TabularCodec(), sensitive_columns=["sex"], max_epochs=3, random_state=0)
    inside.fit(table[OLD], y[OLD])
    report = measure(inside, table[NEW], A=A_new["sex"])
    assert report.latent["round_trip"]["words"] == len(X_new)  # without sex, which does not come back
    cells = report.counterfactuals.set_index("column").loc["sex"]
    assert (cells["after"] == cells["wanted"]).all()


def test_arrays_and_polars_frames_give_the_same_numbers():
    numbers = X[["merit", "hours"]]
    A_array = A[["sex"]].rename(columns={"sex": "sensitive_feature_0"})
    fair = FairLatentTransformer(max_epochs=3, random_state=0)
    fair.fit(numbers.to_numpy()[OLD], y[OLD], sensitive_features=A_array.to_numpy()[OLD])
    from_array = measure(fair, numbers.to_numpy()[NEW], y_new.to_numpy(), A_array.to_numpy()[NEW])
    assert set(from_array.counterfactuals["column"]) == {"0", "1"}
    fair.fit(pl.DataFrame(numbers)[OLD], y[OLD], sensitive_features=pl.DataFrame(A_array)[OLD])
    from_polars = measure(fair, pl.DataFrame(numbers)[NEW], pl.Series("pay", y_new), pl.DataFrame(A_array)[NEW])
    pd.testing.assert_frame_equal(from_array.disparities, from_polars.disparities)
    assert set(from_polars.counterfactuals["column"]) == {"merit", "hours"}


def test_many_columns_show_the_largest_changes_only():
    rng = np.random.RandomState(0)
    wide = np.column_stack([X[["merit", "hours"]], rng.normal(size=(len(X), 28))])
    fair = FairLatentTransformer(max_epochs=3, random_state=0)
    fair.fit(wide[OLD], y[OLD], sensitive_features=A["sex"][OLD])
    page = measure(fair, wide[NEW], A=A_new["sex"]).to_html()
    assert "10 further columns are not shown." in page


# ---------------------------------------------------------------- kinds of labels and attributes


def test_of_many_classes_one_is_compared_with_the_rest():
    y_three = y.mask((y == "low") & (X["merit"] < -0.5), "none")
    model = make_pipeline(TabularCodec(), LogisticRegression()).fit(X[OLD], y_three[OLD])
    report = measure(model, y=y_three[NEW])
    y_pred = model.predict(X_new)
    assert report.scores.loc["model", "accuracy"] == np.mean((y_pred == "high") == (y_three[NEW] == "high"))
    assert report.about["labels"].keys() == {"high", "low", "none"}


def test_whole_labels_and_bools_need_no_pos_label(raw):
    numbers = (y == "high").astype(int)
    model = make_pipeline(TabularCodec(), LogisticRegression()).fit(X[OLD], numbers[OLD])
    words = measure(raw)
    for labels in (numbers, numbers.astype(bool)):
        report = measure(model.fit(X[OLD], labels[OLD]), y=labels[NEW], pos_label=None)
        pd.testing.assert_frame_equal(report.disparities, words.disparities)


def test_a_quantity_is_cut_by_bins():
    A_age = A.assign(age=np.random.RandomState(1).randint(18, 80, len(A)) + 5 * (A["sex"] == "m"))
    fair = FairLatentTransformer(encoder=TabularCodec(), continuous_features=["age"], max_epochs=3, random_state=0).fit(
        X[OLD], y[OLD], sensitive_features=A_age[["age", "sex"]][OLD]
    )
    with pytest.raises(ValueError, match="Pass bins="):
        measure(fair, A=A_age[["age"]][NEW])
    report = measure(fair, A=A_age[["age"]][NEW], bins={"age": [35, 55]})
    assert list(report.groups.loc[("model", "age")].index) == ["35 to < 55", "< 35", ">= 55"]
    assert report.counterfactuals["attribute"].unique().tolist() == ["age"]
    assert "Row" in report.to_html()


def test_rows_without_an_attribute_and_groups_unknown_to_fit(fair):
    A_gaps = A_new.copy()
    A_gaps.iloc[:20, 0] = None
    A_gaps.iloc[:30, 1] = "d"
    report = measure(fair, A=A_gaps)
    assert report.about["rows_without_a_value"] == {"sex": 20, "race": 0}
    assert "30 rows belong to groups of 'race' that fit did not see." in report.notes
    assert "d" not in set(report.counterfactuals["own"])
    assert "20 rows without a value" in report.to_html()


def test_small_groups_are_left_out_and_noted_not_warned_of(fair):
    A_small = A_new[["race"]].copy()
    A_small.iloc[:3] = "d"
    report = measure(fair, A=A_small)
    assert report.disparities.loc[("model", "race"), "left_out"] == "d"
    assert any("min_group_size=5" in note for note in report.notes)
    assert report.groups.loc[("model", "race", "d"), "n_samples"] == 3
    assert "too few rows to compare" in report.to_html()
    # Other warnings are not swallowed.
    with pytest.warns(UserWarning, match="heard"), _measuring.noted([]):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_groups_too_small_to_probe_are_noted(fair):
    few = pd.DataFrame({"sex": np.where(np.arange(len(A_new)) < 10, "f", "m")})
    report = measure(fair, A=few, pictures=True)
    assert report.leakage is None
    assert any("'sex' was not probed" in note for note in report.notes)
    assert "leakage" not in report.pictures


def test_the_probes_read_a_sample_of_many_rows(fair, monkeypatch):
    monkeypatch.setattr(_measuring, "PROBE_ROWS", 200)
    report = measure(fair)
    assert report.leakage["n_samples"].max() == 200
    assert any("200 of the 240 rows" in note for note in report.notes)


def test_attributes_that_fit_did_not_name_have_no_counterfactuals(fair):
    report = measure(fair, A=A_new[["sex"]].rename(columns={"sex": "gender"}), pictures=True)
    assert report.counterfactuals is None
    assert "latent" not in report.pictures
    assert report.leakage is not None


# ---------------------------------------------------------------- words


def test_a_model_fitted_without_attributes_is_never_called_fair():
    plain = FairLatentTransformer(encoder=TabularCodec(), max_epochs=5, random_state=0)
    with pytest.warns(MissingSensitiveWarning):
        plain.fit(X[OLD], y[OLD])
    report = measure(plain)
    words = " ".join(report.summary)
    assert "was fitted without any sensitive attribute: its latent is plain, and nothing protects it." in words
    assert "fair" not in words.lower()
    body = report.to_html().split("<main", 1)[1]
    assert "fair" not in body.lower().replace("sklearn_fairlatent", "").replace("fairlatenttransformer", "").replace(
        "fairlearn", ""
    )
    assert '<p class="notice"><strong>Note:</strong>' in body


def test_flags_of_the_fit_are_told(fair):
    report = measure(fair, counterfactual_rows=0)
    assert len(report.summary) == 5
    for flag, words in (("label_lost_", "has lost most"), ("penalty_ineffective_", "removed less than half")):
        report.latent["flags"][flag] = True
        assert any(words in sentence for sentence in _report.summarise(report))
        report.latent["flags"][flag] = False
    report.latent["fairness_strength"] = 0.0
    assert any("its penalty was off" in sentence for sentence in _report.summarise(report))


def test_summary_is_careful(report):
    assert 3 <= len(report.summary) <= 6
    text = " ".join(report.summary)
    assert f"On these {len(X_new)} held-out rows" in text
    assert "chance alone gives up to" in text
    assert "four-fifths rule of thumb" in text
    assert "not a guarantee, statistical or legal" in text
    assert "lie above chance (0.5)" in text or "lies above chance (0.5)" in text


def test_words_about_leakage_follow_the_interval(report):
    table = report.leakage.copy()
    table["low"] = 0.6
    found = _report.summarise(FairnessReport(**{**report.__dict__, "leakage": table}))[2]
    assert "lies above chance (0.5), as do those of" in found
    table["low"] = 0.4
    assert "does not lie above chance (0.5), nor do those of the others" in _report.summarise(
        FairnessReport(**{**report.__dict__, "leakage": table})
    )[2]  # fmt: skip


def test_nobody_selected_is_no_parity():
    nobody = DummyClassifier(strategy="constant", constant="low").fit(X[OLD], y[OLD])
    report = measure(nobody)
    assert report.disparities["four_fifths"].isna().all()
    assert "to no row, so that there is nothing to compare" in report.summary[1]
    assert "The model is no better than that." in report.summary[0]
    assert not any("four-fifths" in sentence for sentence in report.summary)
    assert report.to_dict()["disparities"][0]["four_fifths"] is None


# ---------------------------------------------------------------- forms


def test_dict_is_json_and_tells_everything(report):
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told == json.loads(report.to_json())
    assert told["about"]["rows"] == len(X_new)
    assert told["about"]["attributes"]["sex"] == A_new["sex"].value_counts().to_dict()
    assert {row["model"] for row in told["scores"]} == {"model", "baseline"}
    assert {"scikit-learn", "torch", "Python"} <= set(told["about"]["versions"])
    assert told["leakage"][0]["within"] is None
    values = [np.float32(np.nan), np.int8(3), np.bool_(True), pd.NA, np.inf, {1: (2, None)}, np.array(["a"])]
    assert _findings.plain(values) == [None, 3, True, None, None, {"1": [2, None]}, ["a"]]


def test_frame_is_tidy(report):
    frame = report.to_frame()
    assert list(frame.columns) == ["section", "model", "attribute", "group", "measure", "value"]
    assert frame["value"].dtype == np.float64
    assert not frame.duplicated(["section", "model", "attribute", "group", "measure"]).any()
    found = frame[(frame["measure"] == "selection_rate") & (frame["model"] == "model") & (frame["group"] == "f")]
    assert found["value"].item() == report.groups.loc[("model", "sex", "f"), "selection_rate"]
    assert set(frame["section"]) == {"scores", "disparities", "groups", "leakage", "latent"}


def test_repr_is_the_summary(report):
    assert repr(report).startswith("FairnessReport: Fairness report: pay by sex and race (2026-01-02 03:04 UTC)\n- On")


class Page(html.parser.HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside of pictures and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.errors = [], "", [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, *names):
        return [(tag, attrs) for tag, attrs in self.tags if tag in names]


@pytest.fixture(scope="module")
def page(report):
    return Page(report.to_html())


def test_page_is_one_file_without_script_or_request(report, page):
    text = report.to_html()
    assert not page.all("script", "link", "img", "iframe", "object", "image")
    assert "@import" not in text
    for _, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value.startswith("#")
            if not name.startswith("xmlns"):
                assert "http" not in (value or "")
            for part in (value or "").split("url(")[1:]:
                assert part.startswith("#")


def test_page_has_landmarks_and_headings_in_order(page):
    assert dict(page.all("html")[0][1])["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(page.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "href", "xlink:href"):
            if name in attrs:
                assert attrs[name].removeprefix("#") in ids
        for value in attrs.values():
            for part in (value or "").split("url(#")[1:]:
                assert part.split(")")[0] in ids
    viewport = next(attrs for _, attrs in page.all("meta") if attrs.get("name") == "viewport")
    assert viewport["content"] == "width=device-width, initial-scale=1"


def test_tables_have_captions_and_scopes(page):
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) >= 10
    assert all(attrs.get("scope") in ("col", "row") for _, attrs in page.all("th"))
    regions = [attrs for _, attrs in page.all("div") if "scroll" in attrs.get("class", "")]
    assert len(regions) == len(tables)
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in regions)


def test_pictures_have_a_name_and_a_caption(report, page):
    assert set(report.pictures) == {"leakage", "latent", "training"}
    named = [attrs for _, attrs in page.all("svg") if attrs.get("role") == "img"]
    assert len(named) == len(page.all("figcaption")) == 3
    assert all(attrs["aria-label"] and "width" not in attrs for attrs in named)
    for svg, caption in report.pictures.values():
        assert caption in page.text
        # Colours that a dark page would swallow come from the page.
        assert "#000000" not in svg
        assert "#ffffff" not in svg
        assert "<style" not in svg


def test_changes_are_marked_by_a_word(report, page):
    assert page.text.count("changed: ") == report.counterfactuals["changed"].sum()


def test_the_same_seed_and_date_give_the_same_bytes(raw, report, again):
    assert again.to_html() == report.to_html()
    drawn = measure(raw, random_state=np.random.RandomState(0))
    redrawn = measure(raw, random_state=drawn.about["random_state"])
    assert drawn.to_html() == redrawn.to_html()


def test_the_date_is_now_unless_given(raw):
    date = datetime.strptime(measure(raw, date=None).date, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - date) < timedelta(days=1)


def test_names_from_outside_are_escaped():
    nasty_X = X.rename(columns={"job": NASTY}).replace({"nurse": NASTY})
    nasty_A = pd.DataFrame({NASTY: A["sex"].replace({"f": NASTY})})
    nasty_y = y.replace({"high": NASTY}).rename(NASTY + "y")
    fair = FairLatentTransformer(encoder=TabularCodec(), n_codes=4, max_epochs=3, random_state=0)
    fair.fit(nasty_X[OLD], nasty_y[OLD], sensitive_features=nasty_A[OLD])
    report = measure(fair, nasty_X[NEW], nasty_y[NEW], nasty_A[NEW], pos_label=NASTY, title=NASTY, pictures=True)
    text = report.to_html()
    assert set(report.pictures) == {"leakage", "latent", "training"}
    assert "<script" not in text
    assert "<script" not in report._repr_html_()
    page = Page(text)
    assert not page.all("script")
    assert NASTY in page.text
    for _, attrs in page.tags:
        for name, value in attrs.items():
            assert "script" not in (value or "") or name == "aria-label"


def test_without_matplotlib_the_page_says_so(fair, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = measure(fair, pictures=True)
    assert report.pictures == {}
    assert "matplotlib is not installed: the page has no pictures." in Page(report.to_html()).text


def test_pictures_do_not_depend_on_the_settings_of_matplotlib(report, again):
    assert again.pictures == report.pictures


def test_a_notebook_gets_a_fragment(report):
    text = report._repr_html_()
    fragment = Page(text)
    assert not fragment.all("style", "script", "html", "body", "h1", "h2")
    assert not any("id" in attrs or "style" in attrs or "class" in attrs for _, attrs in fragment.tags)
    assert report.summary[0] in fragment.text
    assert len(fragment.all("table")) == 1


def test_files_are_written_as_a_whole_or_not_at_all(report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    assert path.write_text("old")
    assert report.to_html(path) == path.read_text(encoding="utf-8") == report.to_html()
    assert report.to_json(tmp_path / "report.json") == (tmp_path / "report.json").read_text(encoding="utf-8")

    def fail(*_):
        raise OSError("no room")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no room"):
        report.to_html(path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json"]


# ---------------------------------------------------------------- what is refused


def test_what_is_refused(fair, raw):
    with pytest.raises(ValueError, match="pos_label=None is ambiguous"):
        measure(raw, pos_label=None)
    with pytest.raises(ValueError, match="a fairness report takes classes"):
        measure(raw, y=X_new["merit"])
    with pytest.raises(ValueError, match="y has a single class"):
        measure(raw, y=y_new.replace("low", "high"))
    with pytest.raises(ValueError, match="y contains missing values"):
        measure(raw, y=y_new.where(y_new != "low", None))
    with pytest.raises(ValueError, match="counterfactual_rows=-1"):
        measure(raw, counterfactual_rows=-1)
    with pytest.raises(ValueError, match="min_group_size=0"):
        measure(raw, min_group_size=0)
    with pytest.raises(ValueError, match="fewer than two groups"):
        measure(raw, A=pd.Series(["f"] * len(y_new), name="sex"))
    with pytest.raises(ValueError, match="has 5 rows"):
        measure(raw, A=A_new.head(5))
    with pytest.raises(TypeError, match="neither predicts nor transforms"):
        measure(Unable().fit())
    with pytest.raises(TypeError, match="fairness_report: expected .* got a Pipeline with 2 of them"):
        measure(make_pipeline(fair["fair"], fair["fair"]))


class Unable:
    def fit(self):
        self.fitted_ = True
        return self


def test_what_became_worse_than_the_baseline_is_told(report):
    table = report.disparities.copy()
    sentence = lambda: [text for text in _report.summarise(changed) if text.startswith("Worse than with")]  # noqa: E731
    changed = FairnessReport(**{**report.__dict__, "disparities": table})
    for name in ("equalized_odds_difference", "equal_opportunity_difference", "demographic_parity_difference"):
        table[name] = 0.1
    table["worst_accuracy"] = table["worst_group_and_label_accuracy"] = 0.5
    assert sentence() == []
    table.loc[("model", "sex"), "equalized_odds_difference"] = 0.3
    assert sentence() == [
        "Worse than with the baseline: equalized odds difference by sex (0.300, baseline 0.100)."
    ]  # fmt: skip
    table.loc["model", "worst_accuracy"] = 0.4
    assert "accuracy in the worst group by" in sentence()[0]
    assert "and 1 more in the tables" in sentence()[0]


@pytest.mark.parametrize("kind", ["string", "boolean", "objects"])
def test_the_round_trip_reads_missing_words_and_arrays_of_objects(kind):
    rows = X.assign(told=pd.Series(np.where(X["merit"] > 0, "u", "v"), dtype="string").mask(X.index % 9 == 0))
    if kind == "boolean":
        rows["told"] = (rows["told"] == "u").astype("boolean")
    rows = rows.to_numpy(dtype=object, na_value=None) if kind == "objects" else rows
    fair = FairLatentTransformer(encoder=TabularCodec(), max_epochs=1, random_state=0)
    fair.fit(rows, y, sensitive_features=A["sex"].to_numpy())
    found = round_trip(fair, rows, [])
    assert found["words_that_differ"] == found["numbers_that_differ"] == 0
    assert (found["numbers"], found["words"]) == (2 * len(X), 2 * len(X))


def test_a_polars_frame_of_days_and_words_is_reported():
    rows = pl.from_pandas(X).with_columns(pl.Series("day", [datetime(2024, 1, 1)] * 300 + [datetime(2024, 2, 1)] * 300))
    fair = FairLatentTransformer(encoder=TabularCodec(), max_epochs=1, random_state=0)
    fair.fit(rows, y, sensitive_features=A["sex"].to_numpy())
    assert round_trip(fair, rows, [])["words_that_differ"] == 0
