//go:build linux

package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/berth-run/berth"
)

// kind is a server: a shell script, and what holds its tree.
type kind struct {
	name      string
	script    string
	mechanism berth.TreeMechanism
}

// alone begins the script of a server that tells on its twin. It takes a lock of
// its own, for the life of the process and of its descendants.
const alone = `
exec 9>>"$LOCK"
if ! flock -n 9; then echo "TWIN $NAME $$" >>"$REPORT"; exit 3; fi
echo "START $NAME" >>"$REPORT"
`

const pong = `while read line; do case "$line" in *ping*) echo '{"pong":1}';; esac; done`

// stubborn servers ignore both the end of their input and SIGTERM.
const stubborn = `trap '' TERM HUP INT
` + pong + `
while :; do sleep 1000; done`

func shKinds() []kind {
	return []kind{
		{name: "plain", script: alone + pong},
		{name: "stubborn", script: alone + stubborn},
		{name: "forking", script: alone + `sleep 1000 &
(sleep 1000; :) &
` + pong + `
wait`},
		{name: "escaping", script: alone + `setsid sh -c 'sleep 1000 & sleep 1000' &
(setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' &)
` + pong},
	}
}

// treeKinds are runtimes behind shells, and behind npx.
func treeKinds(t *testing.T, dir string) []kind {
	t.Helper()
	var kinds []kind
	write := func(mode os.FileMode, text string, elem ...string) {
		path := filepath.Join(append([]string{dir}, elem...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if have(t, "node") {
		write(0o600, `process.on("SIGTERM", () => {});
require("readline").createInterface({input: process.stdin}).on("line", l => { if (l.includes("ping")) console.log('{"pong":1}'); });
setInterval(() => {}, 1 << 30);
`, "pong.js")
		kinds = append(kinds, kind{name: "node", script: alone + `sh -c 'node "$SCRIPTS/pong.js"; exit $?'; exit $?`})
	}
	if have(t, "python3") {
		write(0o600, `import sys, subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
for line in sys.stdin:
    if "ping" in line:
        print('{"pong":1}', flush=True)
`, "pong.py")
		kinds = append(kinds, kind{name: "python", script: alone + `sh -c 'python3 "$SCRIPTS/pong.py"; exit $?'; exit $?`})
	}
	if have(t, "node") && have(t, "npx") {
		// A package as npx runs it: npx, sh, and the program, which is node here.
		// It is the program that holds the lock, so it is the one at the end of
		// the tree that must not have a twin.
		write(0o700, "#!/bin/sh"+alone+`exec node "$SCRIPTS/pong.js"`+"\n", "npx", "node_modules", ".bin", "pong")
		kinds = append(kinds, kind{name: "npx", script: `cd "$SCRIPTS/npx"
export npm_config_offline=true npm_config_update_notifier=false npm_config_cache="$SCRIPTS/npm"
npx --no-install pong; exit $?`})
	}
	return kinds
}

// have says whether a program is there; a kind of server without one is not
// tested.
func have(t *testing.T, program string) bool {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil {
		t.Logf("no %s: its tree is not tested", program)
	}
	return err == nil
}
