"""The command line of benchmarks that measure sets by seeds, which a killed run goes on with where it stopped."""

import argparse
import time
import warnings
from pathlib import Path

import pandas as pd
from measuring import versions
from problems import _write
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent / "results"


def run_sets(about, name, sets, measure, report):
    """Measure every set and seed that is not in ``results/<name>.csv`` yet, and print the report.

    Parameters
    ----------
    about : str
        Docstring of the benchmark, whose first line is shown by --help.
    name : str
    sets : iterable of str
    measure : callable
        ``measure(set, seed, quick)``: the rows to add, with columns "set" and "seed", as a DataFrame.
    report : callable
        ``report(table)``
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=list(sets), default=list(sets))
    args = parser.parse_args()
    results = RESULTS / "quick" if args.quick else RESULTS
    results.mkdir(exist_ok=True)
    file = results / f"{name}.csv"
    for seed in [] if args.report else range(1 if args.quick else args.seeds):
        for one in args.sets:
            done = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["set", "seed"])
            if ((done["set"] == one) & (done["seed"] == seed)).any():
                continue
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                rows = measure(one, seed, args.quick).assign(versions=versions())
            print(f"{one} seed {seed}: {len(rows)} rows in {time.perf_counter() - start:.0f} s", flush=True)
            # Another process may have added its sets meanwhile.
            done = pd.read_csv(file) if file.exists() else done
            _write(file, pd.concat([done, rows], ignore_index=True).round(5).to_csv(index=False).encode())
    report(pd.read_csv(file))
    print(f"\n{versions()}")
