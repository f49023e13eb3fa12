package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// disk is a home on a filesystem of 1 MiB of its own.
type disk struct {
	*world
	mount string
}

// newDisk needs the right to mount.
func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{mount: shortDir(t)}
	err := unix.Mount("tmpfs", d.mount, "tmpfs", 0, "size=1m,mode=0700")
	needs(t, err == nil, "root and the right to mount a filesystem")
	t.Cleanup(func() {
		if err := unix.Unmount(d.mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d.world = newWorldWith(t, supervisor.Options{Home: filepath.Join(d.mount, "home")})
	return d
}

// fill takes all the space that is left, that of the last page of the audit
// trail included.
func (d disk) fill() {
	d.Helper()
	line := d.record("x") - 1
	room := d.roomInTrail() - line - 10 // a time may have more digits than another
	for room < 0 {
		room += pageSize
	}
	d.record(strings.Repeat("x", room))
	if room := d.roomInTrail(); room > 100 {
		d.Fatalf("the audit trail's last page has room for %d bytes", room)
	}
	f, err := os.OpenFile(filepath.Join(d.mount, "filler"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, pageSize))
	}
	if err := os.WriteFile(d.path("runtime", "more"), []byte("x"), 0o600); !isFull(err) {
		d.Fatalf("the disk is not full: %v", err)
	}
	if err := os.Remove(d.path("runtime", "more")); err != nil {
		d.Fatal(err)
	}
}

const pageSize = 4096

func (d disk) roomInTrail() int {
	d.Helper()
	info, err := os.Stat(d.path("audit", "audit.jsonl"))
	if err != nil {
		d.Fatal(err)
	}
	return pageSize - int(info.Size()%pageSize)
}

// record adds a record that has nothing to do with any server's life, and
// returns the length of its line.
func (d disk) record(detail string) int {
	d.Helper()
	before := len(d.read("audit", "audit.jsonl"))
	if _, err := d.m.Record(d.ctx, berth.Record{Server: "z", Action: "padding", Detail: detail}); err != nil {
		d.Fatal(err)
	}
	return len(d.read("audit", "audit.jsonl")) - before
}

// free gives the space back.
func (d disk) free() {
	d.Helper()
	if err := os.Remove(filepath.Join(d.mount, "filler")); err != nil {
		d.Fatal(err)
	}
}

func isFull(err error) bool {
	return err != nil && strings.Contains(err.Error(), syscall.ENOSPC.Error())
}

// trail fails the test unless the records of the server, and of gaps, are
// these, numbered without a gap.
func (d disk) trail(name string, want ...string) {
	d.Helper()
	var got []string
	for i, r := range d.records("") {
		if r.Seq != uint64(i+1) {
			d.Errorf("record %d has the number %d", i+1, r.Seq)
		}
		if r.Server == name {
			got = append(got, r.Action)
		}
	}
	if !slices.Equal(got, want) {
		d.Errorf("the audit trail has %q, want %q", got, want)
	}
}

// A server can be stopped though nothing can be written down; its record is
// kept, and written as soon as there is room. Then its supervisor ends.
func TestFullDisk_Stop(t *testing.T) {
	d := newDisk(t)
	st := d.start("a", idle())
	d.fill()
	if got := d.status("a"); got.PID != st.PID || got.Status != berth.Running {
		t.Errorf("status: %+v", got)
	}
	if outcome, err := d.m.Start(d.ctx, "a", idle()); err != nil || outcome != berth.AlreadyRunning {
		t.Errorf("start of what runs: %v, %v", outcome, err)
	}
	d.stop("a")
	d.hasNoProcess("a", "after the stop")
	if got := d.status("a"); got.Status != berth.Stopped || got.Phase != berth.PhaseStopped {
		t.Errorf("status: %+v", got)
	}
	if outcome, err := d.m.Stop(d.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
		t.Errorf("another stop: %v, %v", outcome, err)
	}
	d.hasActions("a", "start")
	d.free()
	d.awaitShimEnd("a")
	d.trail("a", "start", "audit-gap", "stop")
	d.last("a", "stop").about(t, st.PID, idle())
	if ref := d.readRef("a"); ref.Status != "stopped" || ref.PID != 0 {
		t.Errorf("state: %+v", ref)
	}
	d.start("a", idle())
}

// A start that could not be written down could not be stopped by a successor:
// it is refused, and changes nothing. With room again it is one like any other.
func TestFullDisk_Start(t *testing.T) {
	d := newDisk(t)
	d.start("b", idle())
	d.stop("b")
	d.awaitShimEnd("b")
	d.fill()
	for name, was := range map[string]string{"a": "", "b": d.read("runtime", "b.toml")} {
		_, err := d.m.Start(d.ctx, name, idle())
		is(t, err, syscall.ENOSPC, fmt.Sprintf("%q", name))
		d.hasNoProcess(name, "after a start that was refused")
		equal(t, "state of "+name, d.read("runtime", name+".toml"), was)
		if st := d.status(name); st.Status != berth.Stopped {
			t.Errorf("status: %+v", st)
		}
		if _, err := d.m.Stop(d.ctx, name); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	d.free()
	for _, name := range []string{"a", "b"} {
		d.start(name, idle())
		d.stop(name)
	}
}

// A server that crashes is restarted though nothing can be written down; what
// happened is on record once there is room.
func TestFullDisk_Restart(t *testing.T) {
	d := newDisk(t)
	spec := restarting(idle(), 10)
	st := d.start("a", spec)
	d.fill()
	var pids []int
	for range 3 {
		pids = append(pids, st.PID)
		d.kill(st.PID)
		st = d.awaitNext("a", st.Generation)
	}
	d.stop("a")
	d.free()
	d.awaitShimEnd("a")
	d.trail("a", "start", "audit-gap", "exit", "auto-restart", "exit", "auto-restart", "exit", "auto-restart", "stop")
	var ended []int
	for _, r := range d.records("a") {
		if r.Action == berth.ActionExit {
			ended = append(ended, r.PID)
		}
	}
	if !slices.Equal(ended, pids) {
		t.Errorf("the exits on record are those of %v, killed were %v", ended, pids)
	}
	if ref := d.readRef("a"); ref.Status != "stopped" || ref.PID != 0 {
		t.Errorf("state: %+v", ref)
	}
}

// Nor does it need a supervisor: what a killed one left is ended.
func TestFullDisk_StopOfAnOrphan(t *testing.T) {
	d := newDisk(t)
	st := d.orphan("a", outliving())
	d.fill()
	if got := d.status("a"); got.PID != st.PID || got.Status != berth.Running {
		t.Errorf("status: %+v", got)
	}
	d.stop("a")
	d.hasNoProcess("a", "after the stop")
	if got := d.status("a"); got.Status != berth.Stopped {
		t.Errorf("status: %+v", got)
	}
	d.free()
	d.start("a", idle())
	d.last("a", "exit").about(t, st.PID, outliving()) // made up for
}
