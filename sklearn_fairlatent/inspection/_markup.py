"""Pieces of a page: tables, facts, bars and values as HTML, every word from outside escaped; and writing it."""

import math
import os
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from ._summary import digits


def write_text(path, text):
    """Write a file as a whole or not at all: under another name beside it, then renamed."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def table(key, caption, head, rows, *, numbers=True):
    """A table in a region that scrolls by itself; the first cell of each row heads it.

    Parameters
    ----------
    key : str
        Its id on the page.
    caption : str
    head : list of str
    rows : list of list of str
        HTML.
    numbers : bool
        Whether all columns but the first are aligned at the right.
    """
    kind = ' class="number"' if numbers else ""
    many = " many" if len(head) > 3 else ""
    first, *others = (escape(name) for name in head)
    columns = "".join(f'<th scope="col"{kind}>{name}</th>' for name in others)
    body = "\n".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td{kind}>{content}</td>" for content in contents)}</tr>'
        for name, *contents in rows
    )
    return (
        f'<div class="scroll{many}" role="region" tabindex="0" aria-labelledby="{key}">\n<table>\n'
        f'<caption id="{key}">{escape(caption)}</caption>\n'
        f'<thead><tr><th scope="col">{first}</th>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>'
    )


def facts(pairs):
    """Terms, and as HTML what is known of them."""
    return '<dl class="facts">\n' + "\n".join(f"<dt>{escape(a)}</dt><dd>{b}</dd>" for a, b in pairs) + "\n</dl>"


def paragraphs(texts, kind=""):
    """Each text in a paragraph of its own."""
    return "\n".join(f"<p{kind}>{escape(text)}</p>" for text in texts)


def cell(value):
    """A value of a table as HTML."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return digits(float(value)) if isinstance(value, (float, np.floating)) else escape(str(value))


def explained(name, gloss):
    """What heads a row: a name and, smaller, what it means."""
    return escape(name) + (f'<span class="gloss">{escape(gloss)}</span>' if gloss else "")


def bar(share_of_highest):
    """A bar with a dashed line at four fifths, an ornament beside the number; of None only the room for it."""
    drawn = ""
    if share_of_highest is not None:
        drawn = (
            f'<rect x="0" y="2" width="{70 * share_of_highest:.1f}" height="8"/><line x1="56" x2="56" y1="0" y2="12"/>'
        )
    return (
        '<svg class="bar" width="72" height="12" viewBox="0 0 72 12" aria-hidden="true" focusable="false">'
        f"{drawn}</svg>"
    )


def text(value):
    """A value of a row as a reader wants it."""
    if value is None or pd.isna(value):
        return "missing"
    if isinstance(value, (float, np.floating)):
        return f"{value:.5g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return str(value)
