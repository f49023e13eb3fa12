//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// far answers each request with as many bytes of text as its name says.
func far(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m struct {
		ID     json.RawMessage
		Params struct{ Name string }
	}
	_ = json.Unmarshal(body, &m)
	w.Header().Set("Content-Type", "application/json")
	n, _ := strconv.Atoi(m.Params.Name)
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":"`, m.ID)
	for piece := strings.Repeat("x", 64<<10); n > 0; n -= len(piece) {
		_, _ = io.WriteString(w, piece[:min(n, len(piece))])
	}
	_, _ = io.WriteString(w, `"}`)
}

// relay is a process of a remote server.
type relay struct {
	b   *testing.B
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startRelay(b *testing.B, bin, url string, env ...string) *relay {
	b.Helper()
	r := &relay{b: b, cmd: exec.Command(bin, "remote", "far", url)}
	r.cmd.Env = append(env, "BERTH_REMOTE_URL="+url, "BERTH_HOME="+filepath.Join(b.TempDir(), "home"), "GOMAXPROCS=2", "GOGC=25")
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	r.out = bufio.NewReaderSize(out, 1<<20)
	if err := r.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		r.in.Close()
		_ = r.cmd.Wait() // its end is all that is wanted
	})
	return r
}

func (r *relay) call(name string) (n int) {
	r.b.Helper()
	if _, err := io.WriteString(r.in, farCall(name)+"\n"); err != nil {
		r.b.Fatal(err)
	}
	for {
		part, err := r.out.ReadSlice('\n')
		n += len(part)
		if err == nil {
			return n
		}
		if err != bufio.ErrBufferFull {
			r.b.Fatal(err)
		}
	}
}

func farCall(name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":%q}}`, name)
}

// BenchmarkRemote: what a remote server's process costs: its memory, over TLS and
// without, after 200 calls; how much more an answer of 64 MB takes; and a call, by
// lines, against the same by an HTTP client alone.
func BenchmarkRemote(b *testing.B) {
	const n, calls = 5, 200
	bin := released.Build(b)
	plain, secure := httptest.NewServer(http.HandlerFunc(far)), httptest.NewTLSServer(http.HandlerFunc(far))
	defer plain.Close()
	defer secure.Close()
	cert := filepath.Join(b.TempDir(), "cert.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		b.Fatal(err)
	}
	for name, url := range map[string]string{"http": plain.URL, "https": secure.URL} {
		var all []*relay
		for range n {
			r := startRelay(b, bin, url, "SSL_CERT_FILE="+cert)
			for range calls {
				r.call("10")
			}
			all = append(all, r)
		}
		time.Sleep(time.Second) // until they are quiet
		total := 0.0
		for _, r := range all {
			total += pss(b, r.cmd.Process.Pid)
		}
		b.ReportMetric(total/n, "MiB-PSS-"+name)
	}
	r := startRelay(b, bin, plain.URL)
	r.call("10")
	before := peak(b, r.cmd.Process.Pid)
	if got := r.call(strconv.Itoa(64 << 20)); got < 64<<20 {
		b.Fatalf("%d bytes", got)
	}
	b.ReportMetric(peak(b, r.cmd.Process.Pid)-before, "MiB-more-for-64MB")

	var by, alone []time.Duration
	for range 1000 {
		begun := time.Now()
		r.call("10")
		by = append(by, time.Since(begun))
		begun = time.Now()
		resp, err := http.Post(plain.URL, "application/json", bytes.NewReader([]byte(farCall("10"))))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		alone = append(alone, time.Since(begun))
	}
	b.ReportMetric(ratio(median(by), median(alone)), "call-ratio")
	b.ReportMetric(float64(median(by).Microseconds()), "µs-call")
	b.ReportMetric(0, "ns/op")
}

// peak is the most memory that a process has had, in MiB.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	for line := range strings.Lines(read(b, fmt.Sprintf("/proc/%d/status", pid))) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib float64
			fmt.Sscan(value, &kib)
			return kib / 1024
		}
	}
	b.Fatalf("process %d has no peak", pid)
	return 0
}
