"""Tables and plots of the trade-off benchmark: ``results/tradeoff.csv`` and ``leakage.csv`` to ``results/TABLES.md``.

For each split the settings on the Pareto front of the VALIDATION rows are chosen; their TEST figures make the
curve. Hypervolume: the area of accuracy above the majority class over disparities from 0 to that of the
raw pipeline, as a share of the box that the raw pipeline's accuracy spans (1 is raw accuracy at no disparity).
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from measuring import versions
from ours import OUR_METHODS
from peers import METHODS

mpl.use("Agg")
import matplotlib.pyplot as plt

DISPARITY = {"demographic_parity": "dp", "equalized_odds": "eo"}
WORDS = {"dp": "demographic parity difference", "eo": "equalized odds difference"}
EG = {"LR": "ExponentiatedGradient (LR)", "boosting": "ExponentiatedGradient (boosting)"}
# Label AUC on test rows below which a latent counts as collapsed.
LOST = 0.55
# Whose shuffles tell what is read by chance where a method has none of its own.
CHANCE_OF = "fair latent"
INTERVAL = "median [lowest, highest] over the seeds"


def front(utility, disparity):
    """Positions that no other point beats in both: utility as high and disparity as low, one of them strictly."""
    kept = []
    for i, (u, d) in enumerate(zip(utility, disparity, strict=True)):
        better = (utility >= u) & (disparity <= d) & ((utility > u) | (disparity < d))
        if not better.any():
            kept.append(i)
    return kept


def hypervolume(utility, disparity, worst_utility, worst_disparity):
    """Area between the staircase of the points and the reference point; 0 if none beats it."""
    area, best, last = 0.0, worst_utility, None
    for d, u in sorted(zip(disparity, utility, strict=True)):
        if d >= worst_disparity:
            break
        if last is not None:
            area += (best - worst_utility) * (d - last)
        best, last = max(best, u), d
    if last is not None:
        area += (best - worst_utility) * (worst_disparity - last)
    return area


def with_blind_methods(table):
    """The table, with fits of methods that know demographic parity only counted for the other constraints, too."""
    parts = [table]
    for _, cell in table.groupby("problem"):
        done = cell.groupby("constraint").method.unique()
        for constraint in sorted(set(done.index) - {"demographic_parity"}):
            fits = cell[(cell.constraint == "demographic_parity") & (cell.kind == "representation")]
            blind = fits[~fits.method.isin([*done[constraint], *OUR_METHODS])]
            parts.append(blind.assign(constraint=constraint))
    return pd.concat(parts, ignore_index=True)


def curves(table):
    """Per split and method: hypervolume on test rows of the settings chosen on validation rows."""
    rows = []
    for (problem, constraint, seed), cell in table.groupby(["problem", "constraint", "seed"]):
        measure = DISPARITY[constraint]
        raw = cell[cell.method == "raw"].set_index("downstream")
        for (method, downstream), points in cell.groupby(["method", "downstream"]):
            reference = raw.loc[downstream if downstream in raw.index else "boosting"] if len(raw) else None
            if reference is None:
                continue
            chosen = points.iloc[front(points.valid_utility.to_numpy(), points[f"valid_{measure}"].to_numpy())]
            box = (reference.test_utility - reference.test_constant) * reference[f"test_{measure}"]
            volume = hypervolume(
                chosen.test_utility, chosen[f"test_{measure}"], reference.test_constant, reference[f"test_{measure}"]
            )
            fairest = chosen.loc[chosen[f"valid_{measure}"].idxmin()]
            rows.append({
                "problem": problem, "constraint": constraint, "method": method, "downstream": downstream,
                "seed": seed, "hypervolume": volume / box if box > 0 else np.nan, "kind": points.kind.iloc[0],
                "fairest_utility": fairest.test_utility, "fairest_disparity": fairest[f"test_{measure}"],
                "majority": reference.test_constant, "raw_utility": reference.test_utility,
                "raw_disparity": reference[f"test_{measure}"], "fit_s": points.fit_s.median(),
                "n_settings": len(points),
            })  # fmt: skip
    return pd.DataFrame(rows)


def interval(values, digits=3):
    values = np.asarray(values, dtype=float)
    return f"{np.median(values):.{digits}f} [{values.min():.{digits}f}, {values.max():.{digits}f}]"


def shown(method):
    """A method's name for the tables: ours bold, an asterisk where new rows must come with their attribute."""
    if method in OUR_METHODS:
        return f"**{method}**"
    return f"{method} \\*" if METHODS[method].needs_attribute else method


def rivalry(volumes, method, rivals):
    """Of the rivals, the hardest on the seeds that both have: both medians, how many seeds, and its name; or None."""
    best = None
    for rival in rivals:
        shared = volumes[[method, rival]].dropna()
        if len(shared):
            ours, theirs = shared.median()
            if best is None or ours - theirs < best[0] - best[1]:
                best = (ours, theirs, len(shared), rival)
    return best


def standing(found, method, downstream):
    """Where one of our methods stands against the representation peers and ExponentiatedGradient, cell by cell."""
    lines = ["| set | constraint | ours (seeds) | ours against the hardest representation peer (shared seeds) | "
             "against EG (shared seeds) | above peers | at or above EG |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    behind = found[found.downstream.isin([downstream, "own"])]
    wins = {"peers": [], "blind": [], "EG": []}
    for (problem, constraint), cell in behind.groupby(["problem", "constraint"], sort=False):
        volumes = cell.pivot_table(index="seed", columns="method", values="hypervolume")
        if method not in volumes:
            continue
        kinds = cell.groupby("method").kind.first()
        peers = [m for m in volumes if kinds[m] == "representation" and m not in OUR_METHODS]
        peer = rivalry(volumes, method, peers)
        blind = rivalry(volumes, method, [m for m in peers if not METHODS[m].needs_attribute])
        eg = rivalry(volumes, method, [EG[downstream]] if EG[downstream] in volumes else [])
        wins["peers"] += [peer[0] > peer[1]] if peer else []
        wins["blind"] += [blind[0] > blind[1]] if blind else []
        wins["EG"] += [eg[0] >= eg[1]] if eg else []
        lines.append(
            f"| {problem} | {constraint} | {volumes[method].median():.3f} ({volumes[method].count()}) | "
            + (f"{peer[0]:.3f} : {peer[1]:.3f} {shown(peer[3])} ({peer[2]})" if peer else "-")
            + (f" | {eg[0]:.3f} : {eg[1]:.3f} ({eg[2]})" if eg else " | -")
            + (f" | {'yes' if wins['peers'][-1] else 'no'}" if peer else " | -")
            + (f" | {'yes' if wins['EG'][-1] else 'no'} |" if eg else " | - |")
        )
    counts = {rival: f"{sum(won)} of the {len(won)} cells where one was measured" for rival, won in wins.items()}
    lines += ["", f"Above every representation peer in {counts['peers']}; above those that, like ours, do without the "
              f"attribute of new rows in {counts['blind']}; at or above EG in {counts['EG']}."]  # fmt: skip
    return "\n".join(lines)


def collapses(table):
    """Cells of ours whose label's AUC on test rows is below 0.55 behind logistic regression, warned of or not."""
    ours = table[table.method.isin(OUR_METHODS) & (table.downstream == "LR")]
    ours = ours.assign(auc=pd.to_numeric(ours.auc, errors="coerce")).dropna(subset="auc")
    lost = ours[ours.auc < LOST]
    silent = lost[~lost.warnings.fillna("").str.contains("LabelLostWarning")]
    text = [f"{len(ours)} fits; {len(lost)} of them below {LOST} in label AUC, {len(silent)} without a warning:", ""]
    text += [f"- {row.problem}, {row.constraint}, {row.method}, {row.setting}, seed {row.seed}: {row.auc:.3f}"
             for row in silent.itertuples()]  # fmt: skip
    return "\n".join(text)


def details(found):
    text = []
    for (problem, constraint), cell in found.groupby(["problem", "constraint"], sort=False):
        raw = cell[cell.method == "raw"]
        n_seeds = cell.seed.nunique()
        text += [
            f"### {problem}, {constraint} ({n_seeds} seeds)",
            "",
            f"Best constant {raw.majority.median():.3f}; raw pipelines: "
            + ", ".join(
                f"{downstream} {part.raw_utility.median():.3f} at {part.raw_disparity.median():.3f}"
                for downstream, part in raw.groupby("downstream")
            )
            + ".",
            "",
            "| method | behind it | hypervolume | fairest chosen: utility | its disparity | fit, s |",
            "|---|---|---|---|---|---|",
        ]
        order = cell.groupby(["method", "downstream"]).hypervolume.median().sort_values(ascending=False).index
        for method, downstream in order:
            part = cell[(cell.method == method) & (cell.downstream == downstream)]
            text.append(
                f"| {shown(method)} | {downstream} | {interval(part.hypervolume)} | {interval(part.fairest_utility)} | "
                f"{interval(part.fairest_disparity)} | {part.fit_s.median():.1f} |"
            )
        text.append("")
    return "\n".join(text)


def leak_table(leaks, chance):
    """Every probe's AUC, with that of one shuffle and the bound: what one shuffle in twenty exceeds, plus 0.02."""
    text = ["| set | constraint | method | attribute | width | strongest | LR | MLP | boosting | shuffled | bound |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for key, part in leaks.groupby(["problem", "constraint", "method", "attribute", "setting"], sort=False):
        problem, constraint, method, attribute, _ = key
        name = f"{shown(method)} {part.setting.iloc[0]}" if method in OUR_METHODS else shown(method)
        shuffles = chance[(chance.problem == problem) & (chance.constraint == constraint)]
        own = method if method in set(shuffles.method) else CHANCE_OF
        shuffles = shuffles[shuffles.method == own].strongest
        bound = f"{shuffles.quantile(0.95) + 0.02:.3f}" if len(shuffles) else "-"
        text.append(
            f"| {problem} | {constraint} | {name} | {attribute} | {part.width.median():.0f} | "
            f"{interval(part.strongest)} | {part['logistic regression'].median():.3f} | {part.MLP.median():.3f} | "
            f"{part.boosting.median():.3f} | {part.shuffled.median():.3f} | {bound} |"
        )
    return "\n".join(text)


def monotony(table):
    """Our strength knob: median disparity and utility per strength."""
    ours = table[table.method.isin(OUR_METHODS) & (table.downstream == "LR")]
    text = ["| set | constraint | method | disparity by rising strength | utility by rising strength | never rises |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for (problem, constraint, method), part in ours.groupby(["problem", "constraint", "method"], sort=False):
        measure = DISPARITY[constraint]
        means = part.groupby("index")[[f"test_{measure}", "test_utility"]].mean()
        if len(means) == 1:
            continue
        gaps = means[f"test_{measure}"].to_numpy()
        text.append(
            f"| {problem} | {constraint} | {method} | {', '.join(f'{v:.3f}' for v in gaps)} | "
            f"{', '.join(f'{v:.3f}' for v in means.test_utility)} | {'yes' if (np.diff(gaps) <= 0).all() else 'no'} |"
        )
    return "\n".join(text)


def plot_curves(table, problem, constraint, path):
    """Test accuracy against disparity, median over seeds per setting, one panel per model behind."""
    measure = DISPARITY[constraint]
    cell = table[(table.problem == problem) & (table.constraint == constraint)]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharex=True, sharey=True, layout="constrained")
    colours = plt.get_cmap("tab20").colors
    methods = list(dict.fromkeys(cell.method))
    for axis, downstream in zip(axes, ("LR", "boosting"), strict=True):
        behind = cell[cell.downstream.isin([downstream, "own"])]
        for method, part in behind.groupby("method", sort=False):
            medians = part.groupby("index")[[f"test_{measure}", "test_utility"]].median()
            medians = medians.sort_values(f"test_{measure}")
            ours = method in OUR_METHODS
            axis.plot(
                medians[f"test_{measure}"], medians.test_utility, marker="o" if ours else ".", label=method,
                color=colours[methods.index(method) % 20], linewidth=2.5 if ours else 1, zorder=3 if ours else 2,
            )  # fmt: skip
        axis.axhline(cell.test_constant.median(), color="0.6", linestyle=":", label="best constant")
        axis.set(title=f"then {downstream}", xlabel=WORDS[measure])
        axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes[0].set_ylabel("R2" if "zfya" in problem else "accuracy")
    lines = {name: line for axis in axes for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize=8)
    figure.suptitle(f"{problem}, {constraint.replace('_', ' ')}: held-out rows, medians over seeds")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_by_method(table, column, label, path, *, log=False):
    """One dot per cell and method: leakage or time."""
    order = table.groupby("method")[column].median().sort_values().index
    figure, axis = plt.subplots(figsize=(9, 0.4 * len(order) + 1.5), layout="constrained")
    for position, method in enumerate(order):
        values = table.loc[table.method == method, column]
        colour = "C3" if method in OUR_METHODS else "C0"
        axis.plot(values, np.full(len(values), position), "|", color=colour, markersize=9)
    axis.set(yticks=range(len(order)), yticklabels=order, xlabel=label)
    if log:
        axis.set_xscale("log")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--quick", action="store_true", help="of a quick run")
    args = parser.parse_args()
    results = args.results or Path(__file__).parent / "results" / ("quick" if args.quick else "")
    table = with_blind_methods(pd.read_csv(results / "tradeoff.csv"))
    found = curves(table)
    parts = ["# Accuracy-fairness trade-off", "", __doc__.split("\n\n", 1)[1], f"Intervals: {INTERVAL}.",
             "\\* needs the attribute of new rows, which ours never does.", ""]  # fmt: skip
    # A grid of one is no curve: it is there for its leakage.
    for method in [m for m in OUR_METHODS if m in set(found.method) and len(OUR_METHODS[m].grid) > 1]:
        for downstream in ("LR", "boosting"):
            table_of = standing(found, method, downstream)
            parts += [f"## {method}, then {downstream}: median hypervolume", "", table_of, ""]
    parts += ["## The strength knob", "", "Means over seeds, logistic regression.", "", monotony(table), ""]
    parts += ["## Collapse", "", collapses(table), ""]
    if (results / "leakage.csv").exists():
        leaks = pd.read_csv(results / "leakage.csv")
        path = results / "chance.csv"
        columns = ["method", "problem", "constraint", "strongest"]
        chance = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
        said = "Bound: what 5 % of the shuffles of `chance.py` exceed with that latent, else with ours, plus 0.02."
        parts += ["## Leakage on held-out latents (AUC)", "", said, "", leak_table(leaks, chance), ""]
        plot_by_method(leaks, "strongest", "AUC of the strongest held-out probe", results / "leakage.png")
    parts += ["## All methods", "", details(found)]
    parts += ["## Versions", "", versions(), "", *sorted(set(table.code)), ""]
    plot_by_method(found, "fit_s", "fit, s", results / "time.png", log=True)
    for problem, constraint in dict.fromkeys(zip(found.problem, found.constraint, strict=True)):
        plot_curves(table, problem, constraint, results / f"{problem}-{DISPARITY[constraint]}.png")
    (results / "TABLES.md").write_text("\n".join(parts))
    print("\n".join(parts))


if __name__ == "__main__":
    main()
