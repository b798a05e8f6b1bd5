# Two commands: `make run` gives the report with generated music, `make test` checks everything.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Some trainings are faster where freed memory is kept (Linux; `run` sees to it itself: lab/execute.py)
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=16777216 MALLOC_TRIM_THRESHOLD_=134217728 MALLOC_TOP_PAD_=67108864 MALLOC_ARENA_MAX=1
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: run test check-answers coverage lab listen site notebooks report bench install corpus
run: corpus
	python -m course_lib run --jobs auto

# Three at once, also on two cores, as many tests wait for a process of theirs; the longest file begins first
test: corpus
	ruff check
	ruff format --check
	mypy
	python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests
	$(KEEP_MEMORY) COURSE_SMOKE=1 python -m pytest -n 3 --dist loadfile --nbval-lax notebooks

# Every wrong answer to an exercise in its whole notebook, trainings cut, and all right ones and none through
# `course check`: an hour or more
check-answers: corpus
	COURSE_CHECK_ANSWERS=1 COURSE_SMOKE=1 python -m pytest -n 2 tests/course/test_wrong_answers.py
	COURSE_CHECK_ANSWERS=1 python -m pytest tests/course/test_grade.py -k "solution_has_full"

coverage: corpus
	python -m pytest -n 2 --dist loadfile --cov=course_lib --cov=data_scripts tests

lab: corpus
	$(KEEP_MEMORY) jupyter lab notebooks

# FORM=rating (default), scales or pairs
listen: install
	python -m course_lib listen $(addprefix --form ,$(FORM))

# RUN=runs/latest: chapters as executed there (default: as committed)
site: install
	python -m course_lib course site $(addprefix --run ,$(RUN))

notebooks: corpus
	python -m course_lib notebooks

report: install
	python -m course_lib report runs/latest

bench: corpus
	PYTHONPATH=tests python tests/bench/run_all.py

corpus: install
	python -m data_scripts.build_embedded

install: $(INSTALLED)
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: call make with PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@
