#!/usr/bin/env bash
# Runs every fuzz target of the repository for a short while.
#
#   .ci/fuzz.sh SECONDS [N]   shared out among the targets, 2 to 10 s each; with N
#                             among one of N parts of them, another with each commit
#
# A new failing input is a file below the package's testdata/fuzz: go test names
# it. It is a bug; the file becomes a seed once the bug is fixed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Lines of "package-directory target".
targets=$({ git grep --untracked -n -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' || true; } |
	sed -E 's|^([^:]*)/[^/:]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*)\(.*|\1 \2|; t; s|^[^:]*:[0-9]+:func (Fuzz[A-Za-z0-9_]*)\(.*|. \1|' | sort -u)
all=$(wc -l <<<"$targets")
targets=$(awk -v n="${2:-1}" -v turn="$(git rev-list --count HEAD)" '(NR + turn) % n == 0' <<<"$targets")
if [[ -z $targets ]]; then
	echo "note: no fuzz targets yet"
	exit 0
fi
count=$(wc -l <<<"$targets")
each=$((${1:?seconds} / count))
((each < 2)) && each=2
((each > 10)) && each=10

failed=0
while read -r dir target; do
	echo "== $target in $dir, $each s"
	for try in 1 2; do
		rc=0
		out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "${each}s" -fuzzminimizetime 2s -parallel 2 "./$dir" 2>&1) || rc=$?
		# Go's coordinator may lose a race with its own deadline (golang/go#75804):
		# no input is written then. That is worth one more try, nothing else is.
		# It is indented, so that the summary does not count it as a failed test.
		if ((rc != 0 && try == 1)) && grep -q '^ *context deadline exceeded$' <<<"$out" && ! grep -q 'Failing input written' <<<"$out"; then
			sed 's/^/    /' <<<"$out"
			echo "note: $target hit Go's fuzz deadline race, tried again"
			continue
		fi
		echo "$out"
		((rc == 0)) && break
		failed=$((failed + 1))
		break
	done
done <<<"$targets"
echo "note: $count of $all fuzz targets, $each s each"
((failed == 0)) || { echo "$failed of $count fuzz targets failed"; exit 1; }
