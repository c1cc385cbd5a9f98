"""
Census rows as members of the other group
=========================================

Adult is a table of people in a census; the label is an income above 50,000 dollars. Here a model of that table says
what a woman's row would look like as a man's and a man's as a woman's, classifiers trained on other rows say whether
they would believe it, and a model of the income is asked how much its decisions hang on sex.

.. important::

   **Nothing here is causal.** A counterfactual row is what a model of the data holds for the likeliest version of a row
   in the other group, near the row and otherwise read as before. It does not say what would have happened to
   anybody: whoever wants to know that needs assumptions about causes, which no table contains.
"""

# %%
# The rows
# --------
#
# 6,000 people teach the map, 10,000 others the classifiers, and 2,000 whom none of them saw are asked about.
# Two columns are left out: ``fnlwgt`` is a weight of the survey, ``education-num`` says again what
# ``education`` says.

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult
from sklearn_fairlatent.metrics import counterfactual_scores

adult = load_adult()
X = adult.data.drop(columns=["fnlwgt", "education-num"])
y, sex = adult.target, adult.sensitive_features["sex"]
strata = y.astype(str) + sex
X_map, X, y_map, y, sex_map, sex, _, strata = train_test_split(
    X, y, sex, strata, train_size=6000, stratify=strata, random_state=0
)
X_model, X_new, y_model, y_new, sex_model, sex_new = train_test_split(
    X, y, sex, train_size=10_000, test_size=2000, stratify=strata, random_state=0
)

# %%
# The map
# -------
#
# ``counterfactual_map="trained"`` learns a map for counterfactuals: in the encoded rows there is a block for
# sex, one for income and the rest, and moving the block of sex makes small readers of several kinds read the
# other sex, and the same income as before. The columns in ``immutable_features`` stay: nobody gets another
# race, country or age.
#
# The codec's ``repair`` says what must hold between columns of a decoded row: husbands and wives are married
# here. With ``numeric="quantile"`` the few large capital gains do not stretch the scale on which everybody
# else has 0.
#
# ``max_epochs=5`` shortens the part of the fit that
# :meth:`~sklearn_fairlatent.FairLatentTransformer.transform` needs, which this page does not use.


def marry_spouses(rows):
    spouse = rows["relationship"].isin(["Husband", "Wife"])
    married = rows["marital-status"].isin(["Married-civ-spouse", "Married-AF-spouse"])
    status = rows["marital-status"].mask(spouse & ~married, "Married-civ-spouse")
    return rows.assign(**{"marital-status": status})


fair = FairLatentTransformer(
    encoder=TabularCodec(numeric="quantile", repair=marry_spouses),
    counterfactual_map="trained",
    immutable_features=["race", "native-country", "age"],
    max_epochs=5,
    random_state=0,
)
fair.fit(X_map, y_map, sensitive_features=sex_map)
moved = fair.counterfactual(X_new, "sex", sensitive_features=sex_new)

# %%
# A few people
# ------------
#
# Of a table only as many columns change as the question needs. These are the first four women and the first
# four men, not the best ones.

WORDS = {"Female": "woman", "Male": "man"}
OTHER = {"Female": "Male", "Male": "Female"}


def introduce(row, group):
    words = ", ".join(row[["education", "occupation", "marital-status", "relationship"]])
    return f"A {WORDS[group]} of {row['age']}: {words}, {row['hours-per-week']} h"


def changes(what, row, after):
    found = [f"{name} {row[name]} -> {after[name]}" for name in row.index if row[name] != after[name]]
    text, indent = f"  {what}: {'; '.join(found) or 'nothing changes'}", " " * (len(what) + 4)
    return fill(text, 76, subsequent_indent=indent, break_on_hyphens=False)


for group in ("Female", "Male"):
    for k in np.flatnonzero(sex_new == group)[:4]:
        print(introduce(X_new.iloc[k], group))
        print(changes(f"as a {WORDS[OTHER[group]]}", X_new.iloc[k], moved.iloc[k]))

# %%
# Some of these are what one expects of this table, a husband becomes a wife. Others show what the model goes
# by: there are occupations with hardly a man or hardly a woman, and it sends people there whether or not that
# suits the rest of the row. That is a finding about the data, and the reason to look at rows before believing
# an average.
#
# Which columns change
# --------------------
#
# For every column the share of rows in which it changes. Sex itself is no column of this table.

differs = (moved != X_new).groupby(sex_new).mean().T
differs = differs.loc[differs.max(axis=1).sort_values().index]
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
places = np.arange(len(differs))
for group, shift, colour in (("Female", 0.2, "#d55e00"), ("Male", -0.2, "#0072b2")):
    label = f"a {WORDS[group]} as a {WORDS[OTHER[group]]}"
    ax.barh(places + shift, differs[group], height=0.38, color=colour, label=label)
ax.set(yticks=places, yticklabels=differs.index, xlim=(0, 1), xlabel="share of rows in which the column changes")
ax.legend(loc="lower right", frameon=False)
plt.show()

# %%
# The way there
# -------------
#
# :meth:`~sklearn_fairlatent.FairLatentTransformer.counterfactual_path` stops on the way. Words cannot change
# by halves: a column changes where another category becomes the likeliest. Here for the first person of whom
# three columns change.

k = np.flatnonzero((moved != X_new).sum(axis=1) == 3)[0]
person, group = X_new.iloc[[k]], sex_new.iloc[[k]]
path = fair.counterfactual_path(person, "sex", n_steps=5, sensitive_features=group)
print(introduce(person.iloc[0], group.iloc[0]))
for step, rows in enumerate(path):
    print(changes(f"{step} of 5 steps", person.iloc[0], rows.iloc[0]))

# %%
# Would others believe it?
# ------------------------
#
# Two judges of sex, and one of income, that learned from other rows and had no part in the map.
# :func:`~sklearn_fairlatent.metrics.counterfactual_scores` asks them. ``flip_rate`` is the share of rows that
# a judge reads as the other sex; beside it stands how often the judge is right about real rows.
# ``consistency`` is the share whose income is judged as before, ``realism`` how well trees tell
# counterfactuals from real rows: 0.5 is a coin, 1 always.


def boosting():
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)


judges = {
    "boosting": boosting().fit(X_model, sex_model),
    "logistic regression": make_pipeline(TabularCodec(), LogisticRegression(max_iter=1000)).fit(X_model, sex_model),
}
income_model = boosting().fit(X_model, y_model)
wanted = sex_new.map(OTHER)
back = fair.counterfactual(moved, "sex", sensitive_features=wanted)
scores = counterfactual_scores(
    X_new, moved, judges=judges, kept={"income": income_model}, value=wanted, X_back=back, random_state=0
)
print(scores.to_frame().round(3))
for name, judge in judges.items():
    print(f"right about real rows, {name}: {judge.score(X_new, sex_new):.3f}")

# %%
# A flip rate above what the judges reach on real rows is no triumph. Real women and men are less alike to
# their kind than these rows are: the map goes on until its readers are sure, and takes the most typical words
# on the way. The trees behind ``realism`` see it, and the way back does not lead to the same rows.
#
# Rows as the other sex has them
# ------------------------------
#
# ``counterfactual_map="transport"`` gives each person what somebody of the other sex in the table has: someone near
# who earns alike, and hardly anybody is taken often. Then what goes with a changed word changes, too.

matched = clone(fair).set_params(counterfactual_map="transport")
matched.fit(X_map, y_map, sensitive_features=sex_map)
like_others = matched.counterfactual(X_new, "sex", sensitive_features=sex_new)
for group in ("Female", "Male"):
    for k in np.flatnonzero(sex_new == group)[:2]:
        print(introduce(X_new.iloc[k], group))
        print(changes(f"as a {WORDS[OTHER[group]]}", X_new.iloc[k], like_others.iloc[k]))
scores_matched = counterfactual_scores(
    X_new, like_others, judges=judges, kept={"income": income_model}, value=wanted, random_state=0
)
print(scores_matched.to_frame().round(3))

# %%
# Fewer rows are read as the other sex, nearer to how often the judges are right about real people, and the trees know
# fewer of them. They know some, for a table of two thirds men becomes one of two thirds women.
#
# Is this decision biased, and by how much?
# -----------------------------------------
#
# Now the model of the income is the one under suspicion. It never sees sex. What it says of women and of men
# differs:

chance = pd.Series(income_model.predict_proba(X_new)[:, 1], index=X_new.index)
print(chance.groupby(sex_new).mean().round(3))

# %%
# Part of that may be explained by what women and men do.
# :meth:`~sklearn_fairlatent.FairLatentTransformer.explain` asks another question: of the same people, moved
# to the other sex and otherwise read as before, how many would be decided differently? For each block
# ``mean_change`` is how far the probability of ">50K" moves, ``changed`` the share of rows whose decision
# turns.

explanation = fair.explain(X_new, income_model, sensitive_features=sex_new)
print(explanation)
print()
print(f"Moved to the other sex, {explanation.changed('sex'):.1%} of the people would be decided differently.")

# %%
# In the first table the row of sex is to be read against that of income: moving the label is what should
# change the decision, moving sex is what should not. In the second table the sign says in whose favour it
# goes: a ``mean_change`` above 0 for women says that the model expects more of the same women where their
# rows look like men's. The signs of women and men need not be opposite: a divorced woman who becomes a
# husband gains by the marriage, and so does a single man who becomes a wife.
#
# Three cautions. The size is that of this map: one that changes more columns finds more. What changes is what
# goes with sex in this census, a husband's row becomes a wife's, so a model that pays attention to marriage
# is found to change, and whether it may do so is no question of statistics. And the rows are the model's, no
# experiment: that a decision changes here shows that it can be changed by what tells sex, not that sex caused
# it.
