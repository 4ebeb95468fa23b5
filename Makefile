# Everything a person or CI runs here. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# What is included waits for it, so it is said first.
HOST := target/release/stepseal

include guests.mk
include python.mk
include bench.mk
include interop.mk
include languages.mk
include fuzz.mk

.PHONY: help demo test determinism torture ci fmt clippy wasm32 postgres s3

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: guests $(HOST) ## build everything and show it at work: four tasks, four receipts, verified and re-run
	@$(HOST) demo --components target/guests --out target/demo

# cargo decides whether anything is to be done; the target is never up to date by itself.
.PHONY: $(HOST)
$(HOST):
	@echo "host: building (the first time takes minutes, nearly all of it the compiler inside wasmtime)" >&2
	@cargo build --release --locked -p stepseal

test: guests test-guests language-guests wasm32 test-python postgres s3 ## every test, on SQLite and on PostgreSQL
	cargo test --locked --workspace

determinism: guests test-guests language-guests ## every guest 1,000 times pooled and not, on one processor and on two: the same bytes and fuel
	STEPSEAL_DETERMINISM_RUNS=1000 cargo test --locked --workspace --lib determinism

torture: guests test-guests postgres ## a host killed 3,000 times under load and checked from outside; STEPSEAL_TORTURE_SEED=N once more
	STEPSEAL_TORTURE_ROUNDS=3000 cargo test --locked --workspace --test blackbox torture -- --nocapture --test-threads 1

postgres: # a server's programs, for tests; without them it says what to do
	@scripts/postgres.sh ensure

s3: # an object store from PyPI, for tests
	@scripts/s3.sh ensure

wasm32: # the verifier is to run in browsers and guests too
	@scripts/build-guest.sh --check stepseal-receipts

ci: fmt clippy test test-interop ## what CI runs

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
