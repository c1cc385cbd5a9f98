# The page of a report in a real browser: what it shows, at two widths and in two colour schemes, by keyboard, to axe.
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.inspection import _measuring, fairness_report
from sklearn_fairlatent.inspection._summary import summarise

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("AXE_CORE", "")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
needs_axe = pytest.mark.skipif(not Path(AXE).is_file(), reason="AXE_CORE names no axe.min.js: make test-browser")
SCHEMES = ["light", "dark"]
WIDTHS = [390, 1280]
NASTY = '<script>document.title="taken"</script> & $a$'


def reports():
    """A full report with everything that a page can have, and one of a classifier alone."""
    data = make_biased_latents(700, sensitive=("binary", "categorical"), random_state=0)
    # A category that is hardly there, a nasty name, and a name that does not break.
    A = data.sensitive_features.replace({"group": {0: NASTY, 1: "w" * 60}})
    A.loc[A.index[-3:], "category"] = "rare"
    X, y = pd.DataFrame(data.data).add_prefix("column "), pd.Series(data.target, name="approved")
    old, new = slice(0, 400), slice(400, None)
    raw = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[old], y[old])
    fair = FairLatentTransformer(max_epochs=20, random_state=0)
    fair = Pipeline([("fair", fair), ("classify", LogisticRegression())])
    fair.fit(X[old], y[old], fair__sensitive_features=A[old])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_measuring, "PROBES", {"linear": make_pipeline(StandardScaler(), LogisticRegression())})
        full = fairness_report(fair, X[new], y[new], sensitive_features=A[new], baseline=raw, random_state=0)
    full.latent["flags"]["penalty_ineffective_"] = True
    full.summary = summarise(full)
    return {"full": full, "classifier": fairness_report(raw, X[new], y[new], sensitive_features=A["category"][new])}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, report in reports().items():
        report.to_html(folder / f"{name}.html")
        found[name] = (folder / f"{name}.html").as_uri()
    return found


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not work for root.
        options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, addresses):
    pages = []

    def open_page(name="full", width=1280, scheme="light", **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        pages.append(page)
        page.goto(addresses[name])
        return page

    yield open_page
    for page in pages:
        page.close()


def luminance(page, script):
    """Relative luminance of a colour that the script finds, as WCAG defines it."""
    parts = [float(part) / 255 for part in page.evaluate(script).split("(")[1].strip(")").split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["full", "classifier"])
def test_it_loads_without_a_request_or_an_error(browser, addresses, name):
    page = browser.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(addresses[name])
    page.wait_for_load_state("networkidle")
    assert asked == [addresses[name]]
    assert errors == []
    page.close()


def test_what_it_shows(visit):
    page = visit()
    assert page.title() == page.locator("h1").inner_text() == "Fairness report: approved by group and category"
    assert page.locator("h2").all_inner_texts() == [
        "Summary", "What was measured", "Accuracy", "Differences between groups",
        "What can be read from the representation", "The latent", "Counterfactual rows", "How to read this page",
    ]  # fmt: skip
    captions = page.locator("caption").all_inner_texts()
    assert {"Scores on the held-out rows", "Leakage", "Moved: group", "Groups of group & category"} <= set(captions)
    assert page.get_by_role("img").count() == 3
    assert page.get_by_role("row", name="Accuracy").first.get_by_role("cell").count() == 2
    assert NASTY in page.locator("main").inner_text()
    assert page.locator("script").count() == 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [320, *WIDTHS])
def test_nothing_is_wider_than_the_page(visit, tmp_path, width, scheme):
    page = visit(width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("main *, header *, nav *, footer *")]
            .filter(element => !element.closest(".scroll table") && !element.closest("svg"))
            .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    path = tmp_path / f"{scheme}-{width}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 50_000


def test_on_a_wide_screen_only_tables_of_long_names_scroll(visit):
    page = visit("classifier")
    wide = page.evaluate("[...document.querySelectorAll('.scroll')].filter(r => r.scrollWidth > r.clientWidth).length")
    assert wide == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pictures_and_words_stand_out_in_both_schemes(visit, scheme):
    page = visit(scheme=scheme)
    behind = luminance(page, "getComputedStyle(document.body).backgroundColor")
    assert (behind > 0.5) == (scheme == "light")
    for what in ("getComputedStyle(document.querySelector('figure svg')).fill",
                 "getComputedStyle(document.querySelector('figure svg')).color",
                 "getComputedStyle(document.body).color"):  # fmt: skip
        ink = luminance(page, what)
        assert (max(ink, behind) + 0.05) / (min(ink, behind) + 0.05) > 7
    # Text in a picture has no colour of its own.
    found = page.evaluate(
        """[...document.querySelectorAll("figure svg [id*=text_]")]
            .map(text => /(fill|stroke): ?(#|rgb)/.test(text.outerHTML))"""
    )
    assert len(found) > 20
    assert not any(found)


def told_by(rules):
    return [f"{rule['id']}: {node['html'][:120]}" for rule in rules for node in rule["nodes"]]


@needs_axe
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["full", "classifier"])
def test_axe_finds_no_violation(visit, name, width, scheme):
    page = visit(name, width, scheme)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document)")
    assert told_by(found["violations"]) == []
    assert len(found["passes"]) > 20
    # What is scrolled out of sight has no contrast that axe could measure: once more with all of it in sight.
    page.add_style_tag(content=".scroll { overflow: visible }")
    page.set_viewport_size({"width": 5000, "height": 900})
    found = page.evaluate("axe.run(document, {runOnly: ['color-contrast']})")
    assert told_by(found["violations"] + found["incomplete"]) == []


def test_it_can_be_walked_through_by_keyboard(visit):
    page = visit(width=390)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    stops = []
    while page.evaluate("document.activeElement !== document.body") and len(stops) < 100:
        stops.append(
            page.evaluate(
                """() => {
                    const element = document.activeElement, style = getComputedStyle(element);
                    return [element.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
                }"""
            )
        )
        page.keyboard.press("Tab")
    links, regions = (page.locator(name).count() for name in ("nav a", ".scroll"))
    assert [stop[0] for stop in stops] == ["A"] * (1 + links) + ["DIV"] * regions
    assert all(style == "solid" and width >= 2 for _, style, width in stops)


def test_the_skip_link_leads_to_the_results_and_a_region_scrolls_by_arrows(visit):
    page = visit(width=390)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator(".scroll", has=page.locator("#table-leakage")).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_settings_of_the_reader_are_heeded(visit):
    page = visit(reduced_motion="no-preference")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    assert luminance(page, "getComputedStyle(document.body).backgroundColor") > 0.9
