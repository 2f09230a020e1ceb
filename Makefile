# cbwatts: joules per container, measured soundly.
# make help lists the verbs. V=1 shows the commands, SAN=address,undefined | thread picks sanitizers,
# DEVELOPER=1 turns warnings into errors. CC, CFLAGS, LDFLAGS, PREFIX and DESTDIR are the caller's.
# Binaries end in build/bin/ (build/<cc>-<sanitizers>/bin/ for other builds).

# `make machine SHELL=1` asks for a shell in the guest; make's own SHELL must not become "1".
GUEST_SHELL := $(filter 1,$(SHELL))
override SHELL := /bin/bash

CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local

comma := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
B := build/$(VARIANT)
BIN := $(if $(filter gcc,$(VARIANT)),build/bin,$(B)/bin)

WARN := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wformat=2 -Wvla -Wwrite-strings -Wundef -Wcast-qual
PKGS := libmongoc-1.0 libbson-1.0 libzmq libcurl sqlite3 libmicrohttpd jansson libcap-ng \
	libseccomp libzstd zlib
# -isystem: warnings are about our code, not about the libraries' headers
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
# BPF counting is built where its tools are; without them cbsensor says so when it is asked for.
# BPF=0 leaves it out in any case.
BPF := $(or $(BPF),$(shell PATH=$$PATH:/usr/sbin; command -v bpftool >/dev/null && \
	command -v clang >/dev/null && pkg-config --exists libbpf && echo 1 || echo 0))
BPF_SKELETON := $(if $(filter 1,$(BPF)),build/bpf/count.skel.h)
ALL_CPPFLAGS = -I. -isystem build/bpf -D_GNU_SOURCE -DCB_HAVE_BPF=$(BPF) -include lib/banned.h \
	$(PKG_CFLAGS) $(CPPFLAGS)
# -ffp-contract=off: a replay gives the same bits (docs/design.md, Delivery)
ALL_CFLAGS = -std=gnu11 -MMD -MP -fno-common -fstack-protector-strong -ffp-contract=off -pthread \
	$(WARN) $(if $(DEVELOPER),-Werror) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) $(CFLAGS)
ALL_LDFLAGS = -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS_lib := -lbson-1.0 -lzmq
LIBS_bpf := $(if $(filter 1,$(BPF)),-lbpf)
LIBS_sensor := $(LIBS_lib) $(LIBS_bpf) -lpfm -lcap-ng -lseccomp -lcurl -ljansson -lyaml -lz
LIBS_formula := $(LIBS_lib) -lmongoc-1.0 -lcurl -lsqlite3 -lmicrohttpd -ljansson -lzstd -lz
LIBS_tester := -lcurl -ljansson
LIBS_all := -lpfm -lcap-ng -lseccomp -lmongoc-1.0 -lbson-1.0 -lzmq -lcurl -lsqlite3 \
	-lmicrohttpd -ljansson -lyaml -lzstd -lz $(LIBS_bpf) -lm

PROGRAMS := sensor formula tester
objs = $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
ARCHIVES := $(foreach p,sensor formula tester lib tests/support,$(B)/$(p).a)
# calls that tests/support/fault.c can make fail
TEST_WRAP := -Wl,--wrap=calloc,--wrap=openat,--wrap=pread,--wrap=fdatasync,--wrap=syscall \
	-Wl,--wrap=bpf_map_update_elem
TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES := $(patsubst tests/bench/%.c,$(B)/tests/bench/%,$(wildcard tests/bench/bench_*.c))
C_FILES = $(shell git ls-files '*.c' '*.h' 2>/dev/null | grep -v '^tests/machine/module/')

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' '$(1)' '$(2)')

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help all run up down test check check-unit check-layers check-integration machine torture accuracy \
	bench fuzz lint format format-check setup install clean FORCE
.DEFAULT_GOAL := all

## help              this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## run               install what is missing, build, measure two containers and show their energy
run:
	$(Q)BIN=$(BIN) scripts/run.sh

## up, down          the same parts, kept running for your own tests; and stop them again
up:
	$(Q)BIN=$(BIN) scripts/up.sh

down:
	$(Q)scripts/down.sh

## test              install what is missing, build, run every test; last line: N passed, N failed, ...
test:
	$(Q)scripts/setup.sh test
	$(Q)tests/run all

## all               build the programs into build/bin/
all: $(addprefix $(BIN)/cb,$(PROGRAMS))

## setup             install what is missing to build and run (as root or with sudo)
setup:
	$(Q)scripts/setup.sh build

$(B)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(if $(filter clang%,$(notdir $(CC))),-MJ $(@:.o=.json)) \
	  -c -o $@ $<

# The BPF program, as a header that holds its object file without the debugging information.
build/bpf/%.skel.h: sensor/bpf/%.bpf.c sensor/bpf/%.h
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)clang -O2 -g -target bpf -idirafter /usr/include/$(shell $(CC) -dumpmachine) -Wall -Wextra \
	  -Wno-unused-parameter $(if $(DEVELOPER),-Werror) -c -o $(@D)/$*.bpf.o $<
	$(Q)PATH=$$PATH:/usr/sbin; bpftool gen object $(@D)/$*.min.o $(@D)/$*.bpf.o && \
	  bpftool gen skeleton $(@D)/$*.min.o name cb_$*_bpf >$@.new && mv $@.new $@
$(B)/sensor/count_bpf.o build/fuzz/obj/sensor/count_bpf.o: $(BPF_SKELETON)

# An archive is made anew from the sources that are there now: a deleted file leaves no member.
define archive
$(B)/$(1).a: $(call objs,$(1)) $(B)/$(1).sources
	$$(call say,AR,$$@)
	@mkdir -p $$(@D) && rm -f $$@
	$$(Q)ar crs $$@ $$(filter %.o,$$^)
$(B)/$(1).sources: FORCE
	@mkdir -p $$(@D); echo '$(sort $(wildcard $(1)/*.c))' | cmp -s - $$@ || \
	  echo '$(sort $(wildcard $(1)/*.c))' >$$@
endef
$(foreach p,sensor formula tester lib tests/support,$(eval $(call archive,$(p))))

$(BIN)/cb%: $(B)/%/main.o $(B)/%.a $(B)/lib.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $(LIBS_$*) -lm

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(ARCHIVES)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(TEST_WRAP) -o $@ $< -Wl,--start-group $(ARCHIVES) \
	  -Wl,--end-group $(LDLIBS) $(LIBS_all) -lcmocka -llapacke

$(B)/tests/bench/%: $(B)/tests/bench/%.o $(filter-out %/support.a,$(ARCHIVES))
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group \
	  $(filter-out %/support.a,$(ARCHIVES)) -Wl,--end-group $(LDLIBS) $(LIBS_all)

$(B)/tests/accuracy/%: $(B)/tests/accuracy/%.o $(ARCHIVES)
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group \
	  $(LDLIBS) $(LIBS_all)

$(B)/tests/torture/%.so: tests/torture/%.c
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -fsanitize=%,$(ALL_CFLAGS)) -D_GNU_SOURCE -fPIC -shared -o $@ $< -ldl

$(B)/tests/torture/%: $(B)/tests/torture/%.o $(filter-out %/support.a,$(ARCHIVES))
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group \
	  $(filter-out %/support.a,$(ARCHIVES)) -Wl,--end-group $(LDLIBS) $(LIBS_all)

# helper programs of the tests: one file each
$(B)/tests/integration/%: $(B)/tests/integration/%.o $(B)/lib.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) $(LIBS_lib) -ljansson -lm

## check             what needs no rights, no network and no special hardware
check: check-layers
	$(Q)tests/run unit

## check-unit        build the unit tests only (tests/run runs them)
check-unit: $(TESTS)

## check-layers      lib uses only lib; a program uses only lib and itself
check-layers:
	$(Q)tests/check-layers

## check-integration the tests with a real Docker engine and real servers
check-integration:
	$(Q)scripts/setup.sh test
	$(Q)tests/run integration

## machine           the emulated machine with RAPL and a known truth (SHELL=1: a shell in it)
machine:
	$(Q)scripts/setup.sh machine
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/machine/run $(if $(GUEST_SHELL),--shell)

## torture           kill, cut and fill for half an hour, then count (tests/run has a short form)
torture: all
	$(Q)scripts/setup.sh test
	$(Q)tests/torture/run long

## accuracy          write docs/accuracy.md from the recordings and synthetic machines
accuracy: all
	$(Q)tests/accuracy/run

## bench             speed and memory, written to docs/performance.md
bench: all $(BENCHES)
	$(Q)tests/bench/run

## fuzz              run every fuzz target for TIME seconds (default 10; before a release 600)
fuzz: $(FUZZERS)
	$(Q)tests/fuzz/run $(or $(TIME),10)

FUZZ_FLAGS := -std=gnu11 -MMD -MP -g -O1 -ffp-contract=off -fsanitize=address,undefined \
	-fno-sanitize-recover=all -pthread
build/fuzz/obj/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)clang $(ALL_CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<
build/fuzz/parts.a: $(patsubst $(B)/%,build/fuzz/obj/%,$(foreach p,lib $(PROGRAMS),$(call objs,$(p))))
	@rm -f $@
	$(Q)ar crs $@ $^
build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/parts.a
	$(call say,FUZZ,$@)
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_all)

## lint              clang-tidy with the checks in .clang-tidy
lint: compile_commands.json
	$(Q)printf '%s\n' $(wildcard lib/*.c sensor/*.c formula/*.c tester/*.c) | \
	  xargs -n1 -P$$(nproc) clang-tidy --quiet -p .

compile_commands.json: $(wildcard lib/*.[ch] sensor/*.[ch] formula/*.[ch] tester/*.[ch])
	$(Q)$(MAKE) --no-print-directory CC=clang all
	$(Q)find build/clang -name '*.json' -exec cat {} + | sed -e '1s/^/[/' -e '$$s/,$$/]/' > $@

## format            rewrite the sources with clang-format; format-check only reports
format:
	$(Q)clang-format -i $(C_FILES)
format-check:
	$(Q)clang-format --dry-run -Werror $(C_FILES)

## install           programs, man pages and completions below $(DESTDIR)$(PREFIX)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 0755 $(addprefix build/bin/cb,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 0644 docs/completion/* $(DESTDIR)$(PREFIX)/share/bash-completion/completions/

## clean             remove build/
clean:
	$(Q)[ ! -d build/up ] || scripts/down.sh
	$(Q)rm -rf build compile_commands.json

-include $(shell find build -name '*.d' 2>/dev/null)
