# make book | make test | make store | make clean
PYTHON ?= python3
PRESET ?= smoke
# seconds a chapter may take
TIMEOUT ?= $(if $(filter smoke,$(PRESET)),900,21600)

BIN   := $(CURDIR)/.venv/bin
ENV   := .venv/.installed
STAGE := _build/stage
NOTEBOOKS := $(wildcard book/*.ipynb)
RUN := $(NOTEBOOKS:%=$(STAGE)/%)
# what a chapter's numbers depend on, besides the chapter
CODE := $(wildcard maml_en_llm/*.py maml_en_llm/*.json maml_en_llm/tiny_base/* results/*) book/execute.py

# chapters run inside book/: local folders have to be absolute, hub addresses are left alone
absolute = $(if $(wildcard $(1)),$(abspath $(1)),$(1))
ifdef METAICL_DATA
override METAICL_DATA := $(call absolute,$(METAICL_DATA))
export METAICL_DATA
endif
ifdef GPT2_BPE
override GPT2_BPE := $(call absolute,$(GPT2_BPE))
export GPT2_BPE
endif

# waiting threads leave the processor to others: on a busy machine this is several times faster
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: book test store clean FORCE
.DELETE_ON_ERROR:

# --all: an incremental build would not repeat the warnings of pages it keeps, and pass the second time
book: $(RUN) $(ENV)
	@mkdir -p $(STAGE)/book
	@cp _config.yml _toc.yml $(STAGE) && cp -r $(wildcard book/*.md book/*.bib book/_static) $(STAGE)/book
	$(BIN)/jupyter-book build $(STAGE) --path-output . --all -q -W -n --keep-going
	@$(BIN)/python book/check_html.py

test: $(ENV)
	$(BIN)/python -m pytest -q
	$(BIN)/python -m pytest -q --nbval book

# for authors: run the chapters at their defaults and keep the outputs in book/
store: $(ENV)
	for notebook in $(NOTEBOOKS); do $(BIN)/python book/execute.py $$notebook $$notebook --store || exit 1; done

clean:
	rm -rf _build

$(STAGE)/book/%.ipynb: book/%.ipynb $(CODE) $(STAGE)/.variables $(ENV)
	@mkdir -p $(@D)
	$(BIN)/python book/execute.py $< $@ --timeout $(TIMEOUT) $(if $(filter-out smoke,$(PRESET)),-p preset $(PRESET))

# rewritten only when a value changes, so that other values run the chapters again
VARIABLES := PRESET=$(PRESET) METAICL_DATA=$(METAICL_DATA) GPT2_BPE=$(GPT2_BPE)
$(STAGE)/.variables: FORCE
	@mkdir -p $(@D)
	@echo '$(VARIABLES)' | cmp -s - $@ || echo '$(VARIABLES)' > $@

$(ENV): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, found " + sys.version + "; name one with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@
