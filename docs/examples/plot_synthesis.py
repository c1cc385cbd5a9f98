"""
Synthetic rows that do not repeat an injustice
==============================================

In the census rows of 1994 a man earns well three times as often as a woman, and a model trained on them decides so.
Here a small student makes new rows, in which income says nothing of sex. What do models learn from them?
"""

# %%
# A teacher and its student
# -------------------------
#
# 10,000 people train the teacher, a fair latent, and the student; 12,000 others judge.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_fairlatent.datasets import load_adult
from sklearn_fairlatent.metrics import synthesis_report
from sklearn_fairlatent.synthesis import FairSynthesizer

adult = load_adult()
X, y = adult.frame.drop(columns=["income", "sex"]), adult.target
A = adult.sensitive_features[["sex"]].reset_index(drop=True)
strata = y.astype(str) + A["sex"].astype(str)
X, X_test, y, y_test, A, A_test = train_test_split(
    X, y, A, train_size=10_000, test_size=12_000, stratify=strata, random_state=0
)
synthesizer = FairSynthesizer(random_state=0).fit(X, y, sensitive_features=A)
X_new, y_new, A_new = synthesizer.sample(10_000)
columns = ["age", "education", "marital-status", "occupation", "hours-per-week", "capital-gain"]
print(X_new[columns].assign(sex=A_new["sex"], income=y_new).head(5).to_string())

# %%
# Nobody of them lives. Columns are distributed as in the census; what changed is who earns well.

print("real:", pd.crosstab(A["sex"], y, normalize="index").round(3).to_dict("index"))
print("synthetic:", pd.crosstab(A_new["sex"], y_new, normalize="index").round(3).to_dict("index"))

fig, axes = plt.subplots(1, 3, figsize=(9, 2.8))
for ax, column in zip(axes, ["age", "hours-per-week", "education"], strict=True):
    if column == "education":
        shares = [table[column].value_counts(normalize=True) for table in (X, X_new)]
        frame = pd.concat(shares, axis=1, keys=["real", "synthetic"]).fillna(0).nlargest(6, "real")
        frame.plot.barh(ax=ax, legend=False, ylabel="", width=0.8)
        ax.invert_yaxis()
    else:
        ax.hist([X[column], X_new[column]], bins=24, density=True, label=["real", "synthetic"])
        ax.set_yticks([])
    ax.set_title(column)
axes[0].legend()
fig.tight_layout()

# %%
# What models learn
# -----------------
#
# Three learners train on the synthetic rows, and on the real ones. Both are judged on real people. Sex is no feature,
# but it can be told from the others.

report = synthesis_report((X_test, y_test, A_test), (X_new, y_new, A_new), train=(X, y, A))
print(report)

fig, ax = plt.subplots(figsize=(6, 3.4))
for source, marker in (("real", "s"), ("synthetic", "o")):
    for k, (learner, row) in enumerate(report.utility.loc[source].iterrows()):
        ax.plot(
            row["demographic_parity_difference"], row["accuracy"], marker, color=f"C{k}", label=f"{learner}, {source}"
        )
ax.axhline(report.majority_accuracy, color="gray", linestyle=":", label="most frequent label")
ax.set_xlabel("difference of selection rates")
ax.set_ylabel("accuracy")
ax.set_xlim(left=0)
ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
fig.tight_layout()

# %%
# Fairer, and less accurate: income does depend on sex in the rows that judge. ``authenticity`` compares with that of
# real people who took no part: the synthetic rows are no nearer to those who trained than strangers are.
#
# To hand on
# ----------
#
# The student alone, without its teacher and without a row of the census, is two small files.

print(synthesizer.cost().round(0).to_string())
