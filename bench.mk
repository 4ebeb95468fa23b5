# What is promised about speed and memory, measured. Included by the Makefile.
# One call of cargo for all of them: another choice of packages has other features, and wasmtime would be compiled again.

BENCHES := records host
SANDBOX_BENCHES := step crowd patience
ENGINE_BENCHES := engine

.PHONY: bench bench-engine bench-sandbox

bench: guests test-guests ## measure what is promised about speed and memory, against raw wasmtime and raw signatures
	@cargo bench --locked --quiet -p stepseal-receipts -p stepseal-sandbox -p stepseal $(addprefix --bench ,$(BENCHES))

bench-engine: guests test-guests postgres ## how many tasks a host runs, on SQLite and on PostgreSQL; with PARTS="sqlite waiting" only these
	@cargo bench --locked --quiet -p stepseal-receipts -p stepseal-sandbox -p stepseal $(addprefix --bench ,$(ENGINE_BENCHES)) -- $(PARTS)

bench-sandbox: guests test-guests ## measure what is promised about the sandbox: against raw wasmtime, with many components, guests and waits
	@cargo bench --locked --quiet -p stepseal-receipts -p stepseal-sandbox -p stepseal $(addprefix --bench ,$(SANDBOX_BENCHES))
