# Few targets; each is what CONTRIBUTING.md says it is.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint attributes matrix record screenshots backends mlflow-matrix sdk-suite \
	sdk-matrix clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[mlflow,agent-sdk,grpc,config-file]' --group test --group lint
	touch $@

# Installs PostgreSQL (Debian's package) if there is none.
test: $(STAMP)
	tests/mlflow_stores/install-postgresql.sh
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python docs/attributes.py --check

# Rewrites docs/attributes.md.
attributes: $(STAMP)
	$(BIN)/python docs/attributes.py

demo: $(STAMP)
	$(BIN)/claude-otel demo

# Every story with every version of `claude` (installed by name with pip), against the API's log:
# about half an hour. Rewrites docs/stories.md. In pieces: `make matrix VERSION=2.1.19` for each
# version plays what .matrix does not have yet; `make matrix` at last puts them together.
matrix: $(STAMP)
	$(BIN)/python tests/golden/matrix.py --raw .matrix \
	  $(if $(VERSION),--version $(VERSION),--write docs/stories.md)

# make record VERSION=2.1.340: plays all stories with it, writes them to tests/golden, says what is
# new in its records and hooks. Its line in src/claude_otel/testing/versions.py comes first.
record: $(STAMP)
	$(BIN)/python tests/golden/record.py --version $(VERSION)

# Installs Chromium (Debian's package) if there is none; rewrites docs/screenshots.
screenshots: $(STAMP)
	docs/screenshots/install-chromium.sh
	$(BIN)/python -m pip install --quiet --group screenshots
	$(BIN)/python docs/screenshots/take.py

# Three real backends at once; Phoenix needs an environment of its own. Rewrites benchmarks/backends.md.
backends: $(STAMP) .venv-backends/.installed
	$(BIN)/python benchmarks/backends.py --tools .venv-backends/bin

.venv-backends/.installed:
	$(PYTHON) -m venv .venv-backends
	.venv-backends/bin/python -m pip install --quiet --upgrade pip
	.venv-backends/bin/python -m pip install --quiet arize-phoenix rotel
	touch $@

# Installs older MLflows into .mlflow-versions; rewrites tests/mlflow_stores/matrix.md.
mlflow-matrix: $(STAMP)
	tests/mlflow_stores/install-postgresql.sh
	$(BIN)/python tests/mlflow_stores/matrix.py

# The Agent SDK's own tests, without and with tracing; rewrites tests/sdk_suite/result.md.
sdk-suite: $(STAMP)
	$(BIN)/python tests/sdk_suite/compare.py

# Installs older Agent SDKs into .sdk-versions; rewrites tests/sdk_matrix/result.md.
sdk-matrix: $(STAMP)
	$(BIN)/python tests/sdk_matrix/matrix.py

clean:
	rm -rf $(VENV) .venv-backends build dist demo .mlflow-versions .sdk-versions .matrix
