# The machinery of .ci/run: named steps with a time limit each, a log each, a
# table at the end, and the certainty that no process outlives the run.
#
# Sourced, never run. Needs: $root, the repository.

# Everything that a step starts inherits TMPDIR, and Berth's own allow-list of
# the environment lets TMPDIR through to servers; so a process whose environment
# names this directory is ours, and no other is. Short, because sockets are made
# below it and their paths may not exceed 104 bytes.
work=$(mktemp -d /tmp/bci.XXXXXX)
mkdir "$work/t" "$work/log"
chmod 711 "$work" # a step may run as another user
chmod 1777 "$work/t"
export TMPDIR="$work/t"
: >"$work/results"

# A run takes less than 30 minutes on an idle machine of 2 cores with a filled cache.
# One that is slower is told, and one that hangs is ended.
usual=1800
deadline=$((SECONDS + ${BERTH_CI_SECONDS:-3600}))

say() { printf '%s\n' "$*"; }
die() { say "ci: $*" >&2; exit 1; }

# ours prints the process ids that carry the marker: not this shell's, which was
# started before the marker was set, nor those of the search itself.
ours() (
	unset TMPDIR
	grep -lsF "TMPDIR=$work/" /proc/[0-9]*/environ | grep -o '[0-9][0-9]*' || true
)

# sweep ends them. What forks meanwhile is met in the next round; stopping all
# before killing any makes those rounds few.
sweep() {
	local pids try
	for ((try = 0; try < 50; try++)); do
		mapfile -t pids < <(ours)
		((${#pids[@]})) || return 0
		kill -STOP "${pids[@]}" 2>/dev/null || true
		kill -KILL "${pids[@]}" 2>/dev/null || true
		sleep 0.1
	done
}

cleanup() {
	sweep
	if [[ ${BERTH_CI_KEEP:-} ]]; then
		say "ci: kept $work"
	else
		rm -rf "$work" || true
	fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# record NAME ok|FAILED|skipped SECONDS [NOTE]
record() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$work/results"; }

# step NAME LIMIT COMMAND…  runs the command with a time limit in seconds, its
# output to a log that is shown only if it fails. A failed step does not end the
# run: one run tells everything.
step() {
	local name=$1 limit=$2
	shift 2
	local left=$((deadline - SECONDS)) log="$work/log/${name//[ \/]/-}" begin=$SECONDS rc=0
	if ((left <= 0)); then
		record "$name" FAILED 0 "not run: the run's time is up"
		say "-- $name: not run, the run's time is up"
		return 0
	fi
	((limit > left)) && limit=$left
	# In the background, so that a signal to this shell is served at once; that
	# makes bash ignore SIGINT in it, which tests must not inherit.
	env --default-signal=INT,QUIT timeout -k 10 "$limit" bash -euo pipefail -c "$(declare -f); $(printf '%q ' "$@")" >"$log" 2>&1 </dev/null &
	wait $! || rc=$?
	local took=$((SECONDS - begin))
	case $rc in
	0)
		# A step may find that it cannot do its work here, and say so.
		local skip
		if skip=$(grep -m1 '^skip: ' "$log"); then
			record "$name" skipped "$took" "${skip#skip: }"
		else
			record "$name" ok "$took"
		fi
		say "-- $name: ok, $took s"
		grep -E '^(note|skip): ' "$log" || true
		skips_of "$log"
		;;
	*)
		local why="exit code $rc"
		((rc == 124 || rc == 137)) && why="over its limit of $limit s"
		record "$name" FAILED "$took" "$why"
		say "-- $name: FAILED after $took s, $why; its output:"
		failures_of "$log" | tail -n "${BERTH_CI_TAIL:-200}" | sed 's/^/   | /'
		;;
	esac
}

# together FUNCTION…  runs functions full of steps side by side.
together() {
	local pids=() pid f
	for f in "$@"; do
		(trap - EXIT; "$f") &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || true; done
}

# nothing_left fails if a step left a process behind; what is still dying gets
# some seconds to do so.
nothing_left() {
	local try pids=""
	for try in 1 2 3 4 5 6 7 8 9 10; do
		pids=$(ours)
		[[ -z $pids ]] && break
		sleep 0.5
	done
	if [[ -z $pids ]]; then
		record "nothing left behind" ok 0
		return
	fi
	record "nothing left behind" FAILED 0 "$(wc -l <<<"$pids") processes"
	say "-- nothing left behind: FAILED; these processes outlived the tests:"
	local pid
	for pid in $(head -n 20 <<<"$pids"); do
		say "   | $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
	done
}

# tests_of LOG prints "passed failed skipped" of a `go test -v` log: its
# top-level tests, examples and fuzz seeds, and packages that did not build.
tests_of() {
	awk '
		/^--- PASS: / {p++} /^--- FAIL: / {f++} /^--- SKIP: / {s++}
		/^FAIL.*\[(build|setup) failed\]$/ {f++}
		END {print p+0, f+0, s+0}' "$1"
}

# skips_of LOG prints each skipped test of a `go test -v` log with its reason: the
# last thing that it said. A subtest is called skipped after its parent's end.
skips_of() {
	awk '
		/^=== (RUN|CONT|NAME) / { current = $3; next }
		/^ *--- SKIP: / { printf "   skipped %s:%s\n", $3, reason[$3] }
		sub(/^ *[^ ]*\.go:[0-9]+:/, "") { reason[current] = $0 }' "$1"
}

# failures_of LOG prints what the failed tests of a `go test -v` log wrote, and
# all of a log that is none.
failures_of() {
	if ! grep -q '^=== RUN' "$1"; then
		cat "$1"
		return
	fi
	awk '
		function top(name) { sub(/\/.*/, "", name); return name }
		function flush(t) {
			for (t in bad) if (bad[t]) printf "%s", text[t]
			split("", bad); split("", text); current = ""
		}
		/^=== (RUN|CONT|NAME|PAUSE) / { current = top($3); next }
		/^--- / { current = $3 }
		/^--- FAIL: / { bad[current] = 1 }
		/^(panic|fatal error|SIGQUIT):/ { current = "panic"; bad[current] = 1 }
		/^ok[ \t]/ { flush(); next }
		/^FAIL[ \t]/ { flush(); print; next }
		{ text[current] = text[current] $0 "\n" }
		END { bad[current] = 1; flush() }' "$1"
}

# summary prints the table, then the closing line: Go tests are counted one by
# one, every other step as one. It returns 1 if anything failed.
summary() {
	local name status secs note p=0 f=0 s=0 tp tf ts log
	say
	printf '%-34s %-8s %6s  %s\n' STEP RESULT SECONDS NOTE
	while IFS=$'\t' read -r name status secs note; do
		printf '%-34s %-8s %6s  %s\n' "$name" "$status" "$secs" "$note"
		log="$work/log/${name//[ \/]/-}"
		tp=0 tf=0 ts=0
		[[ -f $log ]] && read -r tp tf ts < <(tests_of "$log")
		if ((tp + tf + ts > 0)); then
			((p += tp, f += tf, s += ts)) || true
			# A step can fail with no test failed: a panic, a race, its limit.
			if [[ $status == FAILED ]] && ((tf == 0)); then ((f += 1)); fi
		else
			case $status in
			ok) ((p += 1)) ;;
			FAILED) ((f += 1)) ;;
			skipped) ((s += 1)) ;;
			esac
		fi
	done <"$work/results"
	printf '%-34s %-8s %6s  %s\n' "the whole run" "" "$SECONDS" "$( ((SECONDS <= usual)) || echo "note: more than the usual $usual s" )"
	say
	say "$p passed, $f failed, $s skipped"
	((f == 0 && p > 0))
}
