#!/usr/bin/env bash
# Checks formatting and runs vet over the whole module.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l .)
if [[ -n "$unformatted" ]]; then
	echo "Not formatted with gofmt:" >&2
	echo "$unformatted" >&2
	exit 1
fi
CGO_ENABLED=0 go vet ./...
