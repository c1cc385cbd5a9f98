"""
Generated faces: two attributes of a generator without an encoder
=================================================================

A generator turns random numbers ``z`` into pictures, and nothing turns pictures into ``z``. None is needed: draw ``z``,
generate, have the pictures judged, and learn on ``z`` itself. The generator is the ``decoder=``, so that a
counterfactual comes back as a picture.

It is a small DCGAN that learned from rendered faces of nobody real. Two judges that had no part in it, trained on
photographs, read gender and age from what it draws. They know two words for gender, read looks, and err: of the mirror
image of such a picture they often say something else, which bounds what can be asked of a counterfactual.
Nothing here is causal: a moved picture is what generator and map make of the question.

This page is built by ``make docs-full`` from a clone of the repository. It downloads 40 MB once and judges 10,000
pictures once, which takes four minutes; with both in the cache it takes four more.
"""

# %%
# Draw, generate, judge
# ---------------------

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sklearn_fairlatent import FairLatentTransformer

# benchmarks/ holds scripts, no package: faces.py is importable only by its path. sphinx-gallery sets no __file__.
ROOT = Path(sys.argv[0]).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import faces  # noqa: E402 - found only by the path set above

# The guide shows the picture and the figures without running this: both are kept there.
KEPT = ROOT / "docs" / "images"
SEED, N_SAMPLES, N_NEW = 0, 10_000, 500
figures = []
generator, judge_gender, judge_age = faces.generator(), faces.gender_judge(), faces.age_judge()


def say(text):
    figures.append(text)
    print(text)


def judged(z):
    """What the judges say, from the cache if they were asked before; the pictures themselves are drawn anew."""
    kept = faces.cache_folder() / "dcgan" / f"judged_{SEED}_{len(z)}.npz"
    if not kept.exists():
        parts = [faces.in_batches(generator, part) for part in np.split(z, 20)]
        told = {
            "gender": np.concatenate([judge_gender.decision_function(part) for part in parts]),
            "age": np.concatenate([judge_age.predict(part) for part in parts]),
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{os.getpid()}.npz")
        np.savez(draft, **told)
        draft.replace(kept)
    with np.load(kept) as told:
        return told["gender"], told["age"]


z = np.random.default_rng(SEED).standard_normal((N_SAMPLES, faces.DCGAN_LATENT)).astype(np.float32)
odds, years = judged(z)
median = np.median(years)


def words(odds, years):
    return pd.DataFrame(
        {"gender": np.where(odds > 0, "male", "female"), "age": np.where(years > median, "older", "younger")}
    )


def read(pictures):
    return words(judge_gender.decision_function(pictures), judge_age.predict(pictures))


# %%
# Fit
# ---
#
# The map could be told the words: two groups. A judge's number says more, how far from the border it saw a picture, so
# both attributes are quantities here: numbers that are not whole are taken as such. What is asked for is a number,
# too: the one that a fiftieth of the samples lies beyond, on the other side. The last 500 samples take no
# part in the fit: the judges are asked again about what becomes of them.

A, scores = words(odds, years), pd.DataFrame({"gender": odds, "age": years})
fair = FairLatentTransformer(decoder=generator, counterfactual_map="trained", max_epochs=5, random_state=0)
fair.fit(z[:-N_NEW], sensitive_features=scores[:-N_NEW])
by_words = FairLatentTransformer(decoder=generator, counterfactual_map="trained", max_epochs=5, random_state=0)
by_words.fit(z[:-N_NEW], sensitive_features=A[:-N_NEW])

z_new, A_new, scores_new = z[-N_NEW:], A[-N_NEW:].reset_index(drop=True), scores[-N_NEW:]
low, high = scores[:-N_NEW].quantile(0.02), scores[:-N_NEW].quantile(0.98)
wanted = {
    "gender": np.where(A_new.gender == "male", low.gender, high.gender),
    "age": np.where(A_new.age == "older", low.age, high.age),
}
drawn = faces.in_batches(generator, z_new)
mirrored = faces.horizontal_flip(drawn)
moves = {"gender": ["gender"], "age": ["age"], "both": ["gender", "age"]}
moved = {
    name: fair.counterfactual(z_new, attrs, {attr: wanted[attr] for attr in attrs}, sensitive_features=scores_new)
    for name, attrs in moves.items()
}

# %%
# Judge
# -----
#
# A map goes as far as it is asked to, which may be further than one would like.
# :meth:`~sklearn_fairlatent.FairLatentTransformer.counterfactual_path` shows what part of the way does.
#
# For each move the share of pictures that the judges read as the other gender, and as of the other half of
# the ages. A move of gender should flip the first and leave the second. The mirror image is the control:
# nothing has moved in it, and yet the judges change their minds in so many. The last columns are the same for
# the pictures of which they do not. "By words" is the map that was told the two groups only.

path = fair.counterfactual_path(z_new, "gender", wanted["gender"], n_steps=5, sensitive_features=scores_new)
by_words_moved = by_words.counterfactual(z_new, "gender", sensitive_features=A_new)
moved = {"gender, by words": by_words_moved, "gender, 60 %": path[3], "gender, 80 %": path[4]} | moved
pictures = {"mirror image": mirrored, **moved}
told = {name: read(some) for name, some in pictures.items()}
alike = (told["mirror image"] == A_new).all(axis=1)
say(f"{median:.1f} years is the median age; read as male: {np.mean(A.gender == 'male'):.1%}")
say(f"{'':16} {'all ' + str(N_NEW):^26} {'alike in the mirror, ' + str(alike.sum()):^26}   perceptual")
say(f"{'':16} {'gender other':>13} {'age other':>12} {'gender other':>14} {'age other':>12}  distance")
for name, now in told.items():
    other = now != A_new
    distance = np.median(faces.perceptual_distance(drawn, pictures[name]))
    shares = [*other.mean(), *other[alike].mean()]
    say(f"{name:16} {shares[0]:13.1%} {shares[1]:12.1%} {shares[2]:14.1%} {shares[3]:12.1%} {distance:9.3f}")
apart = np.median(faces.perceptual_distance(drawn, np.roll(drawn, 1, axis=0)))
say(f"{'another one':16} {'':13} {'':12} {'':16} {'':12} {apart:9.3f}")

# %%
# Look
# ----
#
# Four read as female and four as male. Not the best ones, but no average either: many draws of this small
# generator are hardly faces, so these are the first of which both judges say the same in the mirror, and the
# judge of gender is sure (log-odds of 2 or more).

sure = alike & (np.abs(odds[-N_NEW:]) >= 2)
shown = np.concatenate([np.flatnonzero(sure & (A_new.gender == group))[:4] for group in ("female", "male")])
rows = ["gender, 60 %", "gender", "age", "both"]
picture = KEPT / "dcgan_counterfactuals.png"
faces.image_grid([drawn[shown], *(moved[name][shown] for name in rows)], picture, ["as drawn", *rows])
# With a palette the picture takes a third.
Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)

# %%
# .. image:: /images/dcgan_counterfactuals.png
#    :width: 100%
#    :alt: Eight generated faces, one per column: as drawn, gender moved in part, gender moved, age moved, both moved.
#
# Gender shows at once, in hair and beards; pose, dress and what is behind the face stay mostly as they were. (One of
# these eight gets a mask.) Part of the way is often enough, and keeps more of the face. Told words only, the map flips
# fewer at the same distance: what it does not know of a sample, how clear a case it is, it cannot use. Age moves skin
# and light, and with them, in a good part of the faces, the gender that is read: in what these judges see the two are
# not separate, and a move of gender changes the age that is read in a third.
#
# What was printed above, as it was when the picture was made:
#
# .. literalinclude:: /images/dcgan_faces.txt
#    :language: none

(KEPT / "dcgan_faces.txt").write_text("\n".join(figures) + "\n")

# sphinx_gallery_thumbnail_path = "images/dcgan_counterfactuals.png"
