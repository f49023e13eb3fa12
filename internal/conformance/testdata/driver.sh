#!/bin/sh
# driver.sh BERTH CLIENT URL: the client of the suite's client half is Berth, with a
# client of its own: CLIENT is sent through a gateway to the server that is added
# with URL. The exit code is the client's.
berth=$1 client=$2 url=$3
BERTH_HOME=$(mktemp -d) || exit 1
export BERTH_HOME
said=$BERTH_HOME.out
"$berth" add x --no-run --url "$url" >&2
"$berth" up --listen 127.0.0.1:0 --no-auth >"$said" 2>&1 &
up=$!
end() {
	kill "$up" # first, or it may be starting what is stopped
	wait "$up"
	"$berth" stop --all >/dev/null 2>&1
	[ "$code" = 0 ] || { "$berth" logs x; cat "$said"; } >&2
	rm -rf "$BERTH_HOME" "$said"
	exit "$code"
}
code=1
n=0
until at=$(sed -n 's/^berth: listening on //p' "$said") && [ -n "$at" ]; do
	n=$((n + 1))
	[ "$n" -lt 400 ] || end
	sleep 0.05 # it tells nobody when it listens
done
"$client" "$at/servers/x/mcp"
code=$?
end
