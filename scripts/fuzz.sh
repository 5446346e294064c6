#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s unless set), one after
# the other.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do
	go test -list '^Fuzz' "$package" | grep '^Fuzz' | while read -r target; do
		echo "$package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" "$package"
	done
done
