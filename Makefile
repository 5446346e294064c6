# The few things one does here. Every target works from a fresh clone.

# Nothing in Coffer needs a C compiler, and a build without one is quicker.
export CGO_ENABLED ?= 0

BIN := bin/coffer

.PHONY: build run test check bench scale fuzz clean

build: ## build the binary
	go build -trimpath -o $(BIN) ./cmd/coffer

run: ## run a development server
	go run ./cmd/coffer server -dev

test: ## install what the tests need, check and test everything
	./scripts/test.sh

check: ## formatting, vet and the tests of the packages, as before every commit
	./scripts/check.sh
	go test ./...

# What benchstat compares: make bench >old, change something, make bench >new, benchstat old new.
BENCH ?= .
BENCHCOUNT ?= 1
bench: ## measure every layer by itself; BENCH=regexp, BENCHCOUNT=10 for benchstat
	@go test -p 1 -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) ./internal/...

# The sizes that are promised, which the ordinary tests have in small.
scale: ## a million leases at start and at their end, a disk after much churn; a quarter of an hour
	COFFER_SCALE=1000000 go test -v -count 1 -timeout 30m -run '^TestStartCostsTheSameWithManyLeases$$' ./internal/server
	COFFER_STORM=1000000 go test -v -count 1 -timeout 60m -run '^TestManyLeasesEndingAtOnceDelayNobody$$' ./internal/server
	COFFER_CHURN=100000 go test -v -count 1 -timeout 30m -run '^TestChurnLeavesLittleBehind$$' ./internal/store/raft

fuzz: ## run every fuzz target for FUZZTIME each
	./scripts/fuzz.sh

clean:
	rm -rf bin dist
