# Checks that run no code of ours. Sourced by .ci/run.

check_gofmt() {
	local bad
	bad=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 -r ls -d 2>/dev/null | xargs -r gofmt -l)
	[[ -z $bad ]] || { printf 'gofmt -w these:\n%s\n' "$bad"; return 1; }
}

# lint STATICCHECK GOOS GOARCH PACKAGE…  vets and staticchecks packages, tests
# included, for a system; on Linux also with the failpoints compiled in.
lint() {
	local staticcheck=$1
	export GOOS=$2 GOARCH=$3
	shift 3
	go vet "$@"
	"$staticcheck" "$@"
	if [[ $GOOS == linux ]]; then
		go vet -tags failpoint "$@"
		"$staticcheck" -tags failpoint "$@"
	fi
}

# lint_apart STATICCHECK DIRECTORY  does so for a module of its own.
lint_apart() {
	cd "$2"
	go vet ./...
	"$1" ./...
}

# vulnerabilities GOVULNCHECK  asks the Go vulnerability database about what we
# call. A machine that cannot reach it says so and passes; a finding fails.
vulnerabilities() {
	local out rc=0
	out=$("$1" ./... 2>&1) || rc=$?
	echo "$out"
	if ((rc != 0)) && grep -q '^govulncheck: fetching vulnerabilities:' <<<"$out"; then
		echo "skip: its database cannot be reached, nothing was checked"
		return 0
	fi
	return $rc
}

static_linux() {
	step "gofmt" 60 check_gofmt
	step "vet staticcheck linux amd64" 420 lint "$cache/bin/tools/staticcheck" linux amd64 "${packages[@]}"
	if [[ $mode == full ]]; then
		step "vet staticcheck tools/conformance" 120 lint_apart "$cache/bin/tools/staticcheck" tools/conformance
		step "govulncheck" 180 vulnerabilities "$cache/bin/tools/govulncheck"
	fi
}

static_others() {
	step "vet staticcheck darwin arm64" 420 lint "$cache/bin/tools/staticcheck" darwin arm64 "${packages[@]}"
	step "vet staticcheck windows amd64" 420 lint "$cache/bin/tools/staticcheck" windows amd64 "${packages[@]}"
}
