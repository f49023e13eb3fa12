//go:build unix

package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"syscall"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// throwAway opens a home for an example; most programs say Open(nil).
func throwAway() (m *supervisor.Manager, remove func()) {
	dir, err := os.MkdirTemp("", "berth")
	if err != nil {
		log.Fatal(err)
	}
	m, err = supervisor.Open(&supervisor.Options{Home: dir})
	if err != nil {
		log.Fatal(err)
	}
	return m, func() { os.RemoveAll(dir) }
}

// A server is started, is up, and is stopped. The program may end in between:
// the server goes on, and the next program finds it.
func Example() {
	m, remove := throwAway() // supervisor.Open(nil) is the user's own home
	defer remove()
	ctx := context.Background()

	// As every stdio server does, cat lives until its input ends.
	spec := berth.ProcessSpec{Command: "cat"}
	started, err := m.Start(ctx, "everything", spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(started)

	again, err := m.Start(ctx, "everything", spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again)

	st, err := m.Status(ctx, "everything")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Name, "is", st.Status)

	stopped, err := m.Stop(ctx, "everything")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stopped)
	// Output:
	// started
	// already running
	// everything is running
	// stopped
}

// A command that is not there is the system's kind of error.
func ExampleManager_Start() {
	m, remove := throwAway()
	defer remove()
	_, err := m.Start(context.Background(), "typo", berth.ProcessSpec{Command: "/usr/bin/no-such-server"})
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	fmt.Println(err)
	// Output:
	// true
	// start "typo": command "/usr/bin/no-such-server": stat /usr/bin/no-such-server: no such file or directory
}

// Supervise keeps one server up and returns when somebody stops it.
func ExampleManager_Supervise() {
	m, remove := throwAway()
	defer remove()
	ctx := context.Background()
	spec := berth.ProcessSpec{
		Command:     "cat",
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10},
	}
	if _, err := m.Start(ctx, "everything", spec); err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- m.Supervise(ctx, "everything", spec) }()

	if _, err := m.Stop(ctx, "everything"); err != nil { // by whomever
		log.Fatal(err)
	}
	fmt.Println(<-ended)
	// Output: <nil>
}

// A keeper starts a successor for a supervisor that was killed: the server is
// up again, whatever happens to any process.
func ExampleManager_Keep() {
	m, remove := throwAway()
	defer remove()
	spec := berth.ProcessSpec{
		Command:     "cat",
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10},
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := m.Start(ctx, "everything", spec); err != nil {
		log.Fatal(err)
	}
	err := m.Keep(ctx, supervisor.KeepOptions{
		Spec: func(name string) (berth.ProcessSpec, bool, error) { return spec, name == "everything", nil },
		OnEvent: func(e berth.Event) {
			switch {
			case e.Status.Status != berth.Running:
			case e.Status.Generation == 1:
				_ = syscall.Kill(e.Status.ShimPID, syscall.SIGKILL)
			default:
				fmt.Println("the server runs again")
				cancel() // that was all
			}
		},
		OnError: func(name string, err error) { log.Print(name, ": ", err) },
	})
	fmt.Println(err)

	if _, err := m.Stop(context.Background(), "everything"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// the server runs again
	// context canceled
}

// Events tells of every server of the home, those that others start included.
func ExampleManager_Events() {
	m, remove := throwAway()
	defer remove()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := m.Start(ctx, "everything", berth.ProcessSpec{Command: "cat"}); err != nil {
		log.Fatal(err)
	}
	running, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		<-running
		if _, err := m.Stop(context.Background(), "everything"); err != nil {
			log.Fatal(err)
		}
	}()
	var last berth.RunState
	err := m.Events(ctx, func(e berth.Event) {
		if e.Status.Status == last {
			return // another phase of the same
		}
		last = e.Status.Status
		fmt.Println(e.Status.Name, "is", last)
		if last == berth.Stopped {
			cancel() // that was all
			return
		}
		close(running)
	})
	fmt.Println(err)
	<-stopped
	// Output:
	// everything is running
	// everything is stopped
	// context canceled
}

// What a server prints on stderr is in its log.
func ExampleManager_Logs() {
	m, remove := throwAway()
	defer remove()
	ctx := context.Background()
	spec := berth.ProcessSpec{Command: "/bin/sh", Args: []string{"-c", "echo ready >&2; exec cat"}}
	if _, err := m.Start(ctx, "everything", spec); err != nil {
		log.Fatal(err)
	}
	// Lines that come later, for as long as one wants to read them.
	enough := errors.New("enough")
	err := m.FollowLogs(ctx, "everything", 10, func(line []byte) error {
		if string(line) == "ready" {
			return enough
		}
		return nil
	})
	fmt.Println(err)

	// Those that are there.
	if _, err := m.Stop(ctx, "everything"); err != nil {
		log.Fatal(err)
	}
	lines, err := m.Logs("everything", 2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", lines[0]) // the other is "[<time>] STOP"
	// Output:
	// enough
	// ready
}

// A program adds records of its own to the audit trail.
func ExampleManager_Record() {
	m, remove := throwAway()
	defer remove()
	r, err := m.Record(context.Background(), berth.Record{Server: "everything", Action: "approved", Detail: "by hand"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Seq, r.Action)
	// Output: 1 approved
}

// Reconcile brings a server up again whose supervisor was killed while nobody
// looked.
func ExampleManager_Reconcile() {
	m, remove := throwAway()
	defer remove()
	ctx := context.Background()
	spec := berth.ProcessSpec{
		Command:     "cat",
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10},
	}
	if _, err := m.Start(ctx, "everything", spec); err != nil {
		log.Fatal(err)
	}
	st, err := m.Reconcile(ctx, "everything", &spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Status)
	if _, err := m.Stop(ctx, "everything"); err != nil {
		log.Fatal(err)
	}
	// Output: running
}

// A program that cannot become a shim itself, such as a plugin whose host is
// somebody else's, names one that can: berth, or any that imports this package.
func ExampleOptions_executable() {
	m, err := supervisor.Open(&supervisor.Options{Executable: "/usr/local/bin/berth"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.Start(context.Background(), "everything", berth.ProcessSpec{Command: "cat"})
	if errors.Is(err, berth.ErrNoShim) {
		log.Fatal("that was not berth: ", err)
	}
}
