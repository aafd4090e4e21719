# Two commands: `make demo` and `make test`. Each makes its own virtual environment with pip.
PYTHON ?= python3
VENV := .venv
# Tests and benchmarks start processes by the hundred: let each find the sources compiled.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo demo-quick test test-ray soak weeks chaos fuzz mutants lint compare study study-quick bench bench-quick bench-server bench-simulator bench-agreement bench-checkpoints chaos-server clean

demo: $(VENV)/.installed
	$(BIN)/evener demo

demo-quick: $(VENV)/.installed
	$(BIN)/evener demo --quick

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# On a real Ray cluster of emulated hosts, with a node that is killed: needs root and 300 MB for Ray; two minutes.
test-ray: $(VENV)/.ray
	$(BIN)/python -m pytest -m ray tests/engines

# Ten thousand random schedules of faults in simulation, each under every policy, on all cores; prints the time it took.
# COUNT= and FIRST= choose other seeds. The test command runs a few of them.
COUNT ?= 10000
FIRST ?= 0
soak: $(VENV)/.installed
	$(BIN)/python -m evener.testing.soak --count $(COUNT) --first $(FIRST)

# Simulated weeks in which workers come and go by the thousand: an hour at most (MINUTES=); does memory stay flat?
MINUTES ?= 60
weeks: $(VENV)/.installed
	$(BIN)/python -m evener.testing.endurance --minutes $(MINUTES)

# Faults on real processes, the server's too: each fault at each moment, then random kills; some twenty minutes. ALL=1:
# every cell of the matrix; KILLS=200: more kills; SEED=7: that random run alone; ONLY='the server': those cells alone;
# AT_ONCE=2: two runs side by side, in half the time. Nothing is started after thirty minutes (MINUTES=).
KILLS ?= 60
AT_ONCE ?= 1
chaos: MINUTES = 30
chaos: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m chaos.run --kills $(KILLS) --at-once $(AT_ONCE) --minutes $(MINUTES) \
		$(if $(ALL),--all) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

# A million mutated messages at the protocol's parser, and a hundred thousand at the port of a server that trains: about two
# minutes. COUNT=, LIVE= and FIRST= choose others.
fuzz: FUZZ := $(if $(filter command line environment,$(origin COUNT)),$(COUNT),1000000)
fuzz: $(VENV)/.installed
	$(BIN)/python -m evener.testing.fuzz --count $(FUZZ) --live $(or $(LIVE),100000) --first $(FIRST)

# One training whose server is killed twenty times, beside an undisturbed one: some three minutes.
chaos-server: $(VENV)/.dev
	$(BIN)/python -m pytest -m chaos -s

# Changes one thing in the core at a time, and counts how many changes the tests find: a sample of NUMBER changes, or all
# of them with ALL=1. Over half an hour for the sample; docs/results/mutants.md.
NUMBER ?= 500
mutants: $(VENV)/.mutants
	$(BIN)/python -m tests.mutants.run --number $(if $(ALL),0,$(NUMBER))

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Against other systems, at the same speeds: minutes, and an otherwise idle machine.
compare: $(VENV)/.dev
	$(BIN)/python -m pytest -m comparison -s

# Every policy with real gradients: hours for the whole, under half an hour for the quick part. Ctrl-C keeps what is
# finished, and the same command goes on from there. The real processes at the end want an otherwise idle machine.
study: $(VENV)/.study
	$(BIN)/python -m study --real

study-quick: $(VENV)/.study
	$(BIN)/python -m study --quick

# Against the peers, on an emulated cluster: needs root, two cores and an otherwise idle machine; under 40 minutes, and
# under three. The peers get virtual environments of their own (benchmarks/README.md).
bench: $(VENV)/.study
	$(BIN)/python -m benchmarks.run full

bench-quick: $(VENV)/.study
	$(BIN)/python -m benchmarks.run quick

# How much the server takes, against a bare loop: some ten minutes, an otherwise idle machine, no root.
bench-server: $(VENV)/.study
	$(BIN)/python -m benchmarks.server

# What checkpoints cost training: two minutes, an otherwise idle machine, no root.
bench-checkpoints: $(VENV)/.study
	$(BIN)/python -m benchmarks.checkpoints

# How fast the simulator is, and where the policies end as workers get more, and what real gradients add: a
# quarter of an hour, an otherwise idle machine.
bench-simulator: $(VENV)/.study
	$(BIN)/python -m benchmarks.simulator

# The simulator's predictions beside real runs: needs what bench does; about twenty minutes.
bench-agreement: $(VENV)/.study
	$(BIN)/python -m benchmarks.agreement

$(VENV)/.python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "evener needs Python 3.11 or newer; set PYTHON="'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.study: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[study]'
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.ray: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[ray]'
	touch $@

$(VENV)/.mutants: $(VENV)/.dev
	$(PIP) install --constraint constraints.txt --editable '.[mutants]'
	touch $@

clean:
	rm -rf $(VENV) mutants benchmarks/.envs dist build
