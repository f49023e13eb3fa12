//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/released"
)

// TestKillsUnderLoad sends SIGKILL to the gateway, the shim and the server while
// eight clients call a tool without pause: three by HTTP of each era, and two by
// berth proxy. Each call has a word of its own, which the server writes down and
// answers with. An answer is the call's own; a call is carried out once at most;
// an error comes only where something was killed; no client gets stuck or loses
// its session.
//
// All of that holds for a server of either era.
func TestKillsUnderLoad(t *testing.T) {
	bin := released.Build(t)
	for _, eras := range []string{"legacy", "modern"} {
		t.Run(eras, func(t *testing.T) { killsUnderLoad(t, bin, eras) })
	}
}

func killsUnderLoad(t *testing.T, bin, eras string) {
	kills := min(envInt(t, "BERTH_CHAOS_KILLS", 60)*3/10, 1000)
	seed := envInt(t, "BERTH_CHAOS_SEED", int(time.Now().UnixNano()&0xffffffff))
	t.Logf("%d kills with BERTH_CHAOS_SEED=%d", kills, seed)
	p := newPier(t, bin, eras, "berth.max-restarts=1000000")
	l := newLoad(p, 3, 2)
	rng := rand.New(rand.NewPCG(uint64(seed), 2))
	for range kills {
		if t.Failed() {
			break
		}
		l.blow(rng)
		pause := time.Duration(rng.Int64N(int64(40 * time.Millisecond))) // the moment is what varies
		if rng.IntN(10) == 0 {
			pause = 4 * settling // calls in which nothing may go wrong
		}
		time.Sleep(pause)
	}
	l.end()
	l.judge()
	l.nothingLeft()
}

// nothingLeft stops the server and fails if a process or the socket of it is left, or
// the gateway keeps a file of what waited for clients, or the handle of a process.
func (l *load) nothingLeft() {
	l.t.Helper()
	l.Berth("stop", "one")
	h, err := home.Open(l.Home, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	lock, err := h.TreeLock("one")
	if err != nil {
		l.t.Fatal(err)
	}
	left, err := proc.Leftovers(proc.Query{Key: h.Key("one"), TreeLock: lock})
	if err != nil || len(left) > 0 {
		l.t.Errorf("left over after the stop: %v, %v", left, err)
	}
	socket, err := h.SocketPath("one")
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		l.t.Errorf("the socket %s is left over: %v", socket, err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", l.gw.PID))
	if err != nil || len(fds) == 0 {
		l.t.Fatal(fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err == nil && (strings.HasSuffix(to, " (deleted)") || strings.Contains(to, "pidfd")) {
			l.t.Errorf("the gateway keeps %s", to)
		}
	}
	l.t.Logf("the gateway has %d descriptors", len(fds))
}

// load is clients that call, and what became of their calls.
type load struct {
	*pier
	over   atomic.Bool
	began  atomic.Int64 // kills
	healed atomic.Int64 // those of them after which all was up again
	at     atomic.Int64 // when that was, in nanoseconds since the epoch

	failed  atomic.Int64 // calls
	clients sync.WaitGroup

	mu      sync.Mutex        // guards the fields below
	done    map[string]bool   // by word
	refused map[string]string // with what error, where it was answered with one
}

// newLoad has clients call without pause until end: so many by HTTP of each era, and
// so many by berth proxy. The first of each has the server among all, as one.
func newLoad(p *pier, byHTTP, byProxy int) *load {
	p.t.Helper()
	l := &load{pier: p, done: map[string]bool{}, refused: map[string]string{}}
	for i := range byHTTP {
		legacy, modern := p.legacy(), p.modern()
		if i == 0 {
			legacy, modern = p.legacyOfAll(), p.modernOfAll()
		}
		l.clients.Go(func() { l.keepCalling(fmt.Sprintf("legacy%d", i), l.byHTTP(legacy)) })
		l.clients.Go(func() { l.keepCalling(fmt.Sprintf("modern%d", i), l.byHTTP(modern)) })
	}
	for i := range byProxy {
		proxy, prefix := p.proxy("one"), ""
		if i == 0 {
			proxy, prefix = p.proxy(), "one_"
		}
		proxy.shake()
		l.clients.Go(func() { l.keepCalling(fmt.Sprintf("proxy%d", i), l.byProxy(proxy, prefix)) })
	}
	return l
}

// end waits for the last answer of each client.
func (l *load) end() {
	l.t.Helper()
	l.over.Store(true)
	ended := make(chan struct{})
	go func() { l.clients.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		l.t.Fatal("a client is stuck")
	}
}

// settling is how long after a new process is up a call may still meet the one
// before it: the gateway hears of it a moment later than the command line.
const settling = 200 * time.Millisecond

// blow kills one process, and sees to it that it comes back as its user would
// have it: a gateway by whoever keeps it, a server that was killed often at once.
func (l *load) blow(rng *rand.Rand) {
	l.t.Helper()
	what := rng.IntN(10)
	l.began.Add(1)
	switch {
	case what < 3:
		l.gw.Kill()
		l.again()
	default:
		before := l.status("one")
		if what < 6 {
			kill(before.ShimPID)
		} else {
			kill(before.PID)
		}
		eventually(l.t, func() bool {
			// At once, whatever the back-off; it may not have been missed yet. The
			// keeper and the gateway bring it up as well, so that this one may fail.
			if _, err := l.Try("start", "one"); err != nil {
				l.t.Log(err)
			}
			now := l.status("one")
			return now.PID != 0 && now.PID != before.PID
		}, func() string { return "a new process" })
	}
	l.at.Store(time.Now().UnixNano())
	l.healed.Store(l.began.Load())
}

// refusal is an error with which a call was answered.
type refusal string

func (r refusal) Error() string { return string(r) }

// errLost: the session is gone.
var errLost = errors.New("the session is gone")

// keepCalling is one client. Once all is over it has to have an answer.
func (l *load) keepCalling(who string, call func(word string) (answer string, err error)) {
	for i := 0; ; i++ {
		over := l.over.Load()
		word := fmt.Sprintf("%s-%d.", who, i)
		healed := l.healed.Load()
		begun := time.Now()
		settled := begun.Sub(time.Unix(0, l.at.Load())) > settling
		answer, err := call(word)
		harmed := !settled || l.began.Load() != healed
		switch took := time.Since(begun); {
		case errors.Is(err, errLost), errors.Is(err, context.DeadlineExceeded), took > time.Minute:
			l.t.Errorf("%s: %v after %v", word, err, took)
			return
		case err != nil && strings.Contains(err.Error(), "has the answer to"), err != nil && !harmed:
			l.t.Errorf("%s failed, and nothing was killed: %v", word, err)
			return
		case err == nil && answer != word:
			l.t.Errorf("%s is answered %q", word, answer)
			return
		}
		if err != nil {
			l.failed.Add(1)
			if refusal := refusal(""); errors.As(err, &refusal) {
				l.mu.Lock()
				l.refused[word] = string(refusal)
				l.mu.Unlock()
			}
			continue
		}
		l.mu.Lock()
		l.done[word] = true
		l.mu.Unlock()
		if over {
			return
		}
	}
}

// byHTTP calls as a client of its era.
func (l *load) byHTTP(c *client) func(word string) (string, error) {
	return func(word string) (string, error) {
		status, m, err := c.tryAsk("tools/call", fmt.Sprintf(`"name":"%smark","arguments":{"message":%q}`, c.prefix(), word))
		switch {
		case err != nil:
			return "", err
		case status == http.StatusNotFound:
			return "", errLost
		case m.Kind != jsonrpc.Response:
			return "", refusal(m.Error)
		case string(m.ID) != fmt.Sprint(c.id):
			return "", fmt.Errorf("call %d has the answer to %s", c.id, m.ID)
		}
		return text(m), nil
	}
}

// byProxy calls through berth proxy, which is to go on whatever dies.
func (l *load) byProxy(x *proxied, prefix string) func(word string) (string, error) {
	id := 0
	return func(word string) (string, error) {
		id++
		if _, err := fmt.Fprintf(x.in, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%smark","arguments":{"message":%q}}}`+"\n", id, prefix, word); err != nil {
			return "", errLost
		}
		for x.out.Scan() {
			m, err := jsonrpc.Parse(x.out.Bytes())
			if err != nil {
				l.t.Errorf("a proxy said %s: %v", x.out.Text(), err)
				return "", io.ErrUnexpectedEOF
			}
			switch {
			case m.Kind != jsonrpc.Response && m.Kind != jsonrpc.ErrorResponse:
			case string(m.ID) != fmt.Sprint(id):
				l.t.Errorf("a proxy that waits for %d is told %s", id, x.out.Text())
			case m.Kind == jsonrpc.ErrorResponse:
				return "", refusal(m.Error)
			default:
				return text(m), nil
			}
		}
		return "", errLost
	}
}

// judge compares what clients were told with what the server did.
func (l *load) judge() {
	l.t.Helper()
	ran := map[string]int{}
	for word := range strings.Lines(l.said("marks")) {
		ran[strings.TrimSpace(word)]++
	}
	for word, times := range ran {
		if times > 1 {
			l.t.Errorf("%s was carried out %d times", word, times)
		}
	}
	unsure := 0
	for word, why := range l.refused {
		if ran[word] == 0 {
			continue
		}
		if unsure++; !strings.Contains(why, "is not known") {
			l.t.Errorf("%s was carried out, and its client told %s", word, why)
		}
	}
	for word := range l.done {
		if ran[word] == 0 {
			l.t.Errorf("%s was answered, and not carried out", word)
		}
	}
	l.t.Logf("%d kills: %d calls answered, %d failed, of which %d were carried out", l.began.Load(), len(l.done), l.failed.Load(), unsure)
	if len(l.done) < int(l.began.Load()) {
		l.t.Errorf("only %d calls were answered", len(l.done))
	}
}
