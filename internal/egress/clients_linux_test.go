package egress

import (
	"encoding/pem"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func writeCertificate(t testing.TB, file string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	nodeFetch = `fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t), e => { console.log(e.message, e.cause && e.cause.code); process.exit(1) })`
	nodeHTTPS = `require(process.argv[1].split(':')[0]).get(process.argv[1], r => { let t=''; r.on('data', d => t += d); r.on('end', () => console.log(t)) }).on('error', e => { console.log(e.code); process.exit(1) })`
	pyURLLib  = `
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
except Exception as e:
    print(repr(e)); sys.exit(1)`
)

// clients are programs that know nothing of Berth, each with what it needs before the
// URL.
func clients(t testing.TB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	find := func(program string) string {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("%s is not here", program)
		}
		return path
	}
	nodes := map[string]string{"node": find("node"), "node24": os.Getenv("BERTH_TEST_NODE24")}
	for name, node := range nodes {
		if node != "" && unix.Access(node, unix.X_OK) == nil { // as nobody, some are out of sight
			all[name+" fetch"] = []string{node, "-e", nodeFetch}
			all[name+" https"] = []string{node, "-e", nodeHTTPS}
		}
	}
	if python := pythonItself(find("python3")); python != "" {
		all["python urllib"] = []string{python, "-c", pyURLLib}
	}
	if curl := find("curl"); curl != "" {
		all["curl"] = []string{curl, "-sS", "--fail"}
	}
	return all
}

// pythonItself is what a launcher (pyenv's, which is a script) would run.
func pythonItself(launcher string) string {
	if launcher == "" {
		return ""
	}
	out, err := exec.Command(launcher, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// TestClients: unmodified programs reach what was granted by name, by https and http,
// and nothing else, in both designs.
func TestClients(t *testing.T) {
	for design, role := range map[string]string{"namespace": roleInside, "notify": roleNotify} {
		t.Run(design, func(t *testing.T) {
			secure, plain, authority := site(t)
			for name, argv := range clients(t) {
				t.Run(name, func(t *testing.T) {
					t.Setenv("NODE_EXTRA_CA_CERTS", authority)
					t.Setenv("SSL_CERT_FILE", authority)
					t.Setenv("CURL_CA_BUNDLE", authority)
					t.Setenv("RES_OPTIONS", "use-vc")
					for _, c := range []struct {
						url, want string
						ok        bool
					}{
						{"https://example.com/a", "hello from example.com/a", true},
						{"http://example.com/b", "hello from example.com/b", true},
						{"https://denied.example.org/", "", false},
						{"http://93.184.216.99/", "", false},
					} {
						w := newWorld(t, "network:example.com:443", "network:example.com:80")
						w.host("example.com", "93.184.216.34", 443, secure)
						w.host("example.com", "93.184.216.34", 80, plain)
						w.host("denied.example.org", "93.184.216.35", 443, secure)
						w.host("", "93.184.216.99", 80, plain)
						out, ok := w.run(role, append(argv, c.url)...)
						if ok != c.ok || !strings.Contains(out, c.want) {
							t.Errorf("%s: %v, %q; dialled %v", c.url, ok, out, w.dials())
						}
						if !c.ok {
							if d := w.dials(); len(d) > 0 {
								t.Errorf("%s: dialled %v", c.url, d)
							}
							if strings.Contains(c.url, "denied") {
								w.violated("denied.example.org", 443)
							} else {
								w.violated("93.184.216.99", 80)
							}
						}
					}
				})
			}
		})
	}
}
