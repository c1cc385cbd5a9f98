"""The pictures of a fairness report: the displays drawn as SVG that takes its colours from the page around it."""

import io
import re
import warnings
from html import escape

import pandas as pd

from ._drawing import check_matplotlib
from ._latent_display import LatentDisplay
from ._leakage_display import LeakageDisplay
from ._training_display import TrainingDisplay

# Inches: what the displays are made for, a phone shows it nearly in full size.
WIDTH = 4.2
# Colours that do not suit a dark page, and those of the page in their place.
COLOURS = {"#000000": "currentColor", "#ffffff": "var(--page)", "#6b6b6b": "var(--muted)", "#b0b0b0": "var(--line)",
           "#0072b2": "var(--blue)"}  # fmt: skip
STYLE = {
    "svg.fonttype": "path",  # looks the same without the font
    "svg.hashsalt": "sklearn_fairlatent",  # the same ids every time
    "text.parse_math": False,  # a "$" in the name of a group is no formula
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
}


def draw(fair, rows, y, known, leakage, seed, notes):
    """Pictures of a transformer, by section; none without matplotlib, which ``notes`` then says.

    Parameters
    ----------
    fair : FairLatentTransformer
    rows : array-like of shape (n_samples, n_features)
        As it takes them.
    y : ndarray of shape (n_samples,)
    known : dict of str to ndarray
        The attributes that it saw, row for row.
    leakage : dict of str to LeakageReport, or None
        "before" and "after".
    seed : int
    notes : list of str

    Returns
    -------
    dict of str to tuple of str
        SVG and caption.
    """
    try:
        check_matplotlib("fairness_report")
    except ImportError:
        notes.append("matplotlib is not installed: the page has no pictures.")
        return {}
    pictures = {}
    if leakage is not None:
        n_rows = sum(1 + len(leak.by_probe) for leak in leakage["after"].values())
        pictures["leakage"] = _svg(
            "leakage", "What the probes read of each attribute, before and after", 1.5 + 0.27 * n_rows,
            lambda figure: LeakageDisplay(leakage["before"], leakage["after"]).plot(figure),
        )  # fmt: skip
    shown = [name for name, values in known.items()
             if fair.latent_layout_.width(name) and len(pd.unique(values[pd.notna(values)])) > 1]  # fmt: skip
    if shown:
        pictures["latent"] = _svg(
            "latent", f"Where the groups of {shown[0]} lie in the latent", 6.8,
            lambda figure: LatentDisplay.from_estimator(
                fair, rows, y, known, shown[0], random_state=seed, axes=figure, max_points=1000
            ),
        )  # fmt: skip
    pictures["training"] = _svg(
        "training", "How the fit went, epoch by epoch", 5.6,
        lambda figure: TrainingDisplay.from_estimator(fair, axes=figure),
    )  # fmt: skip
    return pictures


def _svg(key, name, height, plot):
    """What ``plot`` draws on a figure, as SVG for the inside of a page, and its caption."""
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context(["default", STYLE]), warnings.catch_warnings():
        # Names in a script that the font lacks; the tables have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH, height))
        caption = plot(figure).describe()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for tag in ("metadata", "style"):
        # The style would reach the rest of the page.
        svg = re.sub(rf"\s*<{tag}\b.*?</{tag}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    # Ids of several pictures on one page must differ.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r'#[0-9a-f]{6}(?=[;"])', lambda found: COLOURS.get(found[0], found[0]), svg)
    root = re.sub(r' (width|height|version)="[^"]*"', "", svg[: svg.index(">")])
    return f'{root} role="img" aria-label="{escape(name)}"{svg[svg.index(">") :].rstrip()}', caption
