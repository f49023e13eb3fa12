package remote_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/berth-run/berth/internal/remote"
)

// oldServer is one of the transport of 2024-11-05; what it says comes by the
// function that it returns, "" being the end of its stream.
func oldServer(t *testing.T, endpoint string) (url string, say func(string), seen func() []string) {
	t.Helper()
	said := make(chan string, 16)
	var once sync.Once
	url, seen = serve(t, func(w http.ResponseWriter, a asked) {
		switch {
		case a.Method == http.MethodGet:
			events(w, "event: endpoint\ndata: "+endpoint+"\n\n")
			for {
				select {
				case text, more := <-said:
					if !more {
						return
					}
					events(w, "event: message\ndata: "+text+"\n\n")
				case <-a.Context().Done():
					return
				}
			}
		case !strings.Contains(a.URL.RawQuery, "session"):
			http.Error(w, "Cannot POST /mcp", http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusAccepted)
			switch a.method {
			case "initialize":
				said <- shaken
			case "tools/call":
				said <- result(a.id, "by the stream")
			}
		}
	})
	return url, func(text string) {
		if text == "" {
			once.Do(func() { close(said) })
			return
		}
		said <- text
	}, seen
}

func TestOldSSE(t *testing.T) {
	url, say, seen := oldServer(t, "/messages?session=1")
	l := run(t, url, remote.Options{})
	l.send(ask("d", "server/discover", ""))
	l.wantPart(`"id":"d"`, "HTTP 404 Not Found: Cannot POST /mcp")
	l.send(initialize)
	l.want(shaken)
	l.send(initialized)
	l.send(call("1", "x"))
	l.want(result("1", "by the stream"))
	say(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	l.want(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	say("")
	var lost *remote.Lost
	if err := l.end(); !errors.As(err, &lost) || !strings.Contains(err.Error(), "the stream that is its session has ended") {
		t.Errorf("%v", err)
	}
	want := "POST server/discover, POST initialize, GET, POST initialize, POST notifications/initialized, POST tools/call"
	if got := strings.Join(seen(), ", "); got != want {
		t.Errorf("%s", got)
	}
}

// TestOldEndpoint: messages go nowhere but to the origin that the user typed.
func TestOldEndpoint(t *testing.T) {
	elsewhere, _ := serve(t, func(w http.ResponseWriter, a asked) { t.Error("asked") })
	for _, endpoint := range []string{elsewhere + "?session=1", "//mcp.example.com/?session=1", "https://10.0.0.1/?session=1", "file:///etc/passwd"} {
		url, say, _ := oldServer(t, endpoint)
		l := run(t, url, remote.Options{})
		l.send(initialize)
		l.wantPart("at another origin, and is not used")
		if l.end() == nil {
			t.Error(endpoint)
		}
		say("")
	}
}
