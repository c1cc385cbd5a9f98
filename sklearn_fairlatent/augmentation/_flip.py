"""The hyperplane flip in closed form."""

import numpy as np
from sklearn.utils import check_array

from .._parameters import check_value, is_real

# A direction that is this much shorter than another one is rounding beside it.
ROUNDING = 1e-9


def latent_flip(
    Z,
    sensitive_direction,
    target_direction=None,
    *,
    intercept=0.0,
    factor=2.0,
    max_stretch=10.0,
    on_parallel="raise",
):
    """Move latents to the other side of the sensitive attribute's hyperplane and hold the target's score.

    With ``w`` the sensitive direction, ``b`` its intercept and ``u`` the part of ``w`` that is orthogonal to all target
    directions, a row goes to ``z - factor (w.z + b) / (w.u) u``. With the factor 2 its score ``w.z + b`` changes sign
    and no other one, which is the closed form of [1]_; for one target direction of unit length ``a`` and unit ``w`` it
    reads ``z - 2 (w.z + b) / (1 - (w.a)^2) (w - (w.a) a)``.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_latent)
    sensitive_direction : array-like of shape (n_latent,)
        Normal of the hyperplane of the sensitive attribute, of any length.
    target_direction : array-like of shape (n_latent,) or (n_targets, n_latent), default=None
        Normals of the hyperplanes of what is held: one target or several. None: nothing is held, the first ablation of
        [1]_.
    intercept : float or ndarray of shape (1,), default=0.0
        Of the sensitive attribute's score, in the units of ``Z @ sensitive_direction``.
    factor : float, default=2.0
        2 mirrors a row at the hyperplane, 1 projects it onto the hyperplane, the second ablation of [1]_.
    max_stretch : float, default=10.0
        How many times as long as without the targets a step may become, at least 1. The step grows without bound as
        the sensitive direction comes to lie in the span of the target directions.
    on_parallel : {"raise", "clip"}, default="raise"
        What happens beyond: an error, or steps that are cut to that length, which hold the targets and move the
        sensitive score by a part of the way only; by none at all where the directions are parallel.

    Returns
    -------
    Z_flipped : ndarray of shape (n_samples, n_latent)
        Float32 if Z is, else float64.

    Raises
    ------
    ValueError
        If directions do not fit Z, are zero, or are too parallel.

    References
    ----------
    .. [1] Ramaswamy, Kim, Russakovsky (2021), "Fair attribute classification through latent space de-biasing", CVPR,
       section 3.2 (its closed form is derived in the appendix).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_fairlatent.augmentation import latent_flip
    >>> Z = np.array([[1.0, 2.0]])
    >>> latent_flip(Z, [1.0, 0.0])
    array([[-1.,  2.]])
    >>> latent_flip(Z, [1.0, 0.0], [1.0, 1.0])  # the sum of both is held
    array([[-1.,  4.]])
    """
    Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
    w = _directions(sensitive_direction, Z.shape[1], "sensitive_direction")
    if len(w) != 1 or not np.any(w):
        raise ValueError(f"sensitive_direction={sensitive_direction!r}: expected one direction that is not zero.")
    held = np.zeros((0, Z.shape[1]))
    if target_direction is not None:
        held = _directions(target_direction, Z.shape[1], "target_direction")
    if isinstance(intercept, np.ndarray) and intercept.size == 1:
        intercept = intercept.item()
    check_value("intercept", intercept, is_real(intercept) and np.isfinite(intercept), "a finite number")
    check_value("factor", factor, is_real(factor) and 0 <= factor < np.inf, "a finite number >= 0")
    check_bound(max_stretch, on_parallel)
    # Of any length: only the ratio to the intercept counts, and squares of very long or short ones leave floats.
    size = np.abs(w[0]).max()
    w, intercept = w[0] / size, intercept / size
    free = orthogonal_part(w, held)
    share = np.linalg.norm(free) / np.linalg.norm(w)
    if share * max_stretch < 1 - ROUNDING or share < ROUNDING:
        if on_parallel == "raise":
            raise ValueError(
                f"sensitive_direction lies in the span of target_direction up to an angle of "
                f"{np.degrees(np.arcsin(min(share, 1.0))):.2f} degrees: holding the target makes the step "
                f"{1 / max(share, 1e-300):.3g} times as long, max_stretch={max_stretch} allows less. Hold less "
                "(target_direction=None, or hold_target=False of the sampler), raise max_stretch, or pass "
                "on_parallel='clip' for a part of the way."
            )
        if share < ROUNDING:
            return np.array(Z)
        factor = factor * share * max_stretch
    scores = Z.astype(np.float64) @ w + intercept
    return (Z - (factor * scores / (w @ free))[:, None] * free).astype(Z.dtype)


def check_bound(max_stretch, on_parallel):
    """Check what bounds the step."""
    valid = is_real(max_stretch) and 1 <= max_stretch < np.inf
    check_value("max_stretch", max_stretch, valid, "a finite number >= 1")
    check_value("on_parallel", on_parallel, on_parallel in ("raise", "clip"), "'raise' or 'clip'")


def orthogonal_part(w, held):
    """The part of ``w`` (n,) that is orthogonal to the rows of ``held`` (k, n)."""
    sizes = np.abs(held).max(axis=1, initial=0.0)
    held = held[sizes > 0] / sizes[sizes > 0, None]
    held = held / np.linalg.norm(held, axis=1, keepdims=True)
    if not len(held):
        return w.copy()
    _, sizes, basis = np.linalg.svd(held, full_matrices=False)
    basis = basis[sizes > ROUNDING * sizes[0]]
    free = w - basis.T @ (basis @ w)
    # Once more: where little is left, the first time leaves rounding errors of the size of w.
    return free - basis.T @ (basis @ free)


def _directions(values, n_latent, name):
    try:
        rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"{name}={values!r}: expected numbers.") from None
    if rows.ndim != 2 or rows.shape[1] != n_latent:
        raise ValueError(f"{name} has shape {np.shape(values)}; expected directions of {n_latent} numbers, as Z has.")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} contains NaN or infinity.")
    return rows
