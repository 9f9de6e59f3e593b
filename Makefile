# make run    build and start a node
# make test   everything that every change must pass
# make prove  the long proofs: many seeds, kill series, large data, fuzzing, cross builds
# make bench  what things cost, beside peers on the same work
# make sim    the simulator: make sim SEEDS=200
# make mutants  plants faults, and looks whether the tests find them
# make deb    a package for Debian and its kin
# make lint   format, vet, staticcheck, dead code

GO    ?= go
SEEDS ?= 20
BIN   := bin/sennit

.PHONY: build run test prove bench sim mutants deb lint deps

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/sennit

run: build
	$(BIN) up

# What the tests need beside Go: a C compiler for the race detector, a browser.
deps:
	./scripts/deps

test: deps
	./scripts/test

prove: deps
	SEEDS=200 ./scripts/prove

sim:
	$(GO) test ./test/sim -count=1 -timeout 60m -run TestSimulation -v -args -seeds=$(SEEDS)

mutants:
	./scripts/mutants

bench:
	./scripts/bench

deb:
	./scripts/deb

lint:
	./scripts/lint
