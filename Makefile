# Everything is one command; `make` or `make help` lists them. Variables may follow: make finetune SEED=1 TASK=drawer_open
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help system packages env build test lint docs reference finetune bench lock clean

# Where a machine forbids Python to keep compiled modules, every process would compile PyTorch again: 4 s each.
unexport PYTHONDONTWRITEBYTECODE
# A `make` below this one (colcon's, or one that a test runs) has options of its own.
unexport MAKEFLAGS MFLAGS

PYTHON ?= python3
PYTEST_ARGS ?=

# A ROS installation that is sourced is used; without one, ROS 2 Jazzy comes from wheels.
ENV_MADE := .venv/.made_for_$(if $(ROS_DISTRO),$(ROS_DISTRO),wheels)
MESSAGES_BUILT := build/.moto_msgs_for_$(if $(ROS_DISTRO),$(ROS_DISTRO),wheels)
BUILT := build/.built_for_$(if $(ROS_DISTRO),$(ROS_DISTRO),wheels)
MESSAGES := $(shell find moto_msgs -type f)
SOURCES := $(shell find moto_ros launch config resource sim package.xml setup.py setup.cfg tools/moto \
	-type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*')

ENTER := . tools/enter.sh &&
PYTHON_FILES := moto_ros sim launch test tools bench setup.py

help:  ## list these commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 12

system:  ## install the Debian packages that building and rendering need (as root; else say which are missing)
	@PYTHON="$(PYTHON)" tools/system.sh

# Before the first environment; what stays missing may not be needed here, and is said again by whatever needs it.
packages:
	@[ -e $(ENV_MADE) ] || PYTHON="$(PYTHON)" tools/system.sh || true

env: $(ENV_MADE)  ## make .venv with everything pinned

$(ENV_MADE): requirements/*.txt sim/requirements*.txt tools/env.sh tools/check_python.py tools/fix_ros_wheels.py \
		tools/uv_install.py | packages
	@PYTHON="$(PYTHON)" tools/env.sh
	@touch $@

build: $(BUILT)  ## build moto_msgs, moto_ros and moto_sim into install/

$(MESSAGES_BUILT): $(ENV_MADE) tools/build.sh $(MESSAGES)
	@tools/build.sh moto_msgs
	@touch $@

$(BUILT): $(MESSAGES_BUILT) $(SOURCES) requirements/run.txt requirements/franka.txt requirements/realsense.txt
	@tools/build.sh moto_ros moto_sim
	@touch $@

# Interrupted after 80 minutes, pytest lists what has failed: xdist may wait for ever for a worker that has crashed.
test: build lint  ## run the linters and the whole test suite; PYTEST_ARGS="-k name" for a part
	@$(ENTER) OMP_NUM_THREADS=1 timeout --foreground --signal=INT --kill-after=60 80m pytest --timeout 300 -n 2 --dist loadgroup $(PYTEST_ARGS)

lint: $(ENV_MADE)  ## run ruff and mypy
	@$(ENTER) ruff check $(PYTHON_FILES) && ruff format --check $(PYTHON_FILES) && mypy moto_ros sim/moto_sim bench/*.py

docs: $(ENV_MADE)  ## build the documentation site into site/
	@$(ENTER) NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict

reference: build  ## write the reference pages docs/configuration.md and docs/messages.md from the code
	@$(ENTER) python tools/reference.py

# Each variable given on the command line (the environment does not count) becomes the argument of the same name.
NAMES := TASK AGENT PRESET SEED RUN BAGS EPISODES DEVICE
# A misspelled one would start the default run, of minutes.
KNOWN := $(NAMES) PYTHON PYTEST_ARGS SHELL ROS_DISTRO TORCH_INDEX
UNKNOWN := $(filter-out $(KNOWN) -*-%,$(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name))))
ifneq ($(and $(UNKNOWN),$(filter finetune,$(MAKECMDGOALS))),)
$(error unknown variable $(UNKNOWN), expected one of $(NAMES) PYTHON TORCH_INDEX)
endif
GIVEN = $(foreach name,$(NAMES),$(if $(filter command,$(origin $(name))),$(name)))
ARGUMENTS = $(foreach name,$(GIVEN),--$(shell echo $(name) | tr A-Z a-z) '$($(name))')

finetune: build  ## record, pre-train, fine-tune, evaluate, report: TASK= AGENT= PRESET= SEED= RUN= BAGS= EPISODES= DEVICE=
	@$(ENTER) moto finetune $(ARGUMENTS)

bench: build  ## measure simulator, ROS loop, bags, replay and learning; prints tables, writes bench.json
	@$(ENTER) python -m bench

lock: $(ENV_MADE)  ## pin again: rewrite requirements/constraints.txt (needs uv)
	@tools/lock.sh

clean:  ## remove what was built and cached; runs/ and .venv stay
	rm -rf build install log site .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
