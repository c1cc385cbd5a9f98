# Configuration of the documentation; `make docs` builds it and treats every warning as an error.
import os
import re
from pathlib import Path

import sklearn_fairlatent

project = "sklearn_fairlatent"
author = "The sklearn_fairlatent developers"
copyright = f"2026, {author}"
version = release = sklearn_fairlatent.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "myst_parser",  # the README and the design notes are Markdown, to be read on their own as well
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "examples"]  # the gallery copies the examples
toc_object_entries = False

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_theme_options = {"show_prev_next": False, "show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}
# Nothing is below them.
PAGES = ("install", "user_guide", "auditing", "augmentation", "stitching", "synthesis", "certificates", "faces")
PAGES += ("design_notes", "readme")
html_sidebars = {page: [] for page in PAGES}
html_sidebars["auto_examples/*"] = []  # code and tables need the width

plot_formats = ["svg"]
plot_html_show_formats = False
plot_html_show_source_link = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "ExampleTitleSortKey",
    "remove_config_comments": True,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "capture_repr": (),  # what an example shows, it prints or draws
    "parallel": 2,  # examples side by side, each on a core
}
if os.environ.get("FAIRLATENT_ALL_EXAMPLES"):
    # `make docs-full`. Without it plot_*.py are run, and the others, which download networks, are shown as they stand.
    sphinx_gallery_conf["filename_pattern"] = r"\.py$"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpydoc sections give the types, and shapes with them

# Every parameter is documented, none that does not exist, in the signature's order.
numpydoc_validation_checks = {"PR01", "PR02", "PR03"}
# Made by functions, not by users: their attributes are what counts.
numpydoc_validation_exclude = {
    r"\.(Certificate|LatentTruth|Leakage|SynthesisReport|CounterfactualScores|Explanation|FairnessFrontier|FairnessReport|FairnessScorer)$"
}
numpydoc_show_class_members = False  # the class template lists them
numpydoc_class_members_toctree = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3


DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
LOCAL_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def adapt_markdown(app, docname, source):
    """Put the README in place of its page, and turn links between the repository's files into links of pages.

    A link to a file that is no page here, the licence say, becomes plain text; one to a missing file warns.
    """
    if Path(app.env.doc2path(docname)).suffix != ".md":
        return
    folder = DOCS
    if docname == "readme":
        folder = README.parent
        source[0] = README.read_text(encoding="utf-8")

    def adapt(link):
        target = (folder / link["path"]).resolve()
        if target == README:
            return f"[{link['text']}](readme.md{link['anchor'] or ''})"
        if target.is_file() and target.is_relative_to(DOCS):
            return f"[{link['text']}]({target.relative_to(DOCS).as_posix()}{link['anchor'] or ''})"
        return link["text"] if target.exists() else link[0]

    source[0] = LOCAL_LINK.sub(adapt, source[0])


def skip_routing_methods(app, what, name, obj, skip, options):
    """Leave out `set_fit_request` and its kin, whose texts refer to pages of scikit-learn's guide."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app):
    app.connect("source-read", adapt_markdown)
    app.connect("autodoc-skip-member", skip_routing_methods)
