# Every target does its own set-up: Python 3.11 or later and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9
AZURITE := 3.35.0
# Each run, sensor and test starts processes: none of them should compile the project anew, as it would in some images.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo ui test check check-types check-definitions format soak bench bench-archive bench-features bench-remote bench-writeback java browser java-and-browser screenshots clean

# The whole workflow on this machine; DATA=file.parquet runs it over real invoices, CUSTOMERS=n sizes the sample.
demo: $(VENV)/ready
	$(BIN)/python -m demo run $(if $(DATA),--data "$(DATA)") $(if $(CUSTOMERS),--customers $(CUSTOMERS))

# Dagster's UI on the last demo, or on the one of DATA=...; Ctrl-C ends it.
ui: $(VENV)/ready
	$(BIN)/python -m demo ui $(if $(DATA),--data "$(DATA)") $(if $(PORT),--port $(PORT))

# Formatting, types, definitions, and all tests. What tests need is installed while mypy has one core.
test: $(VENV)/ready
	$(MAKE) --no-print-directory -j 3 --output-sync=target check $(VENV)/azurite/ready java-and-browser
	$(BIN)/python -m pytest

# Of components that Dagster brings and nobody here declares.
QUIET := 'ignore:Class `SparkDeclarativePipelineScaffolder`'

# Formatting, types, and what the definitions declare.
check: check-types check-definitions

check-types: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What the definitions declare: all that a new pipeline needs.
check-definitions: $(VENV)/ready
	VIRTUAL_ENV=$(CURDIR)/$(VENV) PYTHONWARNINGS=$(QUIET) $(BIN)/dg check yaml
	VIRTUAL_ENV=$(CURDIR)/$(VENV) PYTHONWARNINGS=$(QUIET) $(BIN)/dg check defs

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The kill tests with their full counts, and what waits for Dagster's daemon alone.
soak: $(VENV)/ready $(VENV)/azurite/ready
	ADFML_TEST_KILLS=30 $(BIN)/python -m pytest --timeout 3600 tests/archive_kills tests/lake/test_kills.py
	ADFML_TEST_KILLS=50 $(BIN)/python -m pytest --timeout 3600 tests/write_back
	ADFML_TEST_KILLS=100 $(BIN)/python -m pytest --timeout 3600 tests/remote_jobs tests/local_cloud/test_crashes.py tests/daemon
	ADFML_TEST_KILLS=1 $(BIN)/python -m pytest --timeout 3600 -m soak
	ADFML_TEST_KILLS=20 $(BIN)/python -m pytest --timeout 3600 -k "kill or dies" \
	  tests/azure_ml_batch tests/azure_ml_online tests/openai_batch tests/language tests/anomalies tests/in_database

# What an archive of 500,000 rows costs, against the fastest libraries there are.
bench: $(VENV)/bench-ready
	$(BIN)/python -m benchmarks.archive_servers --rows 500000 --only sqlite

# The archive against the fastest libraries there are: 5 million rows from PostgreSQL and SQLite, 1,000 small tables.
bench-archive: $(VENV)/bench-ready
	$(BIN)/python -m benchmarks.archive_servers

# Features of 5 and 50 million transactions, against DuckDB's SQL by hand, polars, pandas and Spark.
bench-features: $(VENV)/bench-ready java
	$(BIN)/python -m benchmarks.features --rows 5000000
	$(BIN)/python -m benchmarks.features --rows 50000000 --only adfml duckdb polars spark

# One sensor tick over 100 to 10,000 remote jobs of each service, requests written as JSON lines, and what waiting costs.
bench-remote: $(VENV)/ready
	$(BIN)/python -m benchmarks.remote_jobs
	$(BIN)/python -m benchmarks.jsonl
	$(BIN)/python -m benchmarks.waiting

# A million scores written back to PostgreSQL and SQLite, against what is written by hand, ADBC, SQLAlchemy and pandas;
# and a million rows scored inside the database, against taking them out.
bench-writeback: $(VENV)/bench-ready
	$(BIN)/python -m benchmarks.writeback
	$(BIN)/python -m benchmarks.in_database

clean:
	rm -rf $(VENV) .demo build dist *.egg-info

# uv installs the locked set in a minute and compiles it, so that no process has to; pip's own resolver may crash on it.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("adfml needs Python 3.11 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable ".[dev]"
	touch $@

# Microsoft's emulator of Blob storage, for the tests of the lake.
$(VENV)/azurite/ready: $(VENV)/ready
	npm install --silent --no-audit --no-fund --prefix $(VENV)/azurite azurite@$(AZURITE)
	touch $@

# Spark runs on Java; the tests of the Spark engine are not skipped where it is missing.
java:
	@command -v java > /dev/null || { \
	  echo "Spark needs Java 17: installing openjdk-17-jre-headless"; \
	  run=; [ "$$(id -u)" = 0 ] || run=sudo; \
	  $$run apt-get update -qq && $$run apt-get install -y -qq openjdk-17-jre-headless > /dev/null; }

# One after the other: apt lets nobody else install meanwhile.
java-and-browser:
	@$(MAKE) --no-print-directory java
	@$(MAKE) --no-print-directory browser

# Dagster's UI is tested in a real browser.
browser:
	@command -v chromium > /dev/null || { \
	  echo "The tests of the UI need Chromium: installing Debian's package"; \
	  run=; [ "$$(id -u)" = 0 ] || run=sudo; \
	  $$run apt-get update -qq && $$run apt-get install -y -qq chromium > /dev/null; }

# The pictures in docs/, from Dagster's UI on the last demo: `make demo` first.
screenshots: $(VENV)/ready browser
	$(BIN)/python -m demo.screenshots

$(VENV)/bench-ready: $(VENV)/ready
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	touch $@
