# The plugin `summarise` in every language: the same step, the same schemas, the same answers. Included by the Makefile.
# Compilers come from PyPI, npm and crates at pinned versions, into target/languages; only python3-venv is the system's.

LANGUAGES := target/languages
LANGUAGE_GUESTS := summarise-c summarise-c-wasi summarise-qjs summarise-qjs-wasi summarise-qjs-async
MORE_LANGUAGE_GUESTS := summarise-starlingmonkey summarise-starlingmonkey-wasi summarise-python summarise-python-wasi summarise-go

.PHONY: language-guests languages

language-guests: $(LANGUAGES)/ready ## Build the plugin `summarise` in Rust, JavaScript (QuickJS) and C into target/guests
	@scripts/build-guest.sh summarise-rust
	@scripts/languages/build.sh $(LANGUAGES) $(LANGUAGE_GUESTS)

languages: guests $(HOST) $(LANGUAGES)/ready-all ## Build it in all languages, run and replay each, and print what each costs
	@scripts/build-guest.sh summarise-rust
	@scripts/languages/build.sh $(LANGUAGES) $(LANGUAGE_GUESTS) $(MORE_LANGUAGE_GUESTS)
	@python3 -B scripts/languages/measure.py --stepseal $(HOST) --components target/guests --work $(LANGUAGES)/work \
		summarise-rust $(LANGUAGE_GUESTS) $(MORE_LANGUAGE_GUESTS)

# Made once; versions that change make them anew. Who has all has some.
LANGUAGE_TOOLS := $(addprefix scripts/languages/,setup.sh requirements.txt requirements-all.txt package.json package-lock.json)
$(LANGUAGES)/ready: $(LANGUAGE_TOOLS)
	@scripts/languages/setup.sh $(LANGUAGES) some
	@touch $@
$(LANGUAGES)/ready-all: $(LANGUAGE_TOOLS)
	@scripts/languages/setup.sh $(LANGUAGES) all
	@touch $(LANGUAGES)/ready $@
