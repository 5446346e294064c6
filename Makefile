# The few things one does here. Every target works from a fresh clone.

# Nothing in Coffer needs a C compiler, and a build without one is quicker.
export CGO_ENABLED ?= 0

BIN := bin/coffer

.PHONY: build run test check bench fuzz clean

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

fuzz: ## run every fuzz target for FUZZTIME each
	./scripts/fuzz.sh

clean:
	rm -rf bin dist
