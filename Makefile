.DEFAULT_GOAL := help
.PHONY: help setup submit test check fix bench bench-gpu mutants list images test-pods test-kills test-benchmarks test-extras test-slides test-cluster test-played clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
SCALE ?= laptop
SEEDS ?= 1
WORKERS ?= 1
ENGINE ?= docker
TORCH ?= cuda
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CODE = histoseg ray_jobs dockerfiles pyproject.toml requirements*.lock
NO_TESTS = 5# pytest's exit code where none is selected
COMMIT = $(shell git rev-parse HEAD)$(if $(shell git status --porcelain -- $(CODE)),+changes)
BIN := .venv/bin
# Honoured if you keep wheels of your own (a CPU build of torch, say); torch is otherwise taken from the usual index.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
# Threads of torch that wait by spinning make a machine with few cores many times slower.
export OMP_NUM_THREADS ?= 1
export NO_ALBUMENTATIONS_UPDATE := 1

# What `make submit` passes on of its variables. SET holds what a shell would read as its own, so it is read from the
# environment.
export SET
given = $(if $($(2)),$(1) "$($(2))")
WHAT = $(call given,--experiment,EXP) --scale "$(SCALE)" --seeds "$(SEEDS)" --workers "$(WORKERS)" $(call given,--data,DATA) \
	--set "$$SET$(if $(SHOTS), refine.select.shots=$(SHOTS))" $(call given,--imagenet,IMAGENET) $(call given,--start,START) \
	$(call given,--listen,LISTEN) $(call given,--slides,SLIDES) $(call given,--model,MODEL) $(call given,--into,OUT)
WHERE = $(call given,--store,STORE) $(call given,--cluster,CLUSTER) $(call given,--namespace,NAMESPACE) \
	$(call given,--release,RELEASE) $(call given,--ray-address,RAY_ADDRESS) $(if $(SHIP),--ship) $(call given,--job,JOB)
ACTION = $(if $(STATUS),--status) $(if $(RESULTS),--results) $(if $(CANCEL),--cancel) $(if $(DRY_RUN),--dry-run)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/ready ## make .venv with everything that runs and tests the project

submit: setup ## run an experiment: EXP=table1 [SCALE=laptop|real-cpu|paper DATA=folder|demo|prepared STORE=url SEEDS=3 SHOTS=5 WORKERS=1 IMAGENET=file START=folder SET="optim.steps=200" LISTEN="tensorboard mlflow=http://host:5000"], or slides through a model: EXP=slides SLIDES=folder|s3://…|list.txt MODEL=folder|s3://… [OUT=folder|s3://…]; on a cluster: CLUSTER=context [NAMESPACE= RELEASE=] or RAY_ADDRESS=http://host:8265 [SHIP=1], and STATUS=1, RESULTS=1, CANCEL=1 (of JOB=name) or DRY_RUN=1
	@test -n "$(EXP)$(STATUS)$(JOB)" || { echo "name an experiment, e.g. make submit EXP=table1; make list shows all"; exit 2; }
	@$(BIN)/python -m ray_jobs.submit $(WHAT) $(WHERE) $(ACTION)

# Tests that start a Ray run one after the other; the rest share two processes.
test: setup ## pass every test: [ARGS="tests/metrics -k iou"]
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ray never $(ARGS) || [ $$? = $(NO_TESTS) ]
	@$(BIN)/python -m pytest --ray only $(ARGS) || [ $$? = $(NO_TESTS) ]

check: setup ## what CI runs: format, lint, types, tests
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@$(MAKE) test

fix: setup ## format and mend what can be mended by itself
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## print measured ratios for the parts named in docs/performance.md
	@$(BIN)/python -m benchmarks

bench-gpu: setup ## measure training and prediction on a GPU, ten minutes, docs/performance.md: [ONLY="Cerberus bf16"]
	@$(BIN)/python benchmarks/gpu/bench.py --only "$(ONLY)"

mutants: setup ## change the code in small ways and see whether its tests notice, docs/mutants.md: [MODULE=metrics/iou FUNCTION=confusion PERCENT=10]
	@$(BIN)/python -m tests.mutants $(MODULE) --function "$(FUNCTION)" --percent "$(if $(PERCENT),$(PERCENT),100)"

list: setup ## list sources, methods and experiments
	@$(BIN)/histoseg list

images: ## build the container images histoseg-train and histoseg-data: [TORCH=cpu ENGINE=podman IMAGE_ARGS="--build-arg BASE=…"]
	@for image in train data; do $(ENGINE) build --file dockerfiles/Dockerfile --target $$image --tag histoseg-$$image:$(VERSION) \
		--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg TORCH=$(TORCH) $(IMAGE_ARGS) . || exit 1; done

test-pods: setup ## run the chart's pods from fresh images (root, Linux, podman, fifteen minutes)
	@HISTOSEG_PODS=1 $(BIN)/python -m pytest tests/pods $(ARGS)

test-kills: setup ## kill runs and predictions at each of their writes and repeat them, on files and S3 (ten minutes)
	@HISTOSEG_KILLS=1 $(BIN)/python -m pytest tests/pipeline/test_kills.py $(ARGS)

test-benchmarks: setup ## run each measurement of make bench-gpu once, small, on this machine (five minutes)
	@HISTOSEG_BENCHMARKS=1 $(BIN)/python -m pytest tests/benchmarks/test_measure.py $(ARGS)

test-extras: setup ## run the tests of optional packages, each in an environment of its own (twenty minutes): [EXTRA="cellpose openvino spatialdata tiatoolbox"]
	@$(BIN)/python -m tests.extras $(EXTRA)

test-slides: setup ## segment made-up slides of 1.6 and 8 gigapixels, killed on the way, and count every object (an hour)
	@HISTOSEG_SLIDES=1 $(BIN)/python -m pytest -s tests/slides/test_large.py $(ARGS)

test-cluster: setup ## go through what people and clusters do to a release, before a new one (an hour): CLUSTER=context [IMAGE=registry.example/histoseg-train:0.1.0 VALUES=lab-values.yaml PATIENCE=2 ARGS="-k drain"]
	@test -n "$(CLUSTER)" || { echo "name a cluster with KubeRay: make test-cluster CLUSTER=context; kubectl config get-contexts lists them"; exit 2; }
	@HISTOSEG_CLUSTER="$(CLUSTER)" IMAGE="$(IMAGE)" VALUES="$(VALUES)" PATIENCE="$(PATIENCE)" \
		$(BIN)/python -m pytest tests/cluster/test_cluster.py --durations=0 $(ARGS)

test-played: setup ## go through the same on a played cluster behind a real API server, KUBEBUILDER_ASSETS (ten minutes)
	@HISTOSEG_PLAYED=1 $(BIN)/python -m pytest tests/cluster/test_played.py $(ARGS)

clean: ## remove everything that runs have left here, the store included
	rm -rf .histoseg results .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock uv
	$(BIN)/uv pip install --quiet --python .venv --compile-bytecode --constraint requirements.lock --editable ".[train,local,cluster,dev]" && touch $@
