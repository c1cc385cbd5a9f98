"""
Photographs through somebody else's autoencoder
===============================================

``encoder=`` and ``decoder=`` take networks as they are. Here a variational autoencoder of faces that was trained
elsewhere stands in front: its encoder turns a photograph into 64 numbers, the map moves these, and its decoder makes a
picture of the result. What moves is what a face judge, trained on other people's photographs, reads as gender.

Four things have to be said beforehand.

- **The autoencoder has seen these faces**, all 400 photographs of all 40 persons. Persons are held out from the map and
  from nothing else, so what follows says how well the map moves, not how well such an autoencoder would do on a
  stranger.
- **The judge reads looks, and errs.** What a photograph shows, it guesses; who somebody is, it cannot know. The same
  judge names the groups and says whether a move succeeded, because there is no second one.
- Hardly any of the persons are women, so there are no two groups to compare. The attribute is the judge's **score cut
  at its median**: a half that it reads as more, and a half that it reads as less, clearly male.
- Nothing here is causal: a moved picture is what these networks make of the question.

This page is built by ``make docs-full`` from a clone of the repository. It takes two minutes and downloads 55 MB once.
"""

# %%
# Faces, networks and a judge
# ---------------------------

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

# The guide shows the pictures and figures without running this: both are kept there.
KEPT = ROOT / "docs" / "images"
N_AROUND = 20_000
figures = []


def say(text):
    figures.append(text)
    print(text)


def keep(rows, name, labels):
    faces.image_grid(rows, KEPT / name, labels)
    # As grey values the picture takes half as much.
    Image.open(KEPT / name).convert("L").save(KEPT / name, optimize=True)


images, person = faces.olivetti()
encoder, decoder = faces.encoder(), faces.decoder()
judge = faces.gender_judge(crop=faces.OLIVETTI_CROP)
score = judge.decision_function(images)
median = np.median(score)
half = np.where(score > median, "upper", "lower")
held_out = np.isin(person, np.random.default_rng(0).permutation(40)[:10])


def halves(pictures):
    return np.where(judge.decision_function(pictures) > median, "upper", "lower")


# %%
# How good is the judge? It should say the same of a photograph and its mirror image, and of two photographs
# of one person. At its own boundary it does. The median lies elsewhere, among faces that all look male to it
# and differ by little, and there it is less sure.

again = faces.in_batches(decoder, faces.in_batches(encoder, images))
mirrored = faces.horizontal_flip(images)
within = [np.mean(half[person == k] == "upper") for k in range(40)]
say(f"photographs read as female: {np.mean(score < 0):.1%}")
say(f"read alike in the mirror, as female or male: {np.mean(judge.predict(mirrored) == judge.predict(images)):.1%}")
say(f"read alike in the mirror, as upper or lower half: {np.mean(halves(mirrored) == half):.1%}")
say(f"photographs in the half where most of the person's are: {np.mean([max(p, 1 - p) for p in within]):.1%}")
say(f"reconstructions in the half of their photograph: {np.mean(halves(again) == half):.1%}")

# %%
# Two ways to ask
# ---------------
#
# As groups: the lower half as the upper one and the other way round. Such a move is as long as the halves lie
# apart, which is little.
#
# As a quantity: numbers that are not whole are one, and a quantity moves to the value that is asked for. And of more
# faces: the decoder makes as many as one likes from numbers around those of the photographs, and the judge reads
# them all. The score is taken from the median, and of faces beyond 2 only that they are; asked for is 1, on
# the other side. This map learns from the 64 numbers, so it has a decoder and no encoder.

X, X_new = images[~held_out], images[held_out]
by_half = FairLatentTransformer(
    encoder=encoder, decoder=decoder, counterfactual_map="trained", max_epochs=10, random_state=0
)
by_half.fit(X, sensitive_features=pd.Series(half[~held_out], name="half"))


def level(latents):
    return np.clip(judge.decision_function(faces.in_batches(decoder, latents)) - median, -2, 2)


Z, Z_new = faces.in_batches(encoder, X), faces.in_batches(encoder, X_new)
rng = np.random.default_rng(0)
around = Z[rng.integers(len(Z), size=N_AROUND)] + Z.std(axis=0) * rng.standard_normal((N_AROUND, Z.shape[1]))
around = np.concatenate([Z, around.astype(np.float32)])
by_score = FairLatentTransformer(decoder=decoder, counterfactual_map="trained", max_epochs=1, random_state=0)
by_score.fit(around, sensitive_features=pd.Series(level(around), name="score"))

# %%
# The persons held out, moved. A move counts as a flip if the judge then reads the other half. Some
# reconstructions that nothing has moved do so too, and that is the number to compare with.

own, wanted = half[held_out], np.where(half[held_out] == "upper", -1.0, 1.0)
moved = {
    "reconstruction": again[held_out],
    "other half": by_half.counterfactual(X_new, "half", sensitive_features=own),
    "score to -1 or 1": by_score.counterfactual(Z_new, "score", wanted, sensitive_features=level(Z_new)),
}
say(f"{'':18} {'flipped':>8} {'same person nearest':>20} {'distance to reconstruction':>27}")
for name, pictures in moved.items():
    flipped = np.mean(halves(pictures) != own)
    same = faces.identity_accuracy(pictures, X_new, person[held_out])
    distance = np.median(faces.perceptual_distance(again[held_out], pictures))
    say(f"{name:18} {flipped:8.1%} {same:20.1%} {distance:27.3f}")
apart = np.median(faces.perceptual_distance(again[held_out], np.roll(again[held_out], 10, axis=0)))
say(f"{'another person':18} {'':8} {'':20} {apart:27.3f}")

# %%
# One photograph of each person held out, the lower half first. Top to bottom: the photograph, what the
# autoencoder makes of it, the other half, the score at 1 (of the lower half) or -1 (of the upper one).

first = np.unique(person[held_out], return_index=True)[1] + 3
first = first[np.argsort(score[held_out][first])]
rows = [X_new[first], *(pictures[first] for pictures in moved.values())]
keep(rows, "olivetti_counterfactuals.png", ["photograph", *moved])

# %%
# .. image:: /images/olivetti_counterfactuals.png
#    :width: 100%
#    :alt: Ten persons, one per column: photograph, reconstruction, moved to the other half, moved along the score.
#
# Along the score the judge follows more often than to the other half, and the persons stay who they are. But look at
# what the faces become: the one woman gets shadows where a beard would be, men who move the other way lose outlines
# rather than gain a woman's face, and there is grain that no photograph has. Of 40 persons four or five look female to
# the judge, so there is next to nothing to learn it from: around the median, what it counts is less than what one sees.
#
# The way there, for the two persons at either end: left the reconstruction, right the end of the move along
# the score.

ends = first[[0, 1, -2, -1]]
path = by_score.counterfactual_path(
    Z_new[ends], "score", wanted[ends], n_steps=7, sensitive_features=level(Z_new[ends])
)
rows = [np.stack([step[k] for step in [again[held_out][ends], *path[1:]]]) for k in range(len(ends))]
keep(rows, "olivetti_path.png", ["lower to 1", "lower to 1", "upper to -1", "upper to -1"])

# %%
# .. image:: /images/olivetti_path.png
#    :width: 100%
#    :alt: Four persons, one per row, from the reconstruction to the counterfactual in seven steps.
#
# What was printed above, as it was when the pictures were made:
#
# .. literalinclude:: /images/olivetti_vae.txt
#    :language: none

(KEPT / "olivetti_vae.txt").write_text("\n".join(figures) + "\n")

# sphinx_gallery_thumbnail_path = "images/olivetti_path.png"
