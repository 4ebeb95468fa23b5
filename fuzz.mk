# Fuzzing every parser of what strangers send. Included by the Makefile.
# Stable Rust and no sanitizer: the crates have no unsafe code of ours, and what is looked for are panics, hangs and memory.

CARGO_FUZZ_VERSION := 0.13.1
CARGO_FUZZ := target/tools/bin/cargo-fuzz
FUZZ_TARGETS := receipt envelope note proof trust policy export
FUZZ_SECONDS ?= 60
FUZZ_MEMORY_MB := 2048

SANDBOX_TARGETS := bytes modules components mutants
# All of them together; each gets its part.
FUZZ_SANDBOX_SECONDS ?= $(if $(filter file,$(origin FUZZ_SECONDS)),600,$(FUZZ_SECONDS))
# Compiling is done in the fuzzer's own process, and what it takes counts.
FUZZ_SANDBOX_MEMORY_MB := 4096

.PHONY: fuzz fuzz-sandbox

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

fuzz-sandbox: $(CARGO_FUZZ) ## fuzz upload and run of components for ten minutes (FUZZ_SECONDS=600)
	@$(CARGO_FUZZ) build --fuzz-dir fuzz/sandbox --sanitizer none --target-dir target/fuzz
	@target/fuzz/$$(rustc --print host-tuple)/release/seeds target/fuzz/seeds
	@set -e; for target in $(SANDBOX_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target target/fuzz/found; \
		$(CARGO_FUZZ) run --fuzz-dir fuzz/sandbox --sanitizer none --target-dir target/fuzz $$target target/fuzz/corpus/$$target target/fuzz/seeds/$$target -- \
			-max_total_time=$$(($(FUZZ_SANDBOX_SECONDS) / $(words $(SANDBOX_TARGETS)))) -rss_limit_mb=$(FUZZ_SANDBOX_MEMORY_MB) -timeout=60 -max_len=16384 \
			-verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/found/$$target- > target/fuzz/$$target.log 2>&1 \
			|| { tail -n 40 target/fuzz/$$target.log; exit 1; }; \
		echo "$$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' target/fuzz/$$target.log) runs, nothing found," \
			"at most $$(sed -n 's/^stat::peak_rss_mb: *//p' target/fuzz/$$target.log) MB"; \
	done

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root target/tools
