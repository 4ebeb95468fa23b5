# Fuzzing every parser of what strangers send. Included by the Makefile.
# Stable Rust and no sanitizer: the crates have no unsafe code of ours, and what is looked for are panics, hangs and memory.

CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ := target/tools/bin/cargo-fuzz
FUZZ_TARGETS := receipt envelope note proof trust policy export
FUZZ_SECONDS ?= 60
FUZZ_MEMORY_MB := 2048

.PHONY: fuzz

fuzz: $(CARGO_FUZZ) ## fuzz each parser for a minute (FUZZ_SECONDS=60)
	@cargo run --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --bin seeds -- target/fuzz/seeds
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target target/fuzz/found; \
		$(CARGO_FUZZ) run --sanitizer none --target-dir target/fuzz $$target target/fuzz/corpus/$$target target/fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=$(FUZZ_MEMORY_MB) -timeout=10 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=target/fuzz/found/$$target- > target/fuzz/$$target.log 2>&1 \
			|| { tail -n 40 target/fuzz/$$target.log; exit 1; }; \
		echo "$$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' target/fuzz/$$target.log) runs, nothing found"; \
	done

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root target/tools
