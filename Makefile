# `make` prints the targets.  Each makes the virtual environment it needs; a stamp in it says what
# was installed, so that nothing is installed twice until pyproject.toml or a kernel changes.

PYTHON ?= python3
VENV   ?= .venv
MODEL  ?=
PROMPT ?=
ARGS   ?=

export MODEL PROMPT
export PIP_DISABLE_PIP_VERSION_CHECK := 1
RUN := $(VENV)/bin/python
NATIVE := CMakeLists.txt $(wildcard src/tongwen/kernels/native/*.?pp)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test sanitize neon check bench ecosystem gpu docs wheel clean

help:  ## Print this
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | \
		awk -F '\t' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment (now $(VENV))"

run: $(VENV)/core.stamp  ## Talk to a model, fetched if absent: MODEL=name PROMPT='a question', or neither
	@if [ -n "$$MODEL" ]; then \
		$(RUN) -m tongwen run "$$MODEL" $${PROMPT:+"$$PROMPT"} $(ARGS); \
	elif [ -n "$$PROMPT" ]; then \
		printf '%s\n' "$$PROMPT" | $(RUN) -m tongwen run --source index $(ARGS); \
	else \
		$(RUN) -m tongwen run --source index $(ARGS); \
	fi

test: $(VENV)/dev.stamp  ## Run the tests: ARGS='-k cache -x' goes to pytest
	$(RUN) -m pytest $(ARGS)

sanitize:  ## Run every native kernel under AddressSanitizer and UBSan: ARGS='SECONDS SEED'
	cmake -S . -B build/sanitize -DTONGWEN_SANITIZE=ON -DCMAKE_BUILD_TYPE=None > /dev/null
	cmake --build build/sanitize --parallel 2
	build/sanitize/driver $(ARGS)

neon:  ## Run every native kernel for ARM in an emulator (qemu-aarch64): ARGS='SECONDS SEED'
	cmake -S . -B build/neon -DTONGWEN_DRIVER=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static > /dev/null
	cmake --build build/neon --parallel 2
	@for processor in cortex-a72 cortex-a76 max; do echo "-- $$processor"; \
		qemu-aarch64 -cpu $$processor build/neon/driver $(ARGS) || exit 1; done

check: $(VENV)/dev.stamp  ## Lint, format, types, floors; print the size of functions and files
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) tools/measure_functions.py

bench: $(VENV)/dev.stamp  ## Run every benchmark on this machine, keep it idle meanwhile; print tables
	@$(RUN) benchmarks/run_all.py $(ARGS)

ecosystem: $(VENV)/dev.stamp  ## Ask the server with other people's clients, installed afresh; print a table
	@$(RUN) benchmarks/ecosystem.py $(ARGS)

gpu: $(VENV)/dev.stamp  ## Run the tests that need an accelerator, then the benchmarks on it
	@$(RUN) tools/find_accelerator.py
	$(RUN) -m pytest -m gpu || { [ $$? -eq 5 ] && echo "no test needs an accelerator yet"; }
	@$(MAKE) --no-print-directory bench

docs: $(VENV)/docs.stamp  ## Build the documentation into site/
	$(RUN) tools/write_cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

wheel: $(VENV)/dev.stamp  ## Build the wheel, native and pure; each must answer in an empty environment
	rm -rf dist
	$(RUN) -m build --wheel
	CC=/nonexistent CXX=/nonexistent $(RUN) -m build --wheel --outdir dist/pure
	bash tools/try_wheel.sh dist/tongwen-*.whl dist/pure/tongwen-*-none-any.whl

clean:  ## Remove what was built, not the environment and not the models
	rm -rf dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# What pip says goes to stderr, and it reads no input: `echo question | make run` must work.
$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		found=$$($(PYTHON) --version 2>&1) || found="no program"; \
		echo "error: Tongwen needs Python 3.11 or newer; '$(PYTHON)' is $$found" >&2; \
		echo "hint: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >&2 < /dev/null
	@touch $@

$(VENV)/core.stamp: pyproject.toml $(NATIVE) | $(VENV)/made.stamp
	@echo "installing Tongwen into $(VENV): about 1 GB, a minute or two" >&2
	@$(RUN) -m pip install -e . >&2 < /dev/null
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(NATIVE) | $(VENV)/made.stamp
	@echo "installing Tongwen and its tools into $(VENV): about 3 GB, some minutes" >&2
	@$(RUN) -m pip install -e '.[all,dev]' >&2 < /dev/null
	@touch $(VENV)/core.stamp $@

$(VENV)/docs.stamp: pyproject.toml | $(VENV)/core.stamp
	@$(RUN) -m pip install -e '.[docs]' >&2 < /dev/null
	@touch $@
