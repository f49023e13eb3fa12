#!/usr/bin/env bash
# Breaks the program on purpose, one promise at a time, and demands that a test
# notices. Nothing in the tree changes: go's -overlay shows the compiler a
# broken copy, also where a test builds the program itself.
#
#   .ci/mutants.sh [NAME…]    all of them, or those whose name is given
#   .ci/mutants.sh --share N  one of N parts, another one with each commit
#
# A mutant whose text is gone from its file, or that does not compile, is an
# error too: the list below must follow the code.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
share=1 turn=0
if [[ ${1:-} == --share ]]; then
	share=$2
	turn=$(git rev-list --count HEAD)
	shift 2
fi
only=("$@")
seen=0 total=0 bad=0
# What a broken program does not say is not waited for for long.
export BERTH_TEST_PATIENCE=8s

complain() { echo "MUTANT $1: $2"; bad=$((bad + 1)); }

# mutant NAME FILE OLD NEW PACKAGE RUN [TAGS]
# replaces OLD, which must occur once in FILE, by NEW; `go test -run RUN PACKAGE`
# must then fail.
mutant() {
	local name=$1 file=$2 old=$3 new=$4 package=$5 run=$6 tags=${7:-none}
	if ((${#only[@]})) && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
	seen=$((seen + 1))
	local text without
	text=$(<"$file")
	without=${text//"$old"/}
	if ((${#text} - ${#without} != ${#old})); then
		complain "$name" "its text occurs not once in $file"
		return
	fi
	if (((seen + turn) % share != 0)); then return; fi
	total=$((total + 1))
	printf '%s\n' "${text/"$old"/"$new"}" >"$tmp/mutant.go"
	printf '{"Replace": {"%s": "%s"}}\n' "$root/$file" "$tmp/mutant.go" >"$tmp/overlay.json"
	local flags="${GOFLAGS:-} -overlay=$tmp/overlay.json" begin=$SECONDS
	# What rapid finds in a mutant is no seed for the real thing.
	local quiet=()
	if grep -qs '"pgregory.net/rapid"' "$package"/*_test.go; then
		quiet=(-args -rapid.nofailfile)
	fi
	if GOFLAGS=$flags timeout -k 5 150 go test -tags "$tags" -count=1 -timeout 120s -run "$run" "$package" "${quiet[@]}" >"$tmp/out" 2>&1; then
		complain "$name" "survived $run in $package"
	elif grep -qE '\[(build|setup) failed\]|^# |build berth:' "$tmp/out"; then
		complain "$name" "it does not compile"
		cat "$tmp/out"
	elif grep -q '\[no tests to run\]' "$tmp/out"; then
		complain "$name" "$run matches no test in $package"
	else
		echo "mutant $name: caught by $run in $package, $((SECONDS - begin)) s"
	fi
}

source .ci/mutants.list

echo "note: $total of $seen mutants, $bad not caught"
((bad == 0))
