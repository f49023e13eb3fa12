#!/usr/bin/env bash
# Runs the README's first command until it has shown what it promises, ends it
# as Ctrl-C would, and demands that it ends by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go build -o /dev/null ./cmd/berth # so that the wait below is for Berth alone
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# In a session of its own, so that the interrupt reaches what a terminal's would;
# bash has a background command ignore SIGINT, a terminal does not.
setsid env --default-signal=INT,QUIT go run ./cmd/berth up --demo >"$out" 2>&1 </dev/null &
group=$!
# within SECONDS COMMAND…  waits until the command succeeds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}
answered() { grep -q '^demo: echo answered "hi" in ' "$out"; }
ended() { ! kill -0 "$group" 2>/dev/null; }
rc=0
within 60 answered || { echo "it showed nothing in 60 s"; rc=1; }
kill -INT -- "-$group" 2>/dev/null || true
within 30 ended || { echo "it did not end on SIGINT"; rc=1; }
cat "$out"
exit $rc
