# make run [ARGS="--port 7000"]    make test [PYTEST_ARGS="-k journal"]    make lint    make bench    make bench-check
# Everything goes into .venv; stamp files there keep a second run quick.

BIN := .venv/bin
ARGS ?=
PYTEST_ARGS ?=

run: .venv/run-stamp
	@exec $(BIN)/ferrite-hooks $(ARGS)

# The exit code of pytest itself is kept for .ci/run: make's own is 2 whatever went wrong.
test: lint
	@tools/test-programs
	@tools/node-clients .venv/node
	@$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS); code=$$?; echo $$code > .venv/pytest-exit; exit $$code

lint: .venv/test-stamp
	@$(BIN)/ruff check
	@$(BIN)/mypy

bench: .venv/test-stamp
	@$(BIN)/python -m benchmarks $(ARGS)

# Has a command become more expensive? Does not depend on how fast the machine is.
bench-check: .venv/test-stamp
	@$(BIN)/python -m benchmarks.check $(ARGS)

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

.PHONY: run test lint bench bench-check clean
