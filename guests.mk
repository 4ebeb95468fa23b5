# The components that come with Stepseal, and those that only its tests use. Included by the Makefile.
# cargo decides what is out of date: it knows the compiler and every source; make does not.

GUESTS := ledger jq spending-limit
TEST_GUESTS := hostile hostile-policy outbound concurrent

.PHONY: guests test-guests check-guests

guests: ## Build the bundled plugins and policies into target/guests
	@scripts/build-guest.sh $(GUESTS)

test-guests: ## Build the components that only tests use into target/guests
	@scripts/build-guest.sh $(TEST_GUESTS)

check-guests: guests ## Build the bundled guests again elsewhere: the same bytes, and no import too many
	@tests/guests/check.sh $(GUESTS)
