# The command line: what it writes and says, and the one line for each thing that can be wrong.
import functools
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_fairlatent
from sklearn_fairlatent import FairLatentTransformer, _audit, _tables
from sklearn_fairlatent._audit import main
from sklearn_fairlatent.inspection import _measuring, _report

BASE = ["--target", "pay", "--sensitive", "sex,race", "--pos-label", "high"]
# One attribute is measured in a third of the time that two and their intersection take.
ONE = ["--target", "pay", "--sensitive", "sex", "--pos-label", "high"]


def make_table(n=400, seed=0):
    """Two attributes with different means; words, numbers and gaps."""
    rng = np.random.RandomState(seed)
    sex, race = rng.choice(["f", "m"], n, p=[0.4, 0.6]), rng.choice(["a", "b"], n, p=[0.7, 0.3])
    merit = rng.normal(size=n)
    pay = merit + 0.9 * (sex == "m") + 0.4 * (race == "a") + 0.5 * rng.normal(size=n)
    table = pd.DataFrame({
        "age": rng.randint(18, 80, n),
        "merit": merit.round(3),
        "job": np.where(rng.uniform(size=n) < 0.8, np.where(sex == "m", "driver", "nurse"), "clerk"),
        "sex": sex,
        "race": race,
        "pay": np.where(pay > 0.7, "high", "low"),
    })  # fmt: skip
    table.loc[::17, "merit"] = None
    table.loc[::23, "job"] = None
    return table


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Epochs, panel and pictures take most of the time, and are tested elsewhere; as a process all run as they are."""
    monkeypatch.setattr(_audit, "FairLatentTransformer", functools.partial(FairLatentTransformer, max_epochs=2))
    monkeypatch.setattr(_measuring, "PROBES", {"linear": make_pipeline(StandardScaler(), LogisticRegression())})
    monkeypatch.setattr(_report, "draw", lambda *_: {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_table().to_csv("people.csv", index=False)
    return tmp_path


def run(*argv):
    return main(["audit", *map(str, argv)])


def run_report(*argv):
    """The JSON of a run that must succeed."""
    assert run(*argv, "--out", "page.html", "--json", "numbers.json", "--quiet") == 0
    return json.loads(Path("numbers.json").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- what it does


def test_it_writes_a_page_and_says_so(folder, capsys):
    assert run("people.csv", *BASE, "--out", "page.html", "--json", "numbers.json") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "page.html"
    assert lines[1].startswith("On these 120 held-out rows the model is right in")
    assert "(baseline " in lines[2]
    assert "the strongest probe reads" in lines[3]
    stages = [line.split("] ", 1)[1].split()[0] for line in err.splitlines() if "note:" not in line]
    assert stages == ["reading", "fitting", "fitting", "measuring", "writing", "done"]
    assert all(line.startswith("[") and " s] " in line for line in err.splitlines())

    page = Path("page.html").read_text(encoding="utf-8")
    assert "<h1>Fairness audit of people.csv: pay by sex and race</h1>" in page
    numbers = json.loads(Path("numbers.json").read_text(encoding="utf-8"))
    assert {row["model"] for row in numbers["scores"]} == {"model", "baseline"}
    assert numbers["about"]["source"].startswith("people.csv: 280 rows to fit and 120 held out")
    assert numbers["about"]["columns"] == 3  # the attributes are no features
    assert numbers["latent"]["protected"] == ["sex", "race"]
    # Split, fits and probes have one seed; the date is the only thing that differs.
    again = run_report("people.csv", *BASE)
    assert {**again, "date": ""} == {**numbers, "date": ""}
    assert capsys.readouterr().err == ""


def test_the_parts_have_their_share_of_groups_and_labels(folder):
    table = make_table()
    numbers = run_report("people.csv", *BASE, "--test-size", "0.25")
    for column, sizes in numbers["about"]["attributes"].items():
        for group, size in sizes.items():
            assert abs(size - 0.25 * (table[column] == group).sum()) <= 2


def test_kinds_of_tables(folder):
    table = make_table()
    table.to_csv("people.tsv", index=False, sep="\t")
    table.to_csv("people.csv.gz", index=False)
    table.to_csv("spaced.csv", index=False, sep=",", encoding="utf-8-sig")
    Path("spaced.csv").write_text(Path("spaced.csv").read_text(encoding="utf-8").replace(",", ", "), encoding="utf-8")
    table.to_parquet("people.parquet")
    for name in ("people.tsv", "people.csv.gz", "spaced.csv", "people.parquet"):
        pd.testing.assert_frame_equal(_tables.read_table(name), _tables.read_table("people.csv"))


def test_a_table_of_categories(folder):
    make_table().astype({"pay": "category", "sex": "category", "job": "category"}).to_parquet("people.parquet")
    numbers = run_report("people.parquet", *ONE)
    assert numbers["about"]["labels"].keys() == {"high", "low"}


def test_embeddings_with_labels(folder):
    table = make_table()
    X = np.random.RandomState(0).normal(size=(len(table), 6)) + np.outer(table["sex"] == "m", [1, 0, 0, 0, 0, 0])
    np.save("X.npy", X.astype(np.float16))
    table.loc[:9, "pay"] = None
    table.to_csv("people.csv", index=False)
    numbers = run_report("X.npy", "--labels", "people.csv", *ONE)
    assert numbers["about"]["columns"] == 6
    assert numbers["about"]["source"].startswith("X.npy: 273 rows to fit and 117 held out")
    assert "10 of 400 rows have no pay and are left out." in numbers["notes"]


def test_options_reach_the_transformer(folder):
    options = ["--strength", "0.5", "--constraints", "true_positive_rate_parity", "--rows", "1", "--seed", "3"]
    numbers = run_report("people.csv", *BASE, *options, "--codes", "4")
    certificate = numbers["latent"]["certificate"]
    assert certificate["constraints"] == "true_positive_rate_parity"
    assert certificate["n_codes"] <= 4
    assert certificate["sentence"] in numbers["summary"]
    assert numbers["latent"]["fairness_strength"] == 0.5
    assert numbers["latent"]["constraints"] == "true_positive_rate_parity"
    assert numbers["about"]["random_state"] == 3
    assert len({(row["attribute"], row["row"]) for row in numbers["counterfactuals"]}) == 2


def test_a_certificate_is_printed_or_why_there_is_none(folder, capsys):
    assert run("people.csv", *ONE, "--codes", "4", "--out", "page.html", "--quiet") == 0
    assert "any classifier that sees only the" in capsys.readouterr().out
    assert run("people.csv", *ONE, "--codes", "200", "--out", "page.html", "--quiet") == 0
    assert "No certificate: n_codes=" in capsys.readouterr().out


def test_a_quantity_is_cut_by_bins(folder):
    numbers = run_report(
        "people.csv", "--target", "pay", "--sensitive", "age,sex", "--pos-label", "high", "--bins", "age=35,55"
    )
    assert set(numbers["about"]["attributes"]["age"]) == {"< 35", "35 to < 55", ">= 55"}
    assert numbers["latent"]["blocks"]["age"] == 1  # protected as the quantity that it is


def test_of_many_labels_one_against_the_rest(folder):
    table = make_table()
    table["pay"] = table["pay"].mask(table["age"] < 30, "none")
    table.to_csv("people.csv", index=False)
    numbers = run_report("people.csv", *ONE)
    assert set(numbers["about"]["labels"]) == {"high", "not high"}


@pytest.mark.parametrize(
    ("values", "options"),
    [((1, 0), []), ((True, False), []), ((True, False), ["--pos-label", "true"]), ((2, 1), ["--pos-label", "2"])],
)
def test_labels_that_are_numbers_or_bools(folder, values, options):
    table = make_table()
    table["pay"] = table["pay"].map({"high": values[0], "low": values[1]}).astype(object)
    table.loc[:4, "pay"] = None  # so that pandas reads floats, or objects
    table.to_csv("people.csv", index=False)
    numbers = run_report("people.csv", "--target", "pay", "--sensitive", "sex", *options)
    assert numbers["about"]["labels"].keys() <= {str(values[0]), str(values[1]), "1", "0"}
    rates = [row["selection_rate"] for row in numbers["groups"] if row["model"] == "baseline"]
    assert 0 < min(rates) < 0.5


def test_what_is_left_out_is_said(folder, capsys):
    table = make_table()
    table["name"] = [f"person {k}" for k in range(len(table))]
    table.loc[5:25, "race"] = None
    table.loc[0, "sex"] = "x"
    table.to_csv("people.csv")  # with a column without a name
    assert run("people.csv", *BASE, "--drop", "age", "--out", "page.html", "--json", "numbers.json") == 0
    numbers = json.loads(Path("numbers.json").read_text(encoding="utf-8"))
    assert numbers["about"]["columns"] == 2
    assert any(note.startswith("column 'name' is left out: 400 different words") for note in numbers["notes"])
    assert any("rows have no value of 'race'" in note for note in numbers["notes"])
    assert "note: column 'name' is left out" in capsys.readouterr().err


def test_version_and_help(capsys):
    for option, said in (("--version", sklearn_fairlatent.__version__), ("--help", "audit")):
        with pytest.raises(SystemExit) as left:
            main([option])
        assert left.value.code == 0
        assert said in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["audit", "--help"])
    assert left.value.code == 0
    assert "--pos-label" in capsys.readouterr().out


def test_an_unexpected_error_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr(_report, "summarise", lambda report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("people.csv", *ONE, "--out", "page.html")
    assert not Path("page.html").exists()


def test_as_a_process(tmp_path):
    make_table(300).to_csv(tmp_path / "people.csv", index=False)
    command = [sys.executable, "-m", "sklearn_fairlatent", "audit", "people.csv", "--target", "pay"]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    wrong = subprocess.run(
        [*command, "--sensitive", "gender", "--out", "page.html"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    said = [line for line in wrong.stderr.splitlines() if not line.startswith("[")]
    assert said == ["error: --sensitive: there is no column 'gender'. The columns are age, merit, job, sex, race, pay."]
    fine = subprocess.run(
        [*command, "--sensitive", "sex", "--pos-label", "high", "--rows", "0", "--quiet", "--out", "page.html"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (fine.returncode, fine.stderr) == (0, "")
    assert fine.stdout.startswith("page.html\nOn these 90 held-out rows")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def refuse(folder, capsys):
    """Run with what is wrong, and give back the one line that says so."""

    def refuse(*argv, base=BASE, out="page.html"):
        assert run(*argv, *base, "--out", out) == 2
        printed, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("[")]
        assert printed == ""
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert not Path("page.html").exists()
        return lines[0]

    return refuse


def with_table(change):
    table = make_table()
    change(table)
    table.to_csv("people.csv", index=False)


def test_files_that_are_refused(refuse, folder):
    assert "nowhere.csv does not exist." in refuse("nowhere.csv")
    assert "people.xlsx: unknown kind of file. Known are .csv" in refuse("people.xlsx")
    Path("a.csv").mkdir()
    assert "a.csv is not a file." in refuse("a.csv")
    Path("empty.csv").touch()
    assert "empty.csv is empty." in refuse("empty.csv")
    Path("head.csv").write_text("age,sex,race,pay\n")
    assert "head.csv has no rows." in refuse("head.csv")
    Path("latin.csv").write_bytes("sex,race,pay\nf,é,high\n".encode("latin-1"))
    assert "latin.csv is not UTF-8 text" in refuse("latin.csv")
    Path("ragged.csv").write_text("sex,pay\nf,high\nf,high,1,2\n")
    assert "ragged.csv cannot be read" in refuse("ragged.csv")
    Path("shifted.csv").write_text("sex,race,pay\n1,f,a,high\n2,m,a,low\n")
    assert "more values than its first line has names" in refuse("shifted.csv")
    Path("broken.csv.gz").write_bytes(gzip.compress(b"sex,race,pay\n" * 1000)[:-20])
    assert "broken.csv.gz cannot be read" in refuse("broken.csv.gz")
    Path("no.csv.gz").write_text("sex,race,pay\n")
    assert "no.csv.gz cannot be read" in refuse("no.csv.gz")
    Path("no.parquet").write_text("sex,race,pay\n")
    assert "no.parquet cannot be read" in refuse("no.parquet")


def test_parquet_without_pyarrow(refuse, folder, monkeypatch):
    monkeypatch.setattr(_tables.importlib.util, "find_spec", lambda name: None)
    Path("people.parquet").touch()
    assert "takes pyarrow. Run `pip install pyarrow`" in refuse("people.parquet")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(refuse, folder):
    os.chmod("people.csv", 0)
    assert "people.csv cannot be read" in refuse("people.csv")


def test_columns_that_are_refused(refuse, folder):
    told = refuse("people.csv", base=["--target", "Pai", "--sensitive", "sex", "--pos-label", "high"])
    assert told.startswith("error: --target: there is no column 'Pai'. Did you mean 'pay'? The columns are age, merit")
    assert "--sensitive: there is no column 'rase'. Did you mean 'race'?" in refuse(
        "people.csv", base=["--target", "pay", "--sensitive", "sex,rase"]
    )
    assert "--drop: there is no column 'agee'. Did you mean 'age'?" in refuse("people.csv", "--drop", "agee")
    assert "column 'sex' is named for two things" in refuse("people.csv", "--drop", "sex")
    assert "no column is left to learn from" in refuse("people.csv", "--drop", "age,merit,job")


def test_labels_that_are_refused(refuse, folder):
    base = ["--target", "merit", "--sensitive", "sex"]
    assert "--target merit: a quantity with" in refuse("people.csv", base=base)
    assert "the audit takes classes" in refuse("people.csv", base=base)
    base = ["--target", "pay", "--sensitive", "sex"]
    assert "--target pay has the labels 'high', 'low'. Say which is favourable: --pos-label" in refuse(
        "people.csv", base=base
    )
    assert "--pos-label 'hi' is not among the labels of pay: 'high', 'low'." in refuse(
        "people.csv", base=[*base, "--pos-label", "hi"]
    )
    with_table(lambda table: table.__setitem__("pay", "high"))
    assert "--target pay: a single class, ['high']" in refuse("people.csv")
    with_table(lambda table: table.__setitem__("pay", None))
    assert "single class, []" in refuse("people.csv")


def test_attributes_that_are_refused(refuse, folder):
    base = ["--target", "pay", "--pos-label", "high", "--sensitive"]
    told = refuse("people.csv", base=[*base, "age"])
    assert "--sensitive age: a quantity with 62 different values" in told
    assert "for example --bins age=" in told
    assert "a single group, ['>= 5']" in refuse("people.csv", "--bins", "age=5", base=[*base, "age"])
    assert "--bins names 'age', which is not among --sensitive sex" in refuse(
        "people.csv", "--bins", "age=5", base=[*base, "sex"]
    )
    assert "--bins sex: the values of that column are not numbers" in refuse(
        "people.csv", "--bins", "sex=5", base=[*base, "sex"]
    )
    with_table(lambda table: table.__setitem__("sex", "f"))
    assert "--sensitive sex: a single group, ['f']" in refuse("people.csv")
    with_table(lambda table: table.__setitem__("residual", table["sex"]))
    assert "--sensitive residual: blocks of the latent bear that name" in refuse("people.csv", base=[*base, "residual"])


def test_embeddings_that_are_refused(refuse, folder):
    labels = ["--labels", "people.csv"]
    X = np.random.RandomState(0).normal(size=(400, 3))
    np.save("X.npy", X)
    assert "a .npy file holds no labels: pass --labels" in refuse("X.npy")
    assert "--labels goes with embeddings" in refuse("people.csv", *labels)
    assert "--drop names columns of a table" in refuse("X.npy", *labels, "--drop", "age")
    assert "missing.npy does not exist." in refuse("missing.npy", *labels)
    np.save("short.npy", X[:300])
    assert "short.npy has 300 rows, people.csv has 400" in refuse("short.npy", *labels)
    X[7, 1] = np.nan
    np.save("gaps.npy", X)
    told = "1 rows hold NaN or infinity, or numbers above 1e+100; the first is row 7"
    assert told in refuse("gaps.npy", *labels)
    huge = np.zeros((400, 3))
    huge[7] = 1e200
    np.save("huge.npy", huge)
    assert told in refuse("huge.npy", *labels)
    np.save("flat.npy", np.zeros(400))
    assert "flat.npy has the shape (400,); expected two dimensions" in refuse("flat.npy", *labels)
    np.save("words.npy", np.full((400, 2), "a"))
    assert "expected real numbers" in refuse("words.npy", *labels)
    # Unpickling could run anything.
    np.save("objects.npy", np.array([[Path("x")]], dtype=object), allow_pickle=True)
    assert "objects.npy cannot be read as an array of numbers" in refuse("objects.npy", *labels)
    Path("pickle.npy").write_bytes(pickle.dumps([1]))
    assert "pickle.npy cannot be read as an array of numbers" in refuse("pickle.npy", *labels)
    archive = io.BytesIO()
    np.savez(archive, X)
    Path("many.npy").write_bytes(archive.getvalue())
    assert "many.npy has the shape None" in refuse("many.npy", *labels)


def test_features_that_are_refused(refuse, folder):
    make_table().assign(since=date(2020, 1, 1)).to_parquet("dates.parquet")
    assert "have no encoding of their own" in refuse("dates.parquet")
    assert "Or leave the column out: --drop COLUMN." in refuse("dates.parquet")


def test_too_few_rows(refuse, folder):
    make_table(60).to_csv("people.csv", index=False)
    assert "60 rows with a label are too few" in refuse("people.csv")
    with_table(lambda table: table.__setitem__("sex", np.where(np.arange(len(table)) < 8, "f", "m")))
    assert "fewer than two groups of 'sex' have 5" in refuse("people.csv")
    with_table(lambda table: table.__setitem__("pay", np.where(np.arange(len(table)) < 1, "high", "low")))
    assert "label 'high' has a single row" in refuse("people.csv")
    with_table(lambda table: table.__setitem__("pay", np.where(np.arange(len(table)) < 2, "high", "low")))
    assert "have one label" in refuse("people.csv", "--test-size", "0.1")


def test_outputs_are_checked_before_the_work(refuse, folder, monkeypatch):
    assert "folder absent does not exist" in refuse("people.csv", out="absent/page.html")
    assert "people.csv is read or written already" in refuse("people.csv", out="people.csv")
    assert "page.html is read or written already" in refuse("people.csv", "--json", "page.html")
    Path("folder").mkdir()
    assert "folder is a folder" in refuse("people.csv", out="folder")

    def fail(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_tables.tempfile, "TemporaryFile", fail)
    # Told before the table is read.
    assert "nothing can be written in folder .: Permission denied." in refuse("missing.csv")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--strength", "-1"], "'-1' is not a number from 0 to 1000"),
        (["--strength", "nan"], "'nan' is not a number from 0 to 1000"),
        (["--test-size", "1"], "'1' is not a number between 0 and 1"),
        (["--test-size", "most"], "'most' is not a number between 0 and 1"),
        (["--strength", "1e300"], "'1e300' is not a number from 0 to 1000"),
        (["--codes", "1"], "'1' is not a whole number from 2 to 512"),
        (["--jobs", "0"], "'0' is not a number of jobs"),
        (["--seed", "-1"], "'-1' is not a whole number of 0 or more"),
        (["--rows", "2.5"], "'2.5' is not a whole number of 0 or more"),
        (["--constraints", "justice"], "invalid choice: 'justice'"),
        (["--bins", "age"], "'age' is not a column with edges, such as age=30,50"),
        (["--bins", "age=young"], "is not a column with edges"),
        (["--drop", "age,,sex"], "is not a list of different column names"),
        (["--sensitive", "sex,sex"], "is not a list of different column names"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_arguments_that_are_refused(refuse, options, told):
    assert told in refuse("people.csv", *options)


def test_a_command_and_its_arguments_are_required(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: the following arguments are required: COMMAND")
    assert main(["audit", "people.csv"]) == 2
    assert "--target, --sensitive, --out" in capsys.readouterr().err


def test_two_columns_of_one_name_are_refused(refuse):
    Path("twice.csv").write_text("x,sex,sex,income\n" + "1,f,f,0\n2,m,m,1\n" * 60)
    told = refuse("twice.csv", base=["--target", "income", "--sensitive", "sex"])
    assert told == "error: twice.csv has two columns 'sex'. Rename one: which is meant?"


# ---------------------------------------------------------------- columns as files have them


@pytest.mark.parametrize("kind", ["numbers", "truth values", "nullable numbers"])
def test_one_attribute_need_not_be_words(folder, kind):
    table = make_table()
    code = (table["sex"] == "m").astype(int)
    if kind == "nullable numbers":
        code = code.astype("Int64").mask(np.arange(len(code)) % 50 == 0)
    elif kind == "truth values":
        code = code == 1
    table.assign(sex=code).to_parquet("coded.parquet")
    assert run("coded.parquet", *ONE, "--out", "page.html", "--quiet") == 0


def test_none_is_a_word_among_words(folder):
    table = make_table()
    table["sex"] = table["sex"].replace("f", "None")
    table["race"] = (table["race"] == "a").astype(int).astype(object).mask(np.arange(len(table)) % 7 == 0, "None")
    table.insert(0, "", "")  # a column without a name or values
    table["told"] = pd.Series(table["sex"] == "m", dtype=object).mask(table["race"] == "None", "None")
    table.to_csv("words.csv", index=False)
    read = _tables.read_table("words.csv")
    assert set(read["told"].dropna()) == {True, False}
    assert set(read["sex"]) == {"None", "m"}
    assert read["race"].dtype == np.float64  # among numbers it is a missing one
    assert read["race"].isna().sum() == (np.arange(len(table)) % 7 == 0).sum()
    assert read["job"].isna().sum() == table["job"].isna().sum()


def test_columns_that_are_no_single_values_or_bear_a_block_s_name(refuse, folder):
    table = make_table()
    table.assign(made=[[1, 2]] * len(table)).to_parquet("lists.parquet")
    assert "column 'made' holds lists or records, not single values. Pass --drop made." in refuse("lists.parquet")
    table.assign(sex=[{"a": 1}] * len(table)).to_parquet("records.parquet")
    assert "column 'sex' holds lists or records, not single values. Leave it out" in refuse("records.parquet")
    table.rename(columns={"pay": "residual"}).to_csv("block.csv", index=False)
    assert "--target residual: a block of the latent" in refuse("block.csv", base=["--target", "residual", *ONE[2:4]])


def test_days_are_no_names_of_rows(folder, capsys):
    make_table().assign(day=pd.date_range("2020-01-01", periods=400)).to_parquet("days.parquet")
    assert run("days.parquet", *ONE, "--out", "page.html") == 0
    assert "'day' is left out" not in "".join(capsys.readouterr())
