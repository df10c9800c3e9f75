# What one types. Every target stands on .venv, which tools/bootstrap.sh makes; nothing is installed outside of it but missing
# system packages, which it names.
.DEFAULT_GOAL := help
PY := .venv/bin/python
SOURCES := pyproject.toml build.py tools/bootstrap.sh $(wildcard csrc/*.[ch] csrc/kernels/*.[ch])

.PHONY: help build demo test lint types asan tsan levels aarch64 interop bench bench-smoke fuzz soak lib docs performance matrix clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: .venv/.built ## .venv/ with headrace installed in it

.venv/.built: $(SOURCES)
	@tools/bootstrap.sh
	@touch $@

.venv/.dev: .venv/.built
	@tools/bootstrap.sh dev
	@touch $@

demo: build ## gateway and client on this machine: the whole ladder, traffic, a picture, figures
	@.venv/bin/headrace demo

test: .venv/.dev ## all tests but the slow suites
	@$(PY) -m pytest -q

lint: .venv/.dev ## ruff, import contracts, clang-format
	@.ci/run lint

types: .venv/.dev ## mypy --strict
	@.ci/run types

asan: .venv/.dev ## the data plane's tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@.ci/run asan

tsan: .venv/.dev ## two threads on one data plane under ThreadSanitizer
	@.ci/run tsan

levels: .venv/.dev ## the data plane's tests under every HEADRACE_CPU this machine has
	@.ci/run levels

aarch64: ## the data plane cross-compiled and run under qemu-user; installs (root) gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user
	@tests/dataplane/cross/run --install

interop: .venv/.dev ## real peers: strongSwan, xl2tpd, pppd in a QEMU guest (root; minutes; about 1 GB of disk in .cache/)
	@tests/interop/run

matrix: .venv/.dev ## set-ups broken on purpose: what gateway and troubleshoot say of each (root; minutes); writes docs/matrix.md
	@HEADRACE_MATRIX=1 $(PY) -m pytest -q -p no:randomly tests/matrix; code=$$?; $(PY) tests/matrix/report.py; exit $$code

foreign: .venv/.dev ## our EAP against eapol_test and FreeRADIUS (installs them where apt-get is; seconds)
	@tests/foreign/run

radius: .venv/.dev ## RADIUS against FreeRADIUS, which is installed if it is missing (Debian, as root)
	@command -v freeradius >/dev/null || apt-get install -y -qq --no-install-recommends freeradius
	@$(PY) -m pytest -q tests/radius

bench: .venv/.dev ## benchmarks beside the peers that are installed
	@$(PY) -m pytest -q bench --benchmark-enable --benchmark-only -p no:randomly

bench-smoke: .venv/.dev ## every benchmark once, as a test
	@$(PY) -m pytest -q bench

fuzz: .venv/.dev ## libFuzzer on the data plane's parsers (FUZZ_SECONDS each, 60 by default; needs clang)
	@tests/fuzz/run

lib: ## libheadrace.a for C programs, in build/
	@python3 build.py --static build

docs: .venv/.built ## docs/errors/ and the statuses of docs/library.md out of the tables they come from
	@$(PY) tools/error_pages.py
	@$(PY) bench/document.py --statuses

performance: .venv/.dev ## measure everything, beside the peers installed, and write docs/performance.md (ten minutes; root for all of it)
	@$(PY) bench/document.py

clean: ## everything that was built
	@rm -rf .venv build dist .cache src/headrace/dataplane/_native*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
