# Checks that run our code. Sourced by .ci/run. One after another: they measure
# time, and two cores are few.

# What is run without the race detector: tests that run a whole package again, as
# another user or under another system's rules, and those of programs that it is not
# built into. Packages whose subject is another process, which it would slow down by a
# factor: chaos is the kill loop, conformance and sandbox run by themselves; what they
# drive has tests of its own, with the detector.
apart='TestAsNobody|TestUnderDockersFilter|TestHolesOfOlderKernels|TestConfinedElsewhere|TestStandard|TestStandardAsNobody|TestRealFetch|TestRealFetchWithoutNetwork|TestNewUser|TestKilledInstall'

all_tests() {
	# A binary with the race detector sleeps for a second when it exits, and the
	# tests run many.
	export GORACE=atexit_sleep_ms=0
	# shellcheck disable=SC2046
	step "go test -race" 1500 go test -v -race -count=1 -timeout 20m -skip "^($apart)\$" $(go list ./... | grep -v -E '/internal/(chaos|conformance|sandbox)$')
	step "nothing skipped that could run" 10 unexpected_skips "$work/log/go-test--race"
	step "go test of what runs apart" 600 go test -v -count=1 -timeout 10m -run "^($apart)\$" ./cmd/berth ./internal/proc ./internal/egress ./supervisor
	step "nothing of that skipped" 10 unexpected_skips "$work/log/go-test-of-what-runs-apart"
	step "conformance and the sandbox" 600 go test -v -count=1 -timeout 10m ./internal/conformance ./internal/sandbox
	step "nothing of them skipped" 10 unexpected_skips "$work/log/conformance-and-the-sandbox"
	step "go test with failpoints" 300 with_failpoints
	if [[ -d internal/chaos ]]; then
		step "kill loop" 600 make -s kills KILLS=500
	fi
	step "fuzzing" 300 .ci/fuzz.sh 60 8
	step "mutants" 600 .ci/mutants.sh --share 24
	step "go test as a new user" 900 as_new_user go test -v -timeout 14m ./...
	if [[ -d cmd/berth ]]; then
		step "berth up --demo as a new user" 120 as_new_user .ci/demo.sh
	fi
}

# with_failpoints runs the tests that need failpoints, but for the kill loop; all
# others have run without.
with_failpoints() {
	local files dirs tests
	files=$(git grep --untracked -l -E '^//go:build .*failpoint' -- '*_test.go' ':!internal/chaos')
	dirs=$(xargs -n1 dirname <<<"$files" | sort -u | sed 's|^|./|')
	tests=$(xargs grep -hoE '^func Test[A-Za-z0-9_]+' <<<"$files" | sed 's/^func //' | paste -sd '|')
	# shellcheck disable=SC2086
	go test -v -race -count=1 -tags failpoint -timeout 5m -run "^($tests)\$" $dirs
}

# unexpected_skips LOG  fails if a test of a `go test -v` log was skipped for a
# reason that .ci/skips.list does not allow on a machine where all is switched on.
unexpected_skips() {
	local found
	found=$(skips_of "$1" | grep -v -E -f <(grep -v -e '^#' -e '^$' .ci/skips.list) || true)
	[[ -z $found ]] || { printf 'these could have run:\n%s\n' "$found"; return 1; }
}

# as_new_user COMMAND…  runs a command of the README as the person who reads it
# would: in a clean copy of the tree, with an empty home, nothing switched on,
# and not as root where that can be had.
as_new_user() {
	local dir=${TMPDIR%/t}/new var
	if [[ ! -d $dir ]]; then
		mkdir -p "$dir/berth" "$dir/home" "$dir/tmp"
		git ls-files -z --cached --others --exclude-standard |
			xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh |
			tar -c --null -T - | tar -x -C "$dir/berth"
		if ((EUID == 0)); then chown -R 65534:65534 "$dir"; fi
	fi
	for var in "${!BERTH_TEST_@}"; do unset "$var"; done
	for var in GOPROXY GOSUMDB GONOSUMDB GONOPROXY GOPRIVATE GOTOOLCHAIN; do
		export "$var=$(go env "$var")"
	done
	export GOFLAGS="$GOFLAGS -modcacherw"
	unset GOPATH GOCACHE GOMODCACHE XDG_CACHE_HOME XDG_CONFIG_HOME
	export HOME=$dir/home TMPDIR=$dir/tmp
	cd "$dir/berth"
	if ((EUID == 0)); then
		exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	fi
	exec "$@"
}
