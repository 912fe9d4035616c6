# `make run` and `make test` are the two that matter; `make help` lists the rest.

SHELL := /bin/sh
CONFIG ?= config/elemta.yaml
# For `make perf`: perf/run --help says what there is.
PERF ?= --check --json .build-perf/results.json
# Seconds that `make test` gives the fuzz target, and `make fuzz`.
FUZZ_SECONDS_IN_TEST ?= 60
FUZZ_SECONDS ?= 600

release := .build/release/elemta
acceptance := Tests/Acceptance/run
# In every build of the tests: a target imports what it declares and nothing else.
import_check := --explicit-target-dependency-import-check error
swift_sources := Package.swift Sources Tests

.DEFAULT_GOAL := help
.PHONY: help run test build soak faults perf sanitize fuzz format lint audit clean \
	needed-to-run needed-to-test needed-to-perf needed-to-sanitize unit acceptance asan tsan
# The steps of `make test` share .build and two cores: never two at once.
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## install what's missing, build, start the server with $(CONFIG); Ctrl-C drains and stops
	@scripts/certificate
	@exec $(release) server --config $(CONFIG)

build: needed-to-run ## install what's missing and build the release binary
	swift build -c release $$(scripts/release-flags)

test: needed-to-test ## everything: lint, boundary audit, unit tests, whole-server tests, a minute of fuzzing
	@$(MAKE) --no-print-directory lint audit unit
	swift build -c release $$(scripts/release-flags)
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(FUZZ_SECONDS_IN_TEST)
	@$(MAKE) --no-print-directory acceptance

lint: ## swift format, strictly
	swift format lint --strict --parallel --recursive $(swift_sources)

format: ## let swift format rewrite the sources
	swift format format --in-place --parallel --recursive $(swift_sources)

audit: ## what may import what, and the other walls of the house
	scripts/audit

unit: ## unit tests
	swift build --build-tests $(import_check)
	swift test --skip-build $(import_check)

acceptance: ## whole-server tests against the release binary, as it is built now
	$(acceptance) --binary $(release)

soak: needed-to-test ## what takes longer: 200 rounds of kill -9 under load, 60 power losses
	swift build -c release $$(scripts/release-flags)
	KILL_ROUNDS=200 POWER_ROUNDS=6 POWER_CUTS=10 $(acceptance) --binary $(release) test_kill test_power
	TAKEOVER_SECONDS=20 $(acceptance) --binary $(release) test_takeover

faults: needed-to-test ## every call to the disk fails, one after the other
	swift build -c release $$(scripts/release-flags)
	FAULTS=all $(acceptance) --binary $(release) test_faults

perf: needed-to-perf ## measure Elemta beside other servers and hold it to its goals; PERF="--quick --check" is short
	swift build -c release $$(scripts/release-flags)
	perf/run $(PERF)

sanitize: needed-to-sanitize ## the whole-server tests against AddressSanitizer and ThreadSanitizer builds
	@$(MAKE) --no-print-directory asan tsan

asan: ## the same, AddressSanitizer only
	swift build --sanitize address --scratch-path .build-asan --product elemta
	$(acceptance) --sanitizer address --binary .build-asan/debug/elemta

tsan: ## the same, ThreadSanitizer only
	swift build --sanitize thread --scratch-path .build-tsan --product elemta
	$(acceptance) --sanitizer thread --binary .build-tsan/debug/elemta

fuzz: ## fuzz the session machine for $(FUZZ_SECONDS) seconds
	@if [ -x Tests/Fuzz/run ]; then Tests/Fuzz/run $(FUZZ_SECONDS); \
	else echo "No fuzz target in Tests/Fuzz."; exit 1; fi

clean: ## remove everything built, the unpacked tools too; the queue and the logs stay
	rm -rf .build .build-*

needed-to-run:
	@scripts/dependencies run

needed-to-sanitize:
	@scripts/dependencies sanitize

needed-to-test:
	@scripts/dependencies test

needed-to-perf:
	@scripts/dependencies perf

include packaging/packaging.mk
