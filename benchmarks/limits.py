"""How much of the label X tells beside the attribute: cross-fitted boosting scores of both, on the binary tables.

Printed per set: the nats that X tells linearly of the label and their exchange rate, which weighs the penalty; AUC of a
score of the label and of a score of the attribute, their correlation, and the AUC of the label's score ranked among
rows that the other score cannot tell apart. That ranking is one way to keep the label without the attribute, from X
alone; it is no upper bound, since what tells nothing of the attribute may still move with its score, but where it is
near 0.5 the two are nearly one and the same in X.
"""

import numpy as np
import pandas as pd
from measuring import versions
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


def score(X, codes):
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, random_state=SEED)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    return cross_val_predict(model, X, codes, cv=folds, method="predict_proba")[:, 1]


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


if __name__ == "__main__":
    main()
