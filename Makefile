# Thin targets over CMake's presets (CMakePresets.json) and scripts/. CONTRIBUTING.md explains them.
#
#   make build    the optimised, hardened program: build/merlon
#   make demo     a complete gateway on loopback, with a made-up certificate and an API behind it
#   make test     everything that continuous integration runs (TESTS="unit e2e" picks stages)
#   make bench    beside nginx and HAProxy, then the in-process benchmarks (BENCH="peers --rounds 3")
#   make fuzz     every fuzz target, FUZZ_SECONDS each
#   make fmt      formats the code; make lint checks it
#   make install  PREFIX (/usr/local) and DESTDIR are honoured
#
# Each target first installs the Debian packages that it needs and that are missing.

PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
TESTS ?= unit tsan fuzz e2e
BENCH ?=

.PHONY: build demo test bench fuzz fmt lint install clean

build:
	@scripts/setup.sh build
	cmake --preset release
	cmake --build --preset release --target merlon
	ln -sfn release/merlon build/merlon

demo: build
	build/merlon demo

test:
	@scripts/setup.sh build test
	scripts/test.sh $(TESTS)

bench:
	@scripts/setup.sh build bench
	scripts/bench.sh $(BENCH)

fuzz:
	@scripts/setup.sh build fuzz
	scripts/fuzz.sh $(FUZZ_SECONDS)

fmt:
	@scripts/setup.sh lint
	git ls-files -z '*.h' '*.cc' | xargs -0 clang-format-19 -i

lint:
	@scripts/setup.sh build lint
	git ls-files -z '*.h' '*.cc' | xargs -0 clang-format-19 --dry-run --Werror
	cmake --preset dev
	cmake --build --preset dev
	run-clang-tidy-19 -quiet -p build/dev '$(CURDIR)/src/.*\.cc$$'

install: build
	DESTDIR='$(DESTDIR)' cmake --install build/release --prefix '$(PREFIX)'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed 's|/usr/bin/merlon|$(PREFIX)/bin/merlon|' packaging/merlon.service \
	  > '$(DESTDIR)$(PREFIX)/lib/systemd/system/merlon.service'
	install -m 644 packaging/merlon.socket '$(DESTDIR)$(PREFIX)/lib/systemd/system/merlon.socket'
	install -D -m 644 packaging/merlon.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/merlon.conf'

clean:
	rm -rf build
