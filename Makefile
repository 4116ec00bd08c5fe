# make demo   pre-train, transfer and judge a tiny BiT on data that need no download
# make test   the test suite
# make soak   what takes too long for it: the same checks, many more times
# Both first set up .venv; BACKENDS=jax,torch adds what the backend tests need.

PYTHON ?= python3
BACKENDS ?=
# Processes that run the tests.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
comma := ,
EXTRAS := dev$(if $(BACKENDS),$(comma)$(BACKENDS))
# The version the parity figures were measured with; newer ones may work.
TORCH := $(if $(findstring torch,$(BACKENDS)),torch==2.13.0)
# One mark per set of extras: asking for another set installs again.
READY := $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))

.PHONY: demo test soak lint clean

demo: $(READY)
	@$(BIN)/python -m bit_keras.demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -m "not network and not gpu and not soak"

soak: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --no-loadscope-reorder -m soak

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache

# uv if it is there, else pip.  An interrupted set-up leaves no mark and is
# taken up again by the next call.
$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	  "bit_keras needs Python >= 3.11; %s is %d.%d. Try: make PYTHON=python3.11" \
	  % ((sys.executable,) + v[:2]))'
	@if command -v uv > /dev/null; then \
	  echo "Setting up $(VENV) with uv"; \
	  test -x $(BIN)/python || uv venv --quiet --python "$(PYTHON)" $(VENV); \
	  VIRTUAL_ENV=$(VENV) uv pip install --quiet \
	    $(if $(TORCH),--torch-backend cpu) -e '.[$(EXTRAS)]' $(TORCH); \
	else \
	  echo "Setting up $(VENV) with pip (about two minutes, 3 GB)"; \
	  test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -e '.[$(EXTRAS)]' $(TORCH); \
	fi
	@touch $@
