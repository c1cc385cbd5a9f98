"""Students in files: the same rows after loading, no training row inside, and nothing run that a file says."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import load_file
from torch import nn

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.synthesis import FairSynthesizer

from .rows import quick, quick_teacher, table, table_teacher


def same(one, other):
    """Samples of two synthesizers, compared."""
    for first, second in zip(one, other, strict=True):
        if isinstance(first, (pd.DataFrame, pd.Series)):
            assert first.equals(second)
            assert first.dtypes is second.dtypes or np.all(first.dtypes == second.dtypes)
        elif isinstance(first, (pl.DataFrame, pl.Series)):
            assert first.equals(second)
        else:
            np.testing.assert_array_equal(first, second)


def test_a_loaded_student_draws_the_same_rows(of_table, tmp_path):
    of_table.save(tmp_path / "student")
    loaded = FairSynthesizer.load(tmp_path / "student")
    same(of_table.sample(200), loaded.sample(200))
    assert sorted(path.name for path in (tmp_path / "student").iterdir()) == ["student.json", "student.safetensors"]
    assert loaded.classes_.tolist() == ["no", "yes"]
    assert loaded.history_ == of_table.history_
    assert loaded.feature_names_in_.tolist() == of_table.feature_names_in_.tolist()
    with pytest.raises(ValueError, match="source='teacher': a loaded synthesizer is a student alone"):
        loaded.sample(10, source="teacher")
    assert list(loaded.cost(100).index) == ["student"]
    # And can be written again.
    loaded.save(tmp_path / "again")
    same(loaded.sample(50), FairSynthesizer.load(tmp_path / "again").sample(50))


def test_polars_frames(frame, tmp_path):
    X, y = pl.from_pandas(frame[0]), pl.Series("hired", frame[1].to_list())
    X = X.with_columns(
        pl.col("sex").cast(pl.Enum(["f", "m"])),
        pl.col("since").dt.date(),
        pl.col("since").dt.cast_time_unit("ms").dt.replace_time_zone("UTC").alias("seen"),
    )
    synthesizer = quick(table_teacher(), sensitive_columns=["sex"]).fit(X, y)
    synthesizer.save(tmp_path)
    made = synthesizer.sample(100)
    assert made[0].schema == X.schema
    same(made, FairSynthesizer.load(tmp_path).sample(100))


def test_dates_with_a_zone(tmp_path):
    X, y = table()
    X["seen"] = (X["since"] + pd.to_timedelta(12, "h")).dt.tz_localize("Europe/Berlin")
    synthesizer = quick(table_teacher(), sensitive_columns=["sex"]).fit(X, y)
    synthesizer.save(tmp_path)
    same(synthesizer.sample(50), FairSynthesizer.load(tmp_path).sample(50))


def test_vectors_need_their_decoder_again(of_vectors, rows, tmp_path):
    X, y, group = rows
    teacher = quick_teacher(decoder=nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (2, 4))))
    synthesizer = quick(teacher).fit(X, y, sensitive_features=group)
    assert synthesizer.sample(10)[0].shape == (10, 2, 4)
    synthesizer.save(tmp_path)
    assert FairSynthesizer.load(tmp_path).sample(10)[0].shape == (10, 6)
    decoder = synthesizer.teacher_.transformer.decoder
    same(synthesizer.sample(10), FairSynthesizer.load(tmp_path, decoder=decoder).sample(10))


def lists(plain):
    """Every list in what JSON holds."""
    if isinstance(plain, list):
        yield plain
    for value in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else []:
        yield from lists(value)


def holds_a_row(plain, X):
    """Whether some list has the pay and the age of one person."""
    pairs = set(zip(X["pay"].round(2), X["age"], strict=True))
    numbers = [{value for value in found if isinstance(value, (int, float))} for found in lists(plain)]
    return any(pay in found and age in found for found in numbers for pay, age in pairs)


def test_no_training_row_is_in_the_files(of_table, frame, tmp_path):
    of_table.save(tmp_path)
    X, _ = frame
    arrays = load_file(tmp_path / "student.safetensors")
    assert not any(len(X) in values.shape for values in arrays.values())
    facts = json.loads((tmp_path / "student.json").read_text(encoding="utf-8"))
    assert max(len(found) for found in lists(facts)) < len(X) / 4
    assert not holds_a_row(facts, X)
    # It would be seen, were one there.
    row = X.dropna().iloc[0]
    facts["deep"] = {"inside": [[float(row["pay"]), int(row["age"]), row["sex"]]]}
    assert holds_a_row(facts, X)


def test_a_repair_function_cannot_be_written(frame, tmp_path):
    codec = TabularCodec(repair=_older)
    synthesizer = quick(quick_teacher(codec), sensitive_columns=["sex"]).fit(*frame)
    assert synthesizer.sample(50)[0]["age"].min() >= 30
    with pytest.raises(ValueError, match="repair function, which no file without code can hold"):
        synthesizer.save(tmp_path)


def _older(X):
    return X.assign(age=X["age"].clip(lower=30))


def test_files_that_are_not_a_students(of_table, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no .*student.safetensors"):
        FairSynthesizer.load(tmp_path)
    of_table.save(tmp_path)
    with pytest.raises(ValueError, match="makes tables, which need none"):
        FairSynthesizer.load(tmp_path, decoder=nn.Identity())
    file = tmp_path / "student.json"
    text = file.read_text(encoding="utf-8")
    for old, new, message in (
        ('"class": "NumericColumn"', '"class": "Popen"', "no student that .* it holds a 'Popen', which this package"),
        ('"version", 1]', '"version", 99]', "is of version 99; this package reads 1"),
        ('{"$": "tuple"', '{"$": "call"', "no student that .* it holds 'call', which this package"),
        ('"dtype": "<f8"', '"dtype": "<U9999"', "no student that .* dtype '<U9999' is too large"),
        (text, "{}", "no student that this package can read"),
        (text, text[:500], "no student that this package can read"),
        (text, "null", "no student that this package can read"),
        ('["sizes", {"$": "tuple", "values": [', '["sizes", {"$": "tuple", "values": [3, ', "the weights have shapes"),
    ):
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            FairSynthesizer.load(tmp_path)
    file.write_text(text, encoding="utf-8")
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="no student that this package can read"):
        FairSynthesizer.load(tmp_path)


# ---------------------------------------------------------------- big output


def test_batches_hold_as_many_rows_as_were_asked_for(of_table):
    parts = list(of_table.sample_batches(250, batch_size=100))
    assert [len(y) for _, y, _ in parts] == [100, 100, 50]
    assert not parts[0][0].equals(parts[1][0])
    again = list(of_table.sample_batches(250, batch_size=100))
    for one, other in zip(parts, again, strict=True):
        same(one, other)
    for bad in ({"batch_size": 0}, {"n_samples": 0}):
        with pytest.raises(ValueError, match="expected an integer >= 1"):
            of_table.sample_batches(**{"n_samples": 10, **bad})
    with pytest.raises(ValueError, match="expected one value for all rows"):
        of_table.sample_batches(10, batch_size=2, y=["yes", "no"])


def test_parquet_holds_the_batches(of_table, of_vectors, tmp_path):
    file = tmp_path / "rows.parquet"
    names = of_table.write_parquet(file, 250, batch_size=100)
    assert names == [*table(10)[0].columns, "hired"]
    written = pd.read_parquet(file)
    parts = [X.assign(hired=y) for X, y, _ in of_table.sample_batches(250, batch_size=100)]
    whole = pd.concat(parts, ignore_index=True)
    assert written["age"].tolist() == whole["age"].tolist()
    assert written["hired"].tolist() == whole["hired"].tolist()
    assert (written["since"] == whole["since"]).all()
    assert of_vectors.write_parquet(file, 20) == [*(f"x{k}" for k in range(6)), "target", "sensitive_feature_0"]
    assert parquet.read_table(file).num_rows == 20


def test_parquet_of_two_columns_of_one_name(rows, tmp_path):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=["target", *"bcdef"])
    synthesizer = quick(table_teacher()).fit(frame, y, sensitive_features=pd.Series(group, name="g"))
    with pytest.raises(ValueError, match=r"\['target'\] would be two columns each"):
        synthesizer.write_parquet(tmp_path / "rows.parquet", 10)
    synthesizer = quick(table_teacher()).fit(frame, y, sensitive_features=pd.Series(group, name="b"))
    with pytest.raises(ValueError, match=r"\['target', 'b'\] would be two columns each"):
        synthesizer.write_parquet(tmp_path / "rows.parquet", 10)


def test_parquet_of_images_and_of_columns_without_names(rows, tmp_path):
    X, y, group = rows
    teacher = quick_teacher(decoder=nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (2, 4))))
    synthesizer = quick(teacher).fit(X, y, sensitive_features=group)
    with pytest.raises(ValueError, match="are no columns"):
        synthesizer.write_parquet(tmp_path / "rows.parquet", 10)
    frame = pd.DataFrame(np.column_stack([X, group]))
    synthesizer = quick(table_teacher(), sensitive_columns=[6]).fit(frame, y)
    made, _, A = synthesizer.sample(20)
    assert list(made.columns) == list(range(7))
    assert (made[6] == A["x6"]).all()
    assert synthesizer.write_parquet(tmp_path / "rows.parquet", 20) == [*map(str, range(7)), "target"]


def test_a_column_that_has_no_value_in_the_first_part(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=200), "o": pd.Series([None] * 170 + ["q"] * 30, dtype=object)})
    y, group = np.where(X["a"] > 0, "yes", "no"), np.where(rng.random(200) < 0.5, "f", "m")
    made = quick(table_teacher()).fit(X, y, sensitive_features=group)
    for seed in range(3):  # most first parts of three rows have none
        made.write_parquet(tmp_path / "rows.parquet", 300, batch_size=3, random_state=seed)
        read = pd.read_parquet(tmp_path / "rows.parquet")
        assert set(read["o"].dropna()) == {"q"}


def test_a_parquet_file_stays_when_a_later_one_fails(of_table, tmp_path, monkeypatch):
    file = tmp_path / "rows.parquet"
    of_table.write_parquet(file, 20)
    before, parts = file.read_bytes(), of_table.sample_batches

    def failing(*args, **params):
        yield next(iter(parts(*args, **params)))
        raise MemoryError

    monkeypatch.setattr(of_table, "sample_batches", failing)
    with pytest.raises(MemoryError):
        of_table.write_parquet(file, 20)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
