#!/usr/bin/env bash
# Runs all tests: those with threads under the race detector, then everything.
# The servers that tests run against are installed first where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# The packages whose tests run under the race detector. Those that link the
# storage engine take minutes to build for it, for the C code it brings, and are
# not here.
raced=(
	./internal/audit ./internal/barrier ./internal/cli ./internal/lockout
	./internal/expiry ./internal/lease ./internal/token
	./internal/policy ./internal/seal ./internal/settings ./internal/store/mem ./internal/store/btree
	./internal/namespace ./internal/mount ./internal/gate ./internal/replica ./internal/autopilot
	./internal/engine/kv ./internal/engine/cubbyhole ./internal/engine/database/... ./internal/engine/transit ./internal/engine/totp
)

install_servers() {
	local packages=()
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
	/usr/bin/python3 -c 'import hvac' 2>/dev/null || packages+=(python3-hvac)
	[[ -x /usr/sbin/slapd ]] || packages+=(slapd)
	command -v npm >/dev/null || packages+=(nodejs npm)
	command -v ip >/dev/null || packages+=(iproute2)
	[[ -x /usr/sbin/nft ]] || packages+=(nftables) # cuts the network between nodes
	command -v strace >/dev/null || packages+=(strace) # makes fsync fail
	command -v curl >/dev/null || packages+=(curl)
	command -v openssl >/dev/null || packages+=(openssl)
	[[ -x /usr/sbin/sshd ]] || packages+=(openssh-server)
	command -v ssh >/dev/null || packages+=(openssh-client)
	command -v gcc >/dev/null || packages+=(gcc libc6-dev) # the race detector links with it
	if ((${#packages[@]} == 0)); then
		return
	fi
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
	if ((EUID != 0)); then
		apt=(sudo "${apt[@]}")
	fi
	echo "Installing ${packages[*]}"
	"${apt[@]}" -qq update
	"${apt[@]}" -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
}

install_servers
# An OpenID Connect provider, in the versions of its lock file.
[[ -d e2e/provider/node_modules ]] || npm ci --prefix e2e/provider --no-audit --no-fund --silent
./scripts/check.sh
# A bound on time says nothing under the race detector, which is ten times slower.
CGO_ENABLED=1 go test -race -timeout 15m -skip '^TestParseTimeIsBounded$' "${raced[@]}"
export CGO_ENABLED=0
go test -timeout 15m ./api/... ./cmd/... ./internal/...
# One at a time: these measure how long things take.
go test -timeout 15m -p 1 ./e2e/...
