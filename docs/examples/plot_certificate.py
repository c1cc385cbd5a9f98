"""
A bound that holds for any classifier
=====================================

A representation of census rows is handed to whoever wants to predict incomes. How far apart can the decisions about
women and men be, whatever is trained on it? With finitely many codes there is an answer, with 95 % confidence.
"""

# %%
# A code
# ------
#
# 8,000 people train it. Half of the others, who had no part in that, certify it.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.certification import certify
from sklearn_fairlatent.datasets import load_adult

adult = load_adult()
y = (adult.target == adult.positive_label).astype(int)
sex = adult.sensitive_features["sex"]
X_train, X_rest, y_train, y_rest, sex_train, sex_rest = train_test_split(
    adult.data, y, sex, train_size=8_000, stratify=y.astype(str) + sex, random_state=0
)
X_new, X_other, y_new, _, sex_new, sex_other = train_test_split(X_rest, y_rest, sex_rest, test_size=0.5, random_state=0)


def fitted(n_codes):
    fair = FairLatentTransformer(n_codes=n_codes, encoder=TabularCodec(), max_epochs=10, random_state=0)
    return fair.fit(X_train, y_train, sensitive_features=sex_train)


fair = fitted(8)
certificate = certify(fair, X_new, sex_new)
print(certificate)

# %%
# What the codes are
# ------------------
#
# Each person is now one of eight numbers. The shares of women and men who have it differ little, those who earn
# well differ a lot.

codes = pd.Series(fair.to_codes(X_new), index=X_new.index, name="code")
table = pd.crosstab(codes, sex_new, normalize="columns")
table["earn well"] = y_new.groupby(codes).mean()
print(table.round(3).to_string())

# %%
# An attack
# ---------
#
# Boosted trees are trained not to predict incomes but to tell women from men, on rows that anybody may know: those of
# the training part. What they decide about the other half, which neither they nor the certificate saw, stays below the
# bound; so does the set of codes that was worst in the certified rows.

attack = HistGradientBoostingClassifier(class_weight="balanced", random_state=0)
attack.fit(fair.transform(X_train), sex_train == "Male")


def difference(decided):
    return demographic_parity_difference(decided, decided, sensitive_features=sex_other)


print(f"boosting: {difference(attack.predict(fair.transform(X_other))):.4f}")
decided = np.isin(fair.to_codes(X_other), certificate.worst_set)
print(f"worst set {certificate.worst_set}: {difference(decided):.4f}")
print(f"certified: {certificate.headline}")

# %%
# Rows and codes
# --------------
#
# More held-out rows bring the bound nearer to the truth. The exact test of one fixed set needs fewer than the
# usual bounds. A higher number of codes raises it: samples of equal groups differ, and differ more with more codes.

rng = np.random.RandomState(0)
order = rng.permutation(len(X_new))
sizes = [300, 1000, 3000, len(X_new)]
METHODS = {"fixed_set": "C0o-", "l1": "C1s--", "clopper_pearson": "C2^-."}
by_rows = {method: [] for method in (*METHODS, "estimate")}
for n in sizes:
    rows = order[:n]
    for method in METHODS:
        found = certify(fair, X_new.iloc[rows], sex_new.iloc[rows], method=method)
        by_rows[method].append(found.bound)
    by_rows["estimate"].append(found.estimate)

numbers = [2, 8, 32]
by_codes = {method: [] for method in (*METHODS, "estimate")}
for n_codes in numbers:
    other = fair if n_codes == 8 else fitted(n_codes)
    for method in METHODS:
        found = certify(other, X_new, sex_new, method=method)
        by_codes[method].append(found.bound)
    by_codes["estimate"].append(found.estimate)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
for ax, places, values in zip(axes, (sizes, numbers), (by_rows, by_codes), strict=True):
    for method, style in METHODS.items():
        ax.plot(places, values[method], style, label=method)
    ax.plot(places, values["estimate"], "k:", label="estimate in these rows")
    ax.set_xscale("log", base=10 if ax is axes[0] else 2)
    ax.grid(alpha=0.3)
axes[0].set_xlabel("held-out rows (8 codes)")
axes[0].set_ylabel("demographic parity difference,\nhighest of any classifier")
axes[0].set_yscale("log")
axes[0].set_ylim(0.003, 1)
ticks = [0.003, 0.01, 0.03, 0.1, 0.3, 1]
axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
axes[0].legend(frameon=False)
axes[1].set_xlabel(f"codes ({len(X_new):,} held-out rows)")
axes[1].set_xticks(numbers, [str(n) for n in numbers])
plt.show()
