# The only way to build, test and lint. `make help` says what there is.

SECONDS =
SEEDS = 20000
SEED =
ONLY =
QUICK =
CODE = src tests bench examples

# Tests marked `slow` are left out of everyday use; `make test` runs them.
EVERYDAY = -m "not slow"
BOTH_CORES = -n 2 --dist worksteal

# And are short where a law is tried on examples and a world on seeds. Half of their time is waiting: four share two cores.
SHORT = SIMULATE_SEEDS=150 EXAMPLES_PART=0.3
FOUR = -n 4 --dist worksteal

# Compiled once and not by every server that a test starts, whatever the machine is set to.
export PYTHONDONTWRITEBYTECODE =

.PHONY: check test lint fix demo serve bench bench-peers simulate clean help set-up-run set-up-dev set-up-services
.NOTPARALLEL:

check: lint ## the everyday check, a minute and a half: lint, types, every test but the slow ones
	$(SHORT) .venv/bin/pytest $(FOUR) $(EVERYDAY)

test: lint set-up-services ## everything CI runs: installs what the tests need, lint, types, every test
	.venv/bin/pytest $(BOTH_CORES)

lint: set-up-dev ## ruff and mypy --strict
	.venv/bin/ruff check --quiet $(CODE)
	.venv/bin/mypy --no-error-summary

fix: set-up-dev ## let ruff mend and format what it can
	.venv/bin/ruff check --fix $(CODE)
	.venv/bin/ruff format $(CODE)

demo: set-up-run ## a server, sample signals and a live table; until Ctrl-C, or `make demo SECONDS=20`
	@.venv/bin/catalyst demo $(if $(SECONDS),--seconds $(SECONDS))

serve: set-up-run ## a server on ./catalyst.db
	@.venv/bin/catalyst serve

bench: set-up-dev ## measure; ratios from one run. `make bench ONLY="match replay"`
	@.venv/bin/python -m bench $(ONLY)

bench-peers: set-up-dev ## Catalyst beside its peers: 40 minutes, `QUICK=1` five. `make bench-peers ONLY="W2 W7"`
	@.venv/bin/python -m bench.peers $(if $(QUICK),--quick) $(ONLY)

simulate: set-up-dev ## the seeded world and its judge: `make simulate SEEDS=20000`, or SEED=17 alone, with all that happened
	$(if $(SEED),SIMULATE_SEED=$(SEED),SIMULATE_SEEDS=$(SEEDS)) .venv/bin/pytest tests/simulate $(if $(SEED),-s)

clean: ## everything that was made here, .venv too; never a catalyst.db
	rm -rf .venv .tools .demo dist build src/*.egg-info src/catalyst_signals/*.so .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 20

set-up-run:
	@tools/setup run

set-up-dev:
	@tools/setup dev

set-up-services:
	@tools/services
