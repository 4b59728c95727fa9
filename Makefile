# make run [ARGS="--port 7000"]    make test [PYTEST_ARGS="-k journal"]    make lint    make compiled
# make bench [OF=growth]    make bench-check
# Everything goes into .venv; stamp files there keep a second run quick. PURE=1 does without the compiled build.

BIN := .venv/bin
ARGS ?=
PYTEST_ARGS ?=
OF ?=
PURE ?=
SOURCES := $(shell find ferrite_hooks -name '*.py')

# The compiled package lies in .venv/compiled, before the sources in the path. Without that directory Python finds the
# sources alone.
FAST := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/.venv/compiled:$(CURDIR)
ifeq ($(PURE),)
BUILT := .venv/compiled-stamp
else
BUILT := .venv/run-stamp
FAST := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)
endif

run: $(BUILT)
	@$(FAST) exec $(BIN)/python -m ferrite_hooks $(ARGS)

# The whole suite twice, in both builds. Pytest's own exit code is kept for .ci/run: make's is 2 whatever went wrong.
test: lint $(BUILT)
	@tools/test-programs
	@tools/node-clients .venv/node
	@tools/test-builds $(PYTEST_ARGS); code=$$?; echo $$code > .venv/pytest-exit; exit $$code

compiled: .venv/compiled-stamp

lint: .venv/test-stamp
	@$(BIN)/ruff check
	@$(BIN)/mypy

bench: .venv/test-stamp $(BUILT)
	@$(FAST) $(BIN)/python -m benchmarks$(OF:%=.%) $(ARGS)

# Has a command become more expensive? Does not depend on how fast the machine is.
bench-check: .venv/test-stamp $(BUILT)
	@$(FAST) $(BIN)/python -m benchmarks.check $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/run-stamp: pyproject.toml tools/make-venv
	@tools/make-venv .venv
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -e .
	@touch $@

.venv/test-stamp: pyproject.toml tools/make-venv
	@tools/make-venv .venv
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install -e '.[test]'
	@touch $@ .venv/run-stamp

.venv/compiled-stamp: .venv/run-stamp setup.py tools/compile $(SOURCES)
	@tools/compile .venv/compiled
	@touch $@

.PHONY: run test lint bench bench-check compiled clean
