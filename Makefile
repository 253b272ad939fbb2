# One target per task. Everything needed is made from python3 alone.
.PHONY: demo test test-clients check fix stubs docs bench bench-check peers report clean

export OPENBLAS_NUM_THREADS ?= 1
UV := .venv/bootstrap/bin/uv
PYTHON := .venv/bin/python
PROTOS := torpor/v1/control.proto torpor/v1/data.proto
INTERNAL := torpor/internal/v1/frames.proto torpor/internal/v1/introspection.proto torpor/internal/v1/twin.proto
STUBS := .venv/stubs

# See an index fall asleep and wake.
demo: .venv/made
	@$(PYTHON) -P -m torpor demo

test: .venv/made
	$(PYTHON) -m pytest -n 2

# The official Pinecone clients, each in an environment of its own, against a server of this checkout.
test-clients: .venv/made
	$(PYTHON) -m tests.clients.environment
	$(PYTHON) -m pytest -n 2 tests/clients

# Format, lint, types, import rules, spelling, and whether stubs and API reference are those of the protos.
check: .venv/made $(STUBS)/made
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m codespell_lib
	$(STUBS)/bin/buf lint
	rm -rf $(STUBS)/fresh && mkdir -p $(STUBS)/fresh
	$(MAKE) --no-print-directory generate INTO=$(STUBS)/fresh
	diff -r -x '__*' $(STUBS)/fresh/torpor/v1 torpor/v1
	diff -r -x '__*' $(STUBS)/fresh/torpor/internal torpor/internal
	$(MAKE) --no-print-directory reference INTO=$(STUBS)/fresh/api.md
	diff $(STUBS)/fresh/api.md docs/api.md

# Mend what check finds, as far as a tool can.
fix: .venv/made
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Write the stubs anew after changing a proto.
stubs: $(STUBS)/made
	$(MAKE) --no-print-directory generate INTO=.

# Write the API reference anew after changing a proto or its comments.
docs: .venv/made $(STUBS)/made
	$(MAKE) --no-print-directory reference INTO=docs/api.md

bench: .venv/made
	$(PYTHON) -m bench cold_start
	$(PYTHON) -m bench warm_latency

# What got slower since BASE, by more than its own noise? Default: since HEAD left main.
bench-check: .venv/made
	$(PYTHON) -m bench compare --base '$(BASE)'

# What others would use instead, for `python -m bench peers` and `kernels`, in an environment of its own.
peers: $(UV)
	UV_PROJECT_ENVIRONMENT=.venv/peers $(UV) sync --frozen --quiet --no-default-groups --group peers

# Write REPORT.md, its figures and README's table anew after measuring.
report: .venv/made
	$(UV) sync --frozen --quiet --inexact --group bench
	$(PYTHON) -m bench report
	$(PYTHON) -m bench readme

clean:
	rm -rf .venv

.PHONY: generate
generate:
	PATH=$(CURDIR)/$(STUBS)/bin:$$PATH python -m grpc_tools.protoc -I protos \
	  --python_out=$(INTO) --mypy_out=quiet:$(INTO) \
	  --grpc_python_out=$(INTO) --mypy_grpc_out=quiet:$(INTO) $(PROTOS)
	PATH=$(CURDIR)/$(STUBS)/bin:$$PATH python -m grpc_tools.protoc -I protos \
	  --python_out=$(INTO) --mypy_out=quiet:$(INTO) $(INTERNAL)

.PHONY: reference
reference:
	$(STUBS)/bin/python -m grpc_tools.protoc -I protos --include_source_info \
	  --descriptor_set_out=$(STUBS)/api.binpb $(PROTOS)
	$(PYTHON) -m docs.render_api $(STUBS)/api.binpb $(INTO)

# uv comes from PyPI into an environment of its own inside .venv, and then fills .venv itself.
$(UV):
	python3 -m venv .venv
	python3 -m venv .venv/bootstrap
	.venv/bootstrap/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

.venv/made: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --quiet
	@touch $@

# Code from grpcio-tools 1.80 runs with protobuf 6 and 7; the tools themselves need protobuf 6.
$(STUBS)/made: $(UV) Makefile
	$(UV) venv --quiet --clear $(STUBS)
	$(UV) pip install --quiet --python $(STUBS)/bin/python \
	  buf-bin==1.75.0 grpcio-tools==1.80.0 mypy-protobuf==5.1.0 protobuf==6.33.5 setuptools==80.9.0
	@touch $@
