"""How much synthetic rows give away of the training rows: copies, and who was among them."""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors


def authenticity(train, rows):
    """Share of rows that are no closer to their nearest training row than that row's nearest training neighbour.

    Parameters
    ----------
    train : ndarray of shape (n_train, n_columns)
    rows : ndarray of shape (n, n_columns)
        Synthetic rows, or real ones that took no part, to compare with.

    Returns
    -------
    float
        In [0, 1]; 0 for copies (of rows that are not there twice), about 1/2 for fresh rows of the same kind [1]_.

    References
    ----------
    .. [1] Alaa, van Breugel, Saveliev, van der Schaar (2022), "How faithful is your synthetic data?", ICML, section
       4.3.
    """
    near = NearestNeighbors(n_neighbors=1).fit(train)
    distance, nearest = near.kneighbors(rows)
    unique, place = np.unique(nearest[:, 0], return_inverse=True)
    # The nearest of two is the row itself, or one just like it.
    own, _ = near.kneighbors(train[unique], n_neighbors=2)
    return float(np.mean(distance[:, 0] >= own[place.ravel(), 1] - 1e-9))


def membership_auc(train, other, synthetic):
    """ROC AUC of an attacker who tells training rows from others by the synthetic rows.

    Parameters
    ----------
    train, other : ndarray of shape (n, n_columns)
        Rows that trained the generator, and rows of the same kind that did not.
    synthetic : ndarray of shape (n_synthetic, n_columns)

    Returns
    -------
    float
        The larger of two attacks' AUC; chance is 0.5 for each, and a little more for the larger. One ranks rows by
        their distance to the nearest synthetic row. The other takes from it the distance to the nearest of some real
        rows that the attacker has [1]_: one half of ``other`` while the second is told from training rows, then the
        second while the first is; the mean of both.

    References
    ----------
    .. [1] van Breugel, Sun, Qian, van der Schaar (2023), "Membership inference attacks against synthetic data through
       overfitting detection", AISTATS, eq. 2 (the density ratio; here by distances).
    """
    near_synthetic = NearestNeighbors(n_neighbors=1).fit(synthetic)
    to_synthetic = [near_synthetic.kneighbors(rows)[0][:, 0] for rows in (train, other)]
    member = np.r_[np.ones(len(train)), np.zeros(len(other))]
    plain = roc_auc_score(member, -np.concatenate(to_synthetic))
    halves = []
    for known, unknown in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        near_known = NearestNeighbors(n_neighbors=1).fit(other[known])
        gains = [near_known.kneighbors(rows)[0][:, 0] for rows in (train, other[unknown])]
        gains = [gain - near for gain, near in zip(gains, (to_synthetic[0], to_synthetic[1][unknown]), strict=True)]
        member = np.r_[np.ones(len(gains[0])), np.zeros(len(gains[1]))]
        halves.append(roc_auc_score(member, np.concatenate(gains)))
    return float(max(plain, np.mean(halves)))
