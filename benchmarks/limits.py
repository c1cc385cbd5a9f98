"""How much of the label X tells beside the attribute: cross-fitted boosting scores of both, on the binary tables.

Printed per set: the nats that X tells linearly of the label and their exchange rate, which weighs the penalty; AUC of a
score of the label and of a score of the attribute, their correlation, and the AUC of the label's score ranked among
rows that the other score cannot tell apart. That ranking is one way to keep the label without the attribute, from X
alone; it is no upper bound, since what tells nothing of the attribute may still move with its score, but where it is
near 0.5 the two are nearly one and the same in X.

Then what the test rows of the trade-off can tell: the disparities of logistic regression on X there and, beside them,
those that the same predictions have where the attribute is shuffled among all rows, or among rows of one label, so that
the groups are equal. Where the two are alike, a curve of the trade-off is mostly chance.

Last, on the same rows, the AUC of a score of the label and of its ranks within the groups. Of scores that are
independent of the attribute and order the rows of a group alike these ranks are the only ones, up to a monotone map: it
is all that parity leaves of that score, even to a model that is told the attribute.
"""

import numpy as np
import pandas as pd
from measuring import classifier, group_disparity, three_way_split, versions
from problems import load
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from tradeoff import label_codes

from sklearn_fairlatent._latent import linear_information, linear_scores, moments
from sklearn_fairlatent._objective import exchange_rate

SETS = ("german-sex", "german-age", "compas-race", "law-race", "adult-sex", "adult-race")
BINS = 40
SEED = 0
TEST_SETS = (*SETS, "reddit-gender")
RANKED_SETS = (*TEST_SETS, "adult-text-sex")
N_SEEDS, N_SHUFFLES = 5, 40


def score(X, codes):
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, random_state=SEED)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    return cross_val_predict(model, X, codes, cv=folds, method="predict_proba")[:, 1]


def shuffled(values, within, rng):
    """The values in another order, each among the rows where ``within`` is as in its own."""
    order = np.lexsort((rng.random_sample(len(values)), within))
    places = np.argsort(within, kind="stable")
    mixed = np.empty_like(values)
    mixed[places] = values[order]
    return mixed


def chance_disparities(name):
    """Per constraint: the disparities of logistic regression on the test rows of every seed, own and shuffled."""
    problem, found = load(name), {"demographic_parity": ([], []), "equalized_odds": ([], [])}
    y = label_codes(problem)
    for seed in range(N_SEEDS):
        train, _, test = three_way_split(y, problem, seed)
        predicted = classifier().fit(problem.X[train], y[train]).predict(problem.X[test])
        values, rng = problem.sensitive.iloc[test, 0].to_numpy(), np.random.RandomState(seed)
        for constraint, (own, equal) in found.items():
            within = y[test] if constraint == "equalized_odds" else np.zeros(len(test))
            own.append(_disparity(y[test], predicted, values, constraint))
            equal += [
                _disparity(y[test], predicted, shuffled(values, within, rng), constraint) for _ in range(N_SHUFFLES)
            ]
    return found


def ranked_auc(name):
    """AUC of the label on the test rows of every seed: of logistic regression's scores, and of ranks in a group."""
    problem = load(name)
    y, plain, ranked = label_codes(problem), [], []
    for seed in range(N_SEEDS):
        train, _, test = three_way_split(y, problem, seed)
        scores = classifier().fit(problem.X[train], y[train]).decision_function(problem.X[test])
        ranks = pd.Series(scores).groupby(problem.sensitive.iloc[test, 0].to_numpy()).rank(pct=True)
        plain.append(roc_auc_score(y[test], scores))
        ranked.append(roc_auc_score(y[test], ranks))
    return plain, ranked


def _disparity(y, predicted, values, constraint):
    return group_disparity(y, predicted, pd.DataFrame({"group": values}), constraint, "binary")


def main():
    print(versions(), f"seed {SEED}")
    print("| set | nats | rate | label | attribute | correlation | label beside that | attribute read from it |")
    print("|---|---|---|---|---|---|---|---|")
    for name in SETS:
        problem = load(name)
        label = label_codes(problem)
        values = problem.sensitive.iloc[:, 0].to_numpy()
        attribute = (values == np.unique(values)[0]).astype(int)
        codes = label[:, None].astype(float)
        stats = moments(problem.X, codes, np.arange(len(codes)))
        nats = linear_information(stats, slice(0, 1), codes)
        scores = linear_scores(stats, slice(0, 1), problem.X)
        rate = exchange_rate(nats, scores, attribute[:, None].astype(float), np.ones(1))
        of_label, of_attribute = score(problem.X, label), score(problem.X, attribute)
        edges = np.quantile(of_attribute, np.linspace(0, 1, BINS + 1)[1:-1])
        ranks = pd.Series(of_label).groupby(np.digitize(of_attribute, edges)).rank(pct=True)
        print(
            f"| {name} | {nats:.3f} | {rate:.2f} | "
            f"{roc_auc_score(label, of_label):.3f} | {roc_auc_score(attribute, of_attribute):.3f} | "
            f"{np.corrcoef(of_label, of_attribute)[0, 1]:.2f} | {roc_auc_score(label, ranks):.3f} | "
            f"{roc_auc_score(attribute, ranks):.3f} |"
        )
    print(f"\nTest rows of seeds 0 to {N_SEEDS - 1}, {N_SHUFFLES} shuffles of each: medians")
    print("| set | constraint | disparity | of equal groups |")
    print("|---|---|---|---|")
    for name in TEST_SETS:
        for constraint, (own, equal) in chance_disparities(name).items():
            print(f"| {name} | {constraint} | {np.median(own):.3f} | {np.median(equal):.3f} |")
    print(f"\nTest rows of seeds 0 to {N_SEEDS - 1}: medians")
    print("| set | AUC of the label | of the ranks within the groups |")
    print("|---|---|---|")
    for name in RANKED_SETS:
        plain, ranked = ranked_auc(name)
        print(f"| {name} | {np.median(plain):.3f} | {np.median(ranked):.3f} |")


if __name__ == "__main__":
    main()
