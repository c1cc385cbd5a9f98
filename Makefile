# Every target makes the environment it needs; the only thing to have beforehand is Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
VENV_MIN ?= .venv-min
# 0: one process. Two pay once the tests take several minutes on two idle cores; before, importing torch and
# starting joblib's workers twice costs more than it gains. Each test file runs whole in one process.
WORKERS ?= 0
PYTEST_ARGS ?=
NPM ?= npm
AXE_VERSION := 4.14.1

PY := $(VENV)/bin/python
PY_MIN := $(VENV_MIN)/bin/python
PIP_FLAGS := --quiet --disable-pip-version-check
AXE := build/axe-core-$(AXE_VERSION)/package/axe.min.js
SPHINX := $(PY) -m sphinx -q -W --keep-going -E -b html
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.NOTPARALLEL:
.PHONY: help demo bench bench-augmentation bench-certificate bench-counterfactual bench-stitch bench-synthesis test coverage test-browser test-min lint types docs docs-full clean distclean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-plot  ## Fair latent of the Adult data: scores, three counterfactual rows, and the report as a page
	$(PY) benchmarks/demo.py

bench: $(VENV)/.installed-bench  ## Headline on Adult, trade-off against the peers, intervals, cost, speed; BENCH_ARGS=--quick for a short run
	$(PY) benchmarks/adult.py $(BENCH_ARGS)
	$(PY) benchmarks/goals.py $(BENCH_ARGS)
	$(PY) benchmarks/tradeoff.py $(BENCH_ARGS)
	$(PY) benchmarks/chance.py $(BENCH_ARGS)
	$(PY) benchmarks/report.py $(BENCH_ARGS)
	$(PY) benchmarks/calibration.py $(BENCH_ARGS)
	$(PY) benchmarks/cost.py $(BENCH_ARGS)
	$(PY) benchmarks/speed.py $(BENCH_ARGS)
	$(PY) benchmarks/counterfactual.py $(BENCH_ARGS)
	$(PY) benchmarks/augmentation.py $(BENCH_ARGS)
	$(PY) benchmarks/stitching.py $(BENCH_ARGS)
	$(PY) benchmarks/synthesis.py $(BENCH_ARGS)
	$(PY) benchmarks/certificate.py $(BENCH_ARGS)

bench-augmentation: $(VENV)/.installed-bench  ## Partners of the other group against other ways to balance training rows
	$(PY) benchmarks/augmentation.py $(BENCH_ARGS)

bench-certificate: $(VENV)/.installed-bench  ## Bounds on known truth, attacks on them, accuracy against certificate beside a fair tree
	$(PY) benchmarks/certificate.py $(BENCH_ARGS)

bench-counterfactual: $(VENV)/.installed-bench  ## Counterfactuals against simpler moves: texts, a table, faces, known truth
	$(PY) benchmarks/counterfactual.py $(BENCH_ARGS)

bench-stitch: $(VENV)/.installed-bench  ## A layer stitched into trained networks against other ways to make them fair
	$(PY) benchmarks/stitching.py $(BENCH_ARGS)

bench-synthesis: $(VENV)/.installed-bench  ## Fair synthetic rows against other generators: tables, and faces of a generator
	$(PY) benchmarks/synthesis.py $(BENCH_ARGS)

test: $(VENV)/.installed-test  ## Tests and doctests
	$(PY) $(PYTEST)

# Tracing every line makes the tests take 1.4 times as long, so it is a target of its own.
coverage: $(VENV)/.installed-test  ## The same, with branch coverage
	$(PY) $(PYTEST) --cov --cov-report=term --cov-fail-under=95

# Takes an installed Chromium, and npm for axe-core, which finds what keeps people from reading a page.
test-browser: $(VENV)/.installed-test $(VENV)/.installed-browser $(AXE)  ## The report's page in Chromium, with axe-core
	AXE_CORE=$(abspath $(AXE)) $(PY) $(PYTEST) tests/test_report_browser.py

# Without the package's doctests: older numpy and pandas print their values differently.
test-min: $(VENV_MIN)/.installed-test  ## Tests on the oldest supported versions
	$(PY_MIN) $(PYTEST) tests

lint: $(VENV)/.installed-lint  ## Linter
	$(PY) -m ruff check .

types: $(VENV)/.installed-lint  ## Type check
	$(PY) -m pyright --pythonpath $(PY)

docs: $(VENV)/.installed-docs  ## HTML documentation in docs/_build/html, warnings as errors
	$(SPHINX) docs docs/_build/html

# What the examples draw and say of faces is kept in docs/images, for `docs`, which does not run them.
docs-full: $(VENV)/.installed-docs $(VENV)/.installed-bench  ## The same with all examples run: downloads 65 MB, takes ten minutes
	FAIRLATENT_ALL_EXAMPLES=1 $(SPHINX) docs docs/_build/html

$(AXE):
	mkdir -p build/axe-core-$(AXE_VERSION)
	cd build/axe-core-$(AXE_VERSION) && $(NPM) pack --silent axe-core@$(AXE_VERSION) && tar -xzf axe-core-$(AXE_VERSION).tgz

clean:  ## Remove what the targets made, but not the environments
	rm -rf build dist *.egg-info docs/_build docs/generated docs/auto_examples htmlcov .coverage .coverage.* \
		.pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove the environments too
	rm -rf $(VENV) $(VENV_MIN)

# Environments. A stamp file stands for one installed extra, so that a second run installs nothing.
$(PY):
	$(PYTHON) -m venv $(VENV)

$(PY_MIN):
	$(PYTHON) -m venv $(VENV_MIN)

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(PY)
	@echo "Installing the package and what '$*' needs into $(VENV) (a minute or two the first time)"
	$(PY) -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[$*]"
	@touch $@

$(VENV_MIN)/.installed-test: pyproject.toml constraints-min.txt | $(PY_MIN)
	@echo "Installing the package and the oldest supported versions into $(VENV_MIN)"
	$(PY_MIN) -m pip install $(PIP_FLAGS) -c constraints-min.txt -e ".[test]"
	@touch $@
