package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/spool"
)

// readStream reads all that a stream says after event n, as text.
func readStream(t *testing.T, st *stream, n int) string {
	t.Helper()
	w := httptest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.serve(ctx, newEventWriter(w, nil), n) }()
	synctest.Wait()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return w.Body.String()
}

func TestStreamReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStream("g", 7, true)
		for _, line := range []string{"a", "b", "c"} {
			st.put([]byte(line))
		}
		event := func(n int, data string) string {
			if data == "" {
				return "id: " + st.eventID(n) + "\ndata: \n\n"
			}
			return "id: " + st.eventID(n) + "\nevent: message\ndata: " + data + "\n\n"
		}
		for _, c := range []struct {
			n    int
			want string
		}{
			{-1, event(-1, "") + event(0, "a") + event(1, "b") + event(2, "c")},
			{0, event(1, "b") + event(2, "c")},
			{1, event(2, "c")},
			{2, ""},
			{99, ""}, // that event is still to come, if it ever does
		} {
			if got := readStream(t, st, c.n); got != c.want {
				t.Errorf("after event %d: got %q, want %q", c.n, got, c.want)
			}
		}
		// What comes while somebody reads comes at once, to all who read.
		w := []*httptest.ResponseRecorder{httptest.NewRecorder(), httptest.NewRecorder()}
		ended := make(chan error, 2)
		for i := range w {
			go func() { ended <- st.serve(t.Context(), newEventWriter(w[i], nil), 2) }()
		}
		synctest.Wait()
		st.put([]byte("d"))
		synctest.Wait()
		// A silent stream shows that it lives.
		time.Sleep(commentEvery + time.Second)
		synctest.Wait()
		st.finish()
		for range w {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for i := range w {
			if got := w[i].Body.String(); got != event(3, "d")+":\n\n" {
				t.Errorf("reader %d has %q", i, got)
			}
		}
		st.put([]byte("late"))
		if got := readStream(t, st, 2); got != event(3, "d") {
			t.Errorf("after the end: %q", got)
		}
	})
}

func TestStreamKeepsNoMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStream("g", 1, false)
		big := strings.Repeat("x", streamKept/4)
		for i := range 10 {
			st.put([]byte(fmt.Sprintf("%d%s", i, big)))
		}
		_, bytes, _, _ := st.idle()
		if bytes > streamKept {
			t.Errorf("it keeps %d bytes", bytes)
		}
		if got := readStream(t, st, -1); strings.Count(got, "\ndata: ") != 3 || !strings.Contains(got, "\ndata: 9xx") || !strings.Contains(got, st.eventID(7)+"\n") {
			t.Errorf("of the last three events it says %.100q", got)
		}
		// The last is kept whatever its size: it may be the answer.
		st.put([]byte(strings.Repeat("y", 2*streamKept)))
		if got := readStream(t, st, 3); strings.Count(got, "\ndata: ") != 1 || !strings.Contains(got, st.eventID(10)+"\n") {
			t.Errorf("of the last event it says %.100q", got)
		}
	})
}

// slowWriter is a client that takes nothing until it is let.
type slowWriter struct {
	*httptest.ResponseRecorder
	lets chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-w.lets
	return w.ResponseRecorder.Write(p)
}

// A client that reads more slowly than its server writes loses its stream, not
// messages in the middle of it.
func TestSlowReaderIsCutOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st := newStream("g", 1, false)
		st.store = spool.New(1<<30, func() (*os.File, error) { return os.CreateTemp(dir, "") })
		w := &slowWriter{httptest.NewRecorder(), make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- st.serve(t.Context(), newEventWriter(w, nil), -1) }()
		put := func(from, to int) {
			for i := from; i < to; i++ {
				st.put([]byte(fmt.Sprintf("%d%s", i, strings.Repeat("x", slowMost/16))))
				synctest.Wait() // the first is being written
			}
		}
		put(0, 15)
		for range 14 {
			w.lets <- struct{}{}
		}
		synctest.Wait() // the last of them is
		put(15, 30)
		if used := st.store.Used(); used < slowMost/2 {
			t.Errorf("%d bytes wait in files", used)
		}
		put(30, 33)
		st.finish()
		close(w.lets)
		if err := <-ended; !errors.Is(err, errBehind) {
			t.Errorf("its stream ends with %v", err)
		}
		if got := w.Body.String(); strings.Count(got, "\ndata: ") != 15 || !strings.Contains(got, "\ndata: 14xx") {
			t.Errorf("it has %d events", strings.Count(got, "\ndata: "))
		}
		// It comes back for what there is.
		if got := readStream(t, st, 14); !strings.Contains(got, "\ndata: 32xx") {
			t.Errorf("then it has %.100q", got)
		}
		st.forget()
		if used := st.store.Used(); used != 0 {
			t.Errorf("%d bytes are kept", used)
		}
	})
}

func TestSessionForgetsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(t)
		has := func(st *stream) bool { return s.streams[st.number] == st }
		done, left, read := s.newStream(), s.newStream(), s.newStream()
		done.put([]byte("x"))
		done.finish()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- read.serve(ctx, newEventWriter(httptest.NewRecorder(), nil), -1) }()
		synctest.Wait()

		time.Sleep(replayFor)
		s.tidy(time.Now())
		if !has(done) || !has(left) || !has(read) {
			t.Error("a stream was forgotten before its time")
		}
		time.Sleep(time.Second)
		s.tidy(time.Now())
		if has(done) || has(left) || !has(read) {
			t.Errorf("ended %t, left %t, read %t", has(done), has(left), has(read))
		}
		// From the moment on that its reader leaves, it may come back.
		cancel()
		<-ended
		time.Sleep(replayFor)
		s.tidy(time.Now())
		if !has(read) {
			t.Error("a stream was forgotten before its time")
		}
		time.Sleep(time.Second)
		s.newStream() // tidies as well
		if has(read) {
			t.Error("a stream that was left is not forgotten")
		}
	})
}

func TestSessionKeepsNoMoreThanItMay(t *testing.T) {
	s := newTestSession(t)
	var all []*stream
	for i := range 8 {
		st := s.newStream()
		st.put(make([]byte, streamKept/4))
		if i != 2 {
			st.finish() // that one is not over
		}
		all = append(all, st)
	}
	s.tidy(time.Now())
	var kept []int
	for i, st := range all {
		if s.streams[st.number] != nil {
			kept = append(kept, i)
		}
	}
	if got := fmt.Sprint(kept); got != "[2 4 5 6 7]" {
		t.Errorf("it keeps the streams %s", got)
	}
	for range 1000 {
		s.tell(make([]byte, 100<<10))
	}
	for range 1000 {
		s.tell([]byte("{}"))
	}
	st := s.newStream()
	leave := s.listen(st)
	if n := len(st.events); n > backlogMost || st.bytes > backlogBytes || n < 11 {
		t.Errorf("%d messages of %d bytes waited for the client", n, st.bytes)
	}
	// It comes back before it is seen that it had left.
	again := s.listen(st)
	leave()
	if s.general != st {
		t.Error("the client that came back hears nothing")
	}
	again()
	if s.general != nil {
		t.Error("the client that left is spoken to")
	}
}

func TestEventIDs(t *testing.T) {
	for _, answers := range [][][]byte{nil, {[]byte("1")}, {[]byte(`"a,b"`), []byte("-1.5e3")}} {
		for _, general := range []bool{false, true} {
			for _, n := range []int{-1, 0, 1 << 40} {
				st := newStream("life", 1<<63, false)
				st.answers, st.general = answers, general
				e, ok := parseEventID(st.eventID(n))
				if !ok || e.life != "life" || e.number != 1<<63 || e.n != n || e.general != general {
					t.Errorf("%s is %+v, %t", st.eventID(n), e, ok)
				}
				if !general && fmt.Sprint(e.answers) != fmt.Sprint(answers) {
					t.Errorf("%s answers %q, not %q", st.eventID(n), e.answers, answers)
				}
			}
		}
	}
	for _, id := range []string{"", "a", "a.b", "a.1", "a.1.-2", "a.-1.1", "a.1.1.!", "a.1.1.~.x", "a.99999999999999999999.1", "a.1.1.MQ==", "a. 1.1"} {
		if e, ok := parseEventID(id); ok {
			t.Errorf("%q is %+v", id, e)
		}
	}
}

func FuzzEventID(f *testing.F) {
	for _, id := range []string{"", "g.1.-1", "g.1.2.~", "g.1.2.MSwi4oKsIg", "....", "g.1.2.XQ"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		e, ok := parseEventID(id)
		if !ok {
			return
		}
		st := newStream(e.life, e.number, false)
		st.general, st.answers = e.general, e.answers
		again, ok := parseEventID(st.eventID(e.n))
		if !ok || again.life != e.life || again.number != e.number || again.n != e.n || again.general != e.general {
			t.Errorf("%q is %+v, which is %+v", id, e, again)
		}
	})
}
