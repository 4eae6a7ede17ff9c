# target_profile: `make help` lists what can be made.
#
# PG         the server: its major version, or another name from pgrx-config/servers (default: the one marked so there)
# PG_CONFIG  pg_config of a server that you installed yourself; takes the place of PG
# PROFILE    cargo profile of the extension. release throughout: what is tested and measured is what is shipped, and
#            one build serves test, demo and bench. (dev saves a tenth of the first build and nothing after.)
# DESTDIR    put before every path that `make install` writes to
# prefix     where `make install` puts its directories lib and share, instead of into the server's own (PostgreSQL 18)

PROFILE ?= release
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
SETUP := PG='$(PG)' PG_CONFIG='$(PG_CONFIG)' pgrx-config/setup
GIVEN_PG_CONFIG := $(PG_CONFIG)
# Which server that comes to is decided in one place, pgrx-config/setup.
CHOSEN := $(shell $(SETUP) --which)
ifneq ($(words $(CHOSEN)),2)
$(error no usable server; see above)
endif
override PG := $(word 1,$(CHOSEN))
override PG_CONFIG := $(word 2,$(CHOSEN))
FEATURES := --no-default-features --features target_profile/pg$(PG:-cassert=)

# The private copy of that server which pgrx-config/setup makes: tests and demo install into it and run it.
PRIVATE_PG_CONFIG := $(CARGO_TARGET_DIR)/pg$(PG)/bin/pg_config
# Whether pg_upgrade is tried, from the default server to this one. Whoever has installed a server himself is not to get another.
TRY_UPGRADE := $(if $(GIVEN_PG_CONFIG),,$(shell (( $(PG:-cassert=) <= $$(pgrx-config/setup --list default) )) || echo yes))
CARGO_PGRX := $(CARGO_TARGET_DIR)/tools/cargo-pgrx pgrx
export PGRX_HOME := $(CARGO_TARGET_DIR)/pgrx/pg$(PG)
# Cargo tells one server from another by the feature; for two of the same version, by this.
ifneq ($(filter %-cassert,$(PG)),)
export PGRX_PG_CONFIG_PATH := $(PG_CONFIG)
else
unexport PGRX_PG_CONFIG_PATH
endif

# What `cargo pgrx package` makes: the extension's files, each below the path where it is to be installed.
STAGE := $(CARGO_TARGET_DIR)/stage/pg$(PG)-$(PROFILE)
STAGED := $(STAGE)/.complete
# Directories too: their time changes when a file is removed.
SOURCES := Cargo.toml Cargo.lock target_profile.control $(shell find $(wildcard src sql))

# Install scripts of released versions, which cargo-pgrx passes over (it takes upgrade scripts only): from each of them an upgrade is
# tested, and `CREATE EXTENSION … VERSION` works.
FROZEN := $(filter-out $(wildcard sql/target_profile--*--*.sql),$(wildcard sql/target_profile--*.sql))
# What is generated has the places of its source in comments, and comes in another order each time.
statements = grep -v "^-- src/" "$(1)" | sort

# $(call copy_staged,LIB,EXTENSION): from where they were staged into these directories. install(1) makes a new file
# rather than write into the old one, which a running server may have mapped.
define copy_staged
	install -d "$(1)" "$(2)"; \
	install -m 755 "$(STAGE)$$('$(PG_CONFIG)' --pkglibdir)/target_profile.so" "$(1)/"; \
	rm -f "$(2)"/target_profile--*.sql; \
	install -m 644 "$(STAGE)$$('$(PG_CONFIG)' --sharedir)/extension"/target_profile* "$(2)/"
endef

# Only on the command line: elsewhere the name may stand for something else.
ifneq ($(and $(prefix),$(filter command,$(origin prefix))),)
INSTALL_LIB := $(DESTDIR)$(prefix)/lib
INSTALL_EXTENSION := $(DESTDIR)$(prefix)/share/extension
else
INSTALL_LIB = $(DESTDIR)$$('$(PG_CONFIG)' --pkglibdir)
INSTALL_EXTENSION = $(DESTDIR)$$('$(PG_CONFIG)' --sharedir)/extension
endif

# A target with `##` after its name is part of `make help`.

.PHONY: all
all: $(STAGED) ## build the extension (PROFILE=release)

# Recipes call set-up rather than depend on it: `sudo make install` after `make` then needs neither cargo nor a network.
# It is as old as the beginning of the build, so that a source that is changed meanwhile is newer.
$(STAGED): $(SOURCES)
	$(SETUP) build
	rm -rf '$(STAGE)'
	mkdir -p '$(dir $(STAGE))'
	touch '$(STAGE).begun'
	PGRX_BUILD_FLAGS=--locked $(CARGO_PGRX) package --profile '$(PROFILE)' --pg-config '$(PG_CONFIG)' --out-dir '$(STAGE)'
	@for script in $(FROZEN); do \
	    copy='$(STAGE)'$$('$(PG_CONFIG)' --sharedir)/extension/$${script##*/}; \
	    if [[ -e $$copy ]] && ! cmp -s <($(call statements,$$script)) <($(call statements,$$copy)); then \
	        echo "$$script is released and stays as it is, but the SQL has changed: raise the version in Cargo.toml" >&2; exit 1; \
	    fi; \
	    install -m 644 "$$script" "$$copy"; \
	done
	mv '$(STAGE).begun' '$@'

.PHONY: install
install: $(STAGED) ## install into the server of PG_CONFIG, or below prefix= (may need root; DESTDIR is honoured)
	@$(call copy_staged,$(INSTALL_LIB),$(INSTALL_EXTENSION))
	@echo "installed; add target_profile to what shared_preload_libraries names, restart, then CREATE EXTENSION target_profile"

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f "$(INSTALL_LIB)/target_profile.so"
	rm -f "$(INSTALL_EXTENSION)"/target_profile{.control,--*.sql}

.PHONY: installcheck
installcheck: ## run the SQL tests on the installed extension, on the running server of PGHOST and PGPORT
	PG_CONFIG='$(PG_CONFIG)' tests/regress/run --running

.PHONY: package
package: $(STAGED) ## pack the built files into target/package, to be unpacked at /
	mkdir -p '$(CARGO_TARGET_DIR)/package'
	@version=$$(sed -nE '/^\[package\]/,/^\[/s/^version *= *"(.*)"/\1/p' Cargo.toml); \
	archive="$(CARGO_TARGET_DIR)/package/target_profile-$$version-pg$(PG)-$$(uname -m).tar.gz"; \
	tar --create --gzip --file "$$archive" --owner 0 --group 0 --exclude .complete --directory '$(STAGE)' .; \
	echo "$$archive"

.PHONY: server
server: $(STAGED) ## make the private server for tests and demo, with the extension in it
	@$(SETUP) test
	@$(call copy_staged,$$('$(PRIVATE_PG_CONFIG)' --pkglibdir),$$('$(PRIVATE_PG_CONFIG)' --sharedir)/extension)

.PHONY: test
test: ## run all tests; they need no server and touch none but their own
	@$(SETUP) test
	@MAKE='$(MAKE)' PG='$(PG)' PG_CONFIG='$(PRIVATE_PG_CONFIG)' SERVER_TESTS_ONLY='$(SERVER_TESTS_ONLY)' \
	    TRY_UPGRADE='$(TRY_UPGRADE)' pgrx-config/run-tests

.PHONY: test-servers
test-servers: ## run those tests that need a server on the other servers (see pgrx-config/servers)
	@failed=''; for server in $$(pgrx-config/setup --list tested; pgrx-config/setup --list declared); do \
	    echo "== PostgreSQL $$server"; \
	    $(MAKE) --no-print-directory test PG="$$server" PG_CONFIG= SERVER_TESTS_ONLY=1 || failed+=" $$server"; \
	done; [[ -z $$failed ]] || { echo "failed on:$$failed"; exit 1; }

# What of this extension compiles where there is no server: clippy, with the bindings that pgrx has for its documentation.
.PHONY: lint-others
lint-others: ## clippy for the versions of PostgreSQL that are compiled and not tested
	@$(SETUP) lint
	for major in $$(pgrx-config/setup --list compiled); do \
	    env -u PGRX_PG_CONFIG_PATH DOCS_RS=1 RUSTC_WRAPPER="$$PWD/pgrx-config/rustc-bundled" \
	        CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)/declared' \
	        cargo clippy --locked -p target_profile --no-default-features --features "pg$$major" -- -D warnings; \
	done

.PHONY: demo
demo: server ## show what it does, on a throwaway cluster (KEEP=1 leaves the cluster running)
	@PG_CONFIG='$(PRIVATE_PG_CONFIG)' KEEP='$(KEEP)' tests/demo/run

.PHONY: bench
bench: server ## measure what it costs and how fast it is
	PG_CONFIG='$(PRIVATE_PG_CONFIG)' benches/run

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZ_SECONDS (60)
	@$(SETUP) build
	for target in $$(ls tests/fuzz/seeds); do tests/fuzz/run.sh "$$target" '$(FUZZ_SECONDS)'; done

MUTANTS ?= 0/24
.PHONY: mutants
mutants: ## see whether the core's tests notice changes of it (MUTANTS=K/N: the K-th of N parts)
	@$(SETUP) build
	tests/mutants/run '$(MUTANTS)'

.PHONY: soak
soak: server ## run the tests that take long (those marked ignored)
	PG_CONFIG='$(PRIVATE_PG_CONFIG)' cargo test --locked -p target_profile_tests --test e2e -- --ignored --nocapture

.PHONY: test-all
test-all: fmt-check lint lint-others doc test test-servers demo fuzz soak bench ## everything that can be run here

.PHONY: fmt
fmt: ## format the source
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## check that the source is formatted
	@$(SETUP) lint
	cargo fmt --all --check

.PHONY: lint
lint: ## clippy, shellcheck, circles among imports, licences; every warning an error
	@$(SETUP) lint
	tests/imports/run
	tests/dependencies/run
	cargo clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings
	shellcheck --external-sources $$(grep -rlE --exclude-dir=.git --exclude-dir=target '^#(!/usr/bin/env bash| shellcheck shell=bash)' .)

.PHONY: doc
doc: ## build the documentation of the source, every warning an error
	@$(SETUP) build
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items $(FEATURES)

.PHONY: docs
docs: ## build the documents as a book; a broken link is an error
	@$(SETUP) build
	docs/build

.PHONY: clean
clean: ## remove what was built, the private server too
	cargo clean

.PHONY: help
help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name what; do printf '  %-13s %s\n' "$$name" "$$what"; done
	@echo; sed -nE '/^$$/q; s/^# ?//p' Makefile | tail -n +3
