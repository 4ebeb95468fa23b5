# The test vectors and the receipts of the demo under a verifier that shares no code with the host. Included by the Makefile.

VENV := target/venv

.PHONY: test-python test-vectors

test-vectors: $(VENV)/ready ## Run the format's test vectors through the Python verifier
	@$(VENV)/bin/python -B scripts/run_vectors.py

test-python: test-vectors target/demo/trust.json ## Verify the demo's receipts with Python's cryptography and nothing of ours
	@$(VENV)/bin/python scripts/verify_receipt.py --trust target/demo/trust.json target/demo/*.stepseal.json
	@receipts=(target/demo/*.stepseal.json); \
	$(VENV)/bin/python scripts/flip_byte.py "$${receipts[0]}" target/flipped.stepseal.json; \
	if found=$$($(VENV)/bin/python scripts/verify_receipt.py --trust target/demo/trust.json target/flipped.stepseal.json); \
	then echo "test-python: a receipt with a flipped byte was verified" >&2; exit 1; fi; \
	printf '%s\n' "$$found"; grep -q 'flipped.stepseal.json: REFUSED' <<< "$$found"

# Made once; requirements that change make it anew.
$(VENV)/ready: scripts/requirements.txt
	@python3 -m venv --clear $(VENV) || { echo "test-python: python3 has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement scripts/requirements.txt
	@touch $@

target/demo/trust.json:
	@$(MAKE) demo
