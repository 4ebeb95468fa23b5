# What is promised about speed and memory, measured. Included by the Makefile.
# One call of cargo for all three: another choice of packages has other features, and wasmtime would be compiled again.

BENCHES := records step host

.PHONY: bench

bench: guests test-guests ## measure what is promised about speed and memory, against raw wasmtime and raw signatures
	@cargo bench --locked --quiet -p stepseal-receipts -p stepseal-sandbox -p stepseal $(addprefix --bench ,$(BENCHES))
