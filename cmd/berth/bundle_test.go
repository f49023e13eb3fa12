package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// bundleManifest is that of a bundle of a version, whose program is the test server.
const bundleManifest = `{"manifest_version": "0.3", "name": "sample", "version": "%s", "description": "A sample", "author": {"name": "someone"},
"server": {"type": "binary", "entry_point": "server/run", "mcp_config": {"command": "${__dirname}/server/run",
 "args": ["--env", "--stderr", "in ${__dirname}", "--noise", "${user_config.word}"], "env": {"TOKEN": "${user_config.token}", "LEVEL": "${user_config.level}"}}},
"user_config": {"word": {"type": "string", "title": "Word", "description": "a word", "default": "noise"},
 "level": {"type": "number", "title": "Level", "description": "a level", "default": 2, "min": 1, "max": 3},
 "token": {"type": "string", "title": "Token", "description": "a token", "sensitive": true, "required": true}}}`

// packed is a zip file of names and contents, in turns; what begins with #! is a program.
func packed(t *testing.T, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		h := &zip.FileHeader{Name: parts[i], Method: zip.Deflate}
		h.SetMode(0o644)
		if strings.HasPrefix(parts[i+1], "#!") {
			h.SetMode(0o755)
		}
		if to, ok := strings.CutPrefix(parts[i+1], "link:"); ok {
			h.SetMode(fs.ModeSymlink | 0o777)
			parts[i+1] = to
		}
		f, err := z.CreateHeader(h)
		if err == nil {
			_, err = f.Write([]byte(parts[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarred(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	w := tar.NewWriter(zw)
	for _, name := range names {
		err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(testProgram))})
		if err == nil {
			_, err = w.Write([]byte(testProgram))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const testProgram = "#!/bin/sh\nexec testserver \"$@\"\n"

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// offers is where files are offered for download, by https, and a home to install them in.
type offers struct {
	t         *testing.T
	home, url string

	mu    sync.Mutex // guards the fields below
	files map[string][]byte
	cut   string // a file whose end is missing
}

func newOffers(t *testing.T) *offers {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the authority of this test is named by SSL_CERT_FILE, and its program is a shell script")
	}
	o := &offers{t: t, files: map[string][]byte{}}
	work := t.TempDir()
	o.home = filepath.Join(work, "home")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		data, there := o.files[r.URL.Path]
		cut := r.URL.Path == o.cut
		o.mu.Unlock()
		if !there {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if cut {
			data = data[:len(data)/2]
		}
		_, _ = w.Write(data)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	o.url = s.URL
	certs := filepath.Join(work, "certs.pem")
	if err := os.WriteFile(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", certs)
	t.Setenv("BERTH_SECRET_BACKEND", "file")
	t.Setenv("MADE_UP", "a-token-that-is-made-up")
	t.Cleanup(func() {
		if err := endAll(o.home); err != nil {
			t.Error(err)
		}
	})
	return o
}

// put offers a file, and returns its hash.
func (o *offers) put(name string, data []byte) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[name] = data
	return hexSum(data)
}

// berth runs the command, which must exit with a code, and returns what it said.
func (o *offers) berth(code int, args ...string) string {
	o.t.Helper()
	cmd := exec.Command("berth", append([]string{"--home", o.home}, args...)...)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		o.t.Fatalf("%q: exit code %d, want %d (%v)\n%s", args, got, code, err, out)
	}
	return string(out)
}

// says fails unless a text has all of others in it.
func (o *offers) says(text string, wanted ...string) {
	o.t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			o.t.Fatalf("%q is not in:\n%s", want, text)
		}
	}
}

// none fails if anything is installed, or left of what was to be.
func (o *offers) none(name string) {
	o.t.Helper()
	o.berth(3, "config", name)
	entries, err := os.ReadDir(filepath.Join(o.home, "packages"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		o.t.Fatalf("left in packages: %v, %v", entries, err)
	}
}

func (o *offers) bundle(version string, more ...string) []byte {
	parts := append([]string{"manifest.json", fmt.Sprintf(bundleManifest, version), "server/run", testProgram}, more...)
	return packed(o.t, parts...)
}

// TestInstallBundle: a bundle is installed from a URL by its hash, run, updated, rolled
// back and removed; the secret that it asks for is in the store.
func TestInstallBundle(t *testing.T) {
	o := newOffers(t)
	sum1, sum2 := o.put("/1/sample.mcpb", o.bundle("1.0.0")), o.put("/2/sample.mcpb", o.bundle("2.0.0", "more", "x"))
	at1, at2 := o.url+"/1/sample.mcpb", o.url+"/2/sample.mcpb"
	secret := []string{"install", at1, "--secret", "token=env:MADE_UP", "--yes"}

	o.says(o.berth(0, "info", at1), "sample", "1.0.0", "sha256:"+sum1, "signed", "by nobody", "setting token", "number, default 2")
	o.says(o.berth(2, "install", at1, "--yes"), "--sha256", "hint: whoever offers the file", "berth info")
	o.says(o.berth(2, "install", at1, "--sha256", sum1[1:]), "is no SHA-256")
	o.says(o.berth(2, "install", at1, "--sha256", sum1, "--yes"), "the setting token has no value")
	o.says(o.berth(2, append(secret, "--sha256", sum1, "--set", "level=4")...), "level: \"4\" is not 3 or less")
	o.none("sample")

	said := o.berth(0, append(secret, "--sha256", strings.ToUpper(sum1), "--set", "level=3")...)
	o.says(said, "hash     sha256:"+sum1, "signed   by nobody", "/server/run --env --stderr", "env      TOKEN=secret://sample/TOKEN", "may use  no network, none of your files", "sample: berth-demo ")
	o.says(o.berth(0, "call", "sample", "echo", `{"message":"hi"}`), "hi")
	o.says(o.berth(0, "logs", "sample"), "env: LEVEL=3", "in "+filepath.Join(o.home, "packages"))
	if file, err := os.ReadFile(filepath.Join(o.home, "servers", "sample.toml")); err != nil || bytes.Contains(file, []byte("made-up")) {
		t.Errorf("%v\n%s", err, file)
	}
	o.says(o.berth(0, "permissions", "sample"), "standard")
	o.says(o.berth(0, "update", "sample", "--yes"), "sample 1.0.0 is what its catalogue has")
	o.berth(0, "stop", "sample")
	o.says(o.berth(0, "update", "sample", "--from", at2, "--sha256", sum2, "--yes"), "version   - 1.0.0", "version   + 2.0.0", "updated from 1.0.0 to 2.0.0")
	o.says(o.berth(0, "config", "sample"), "level", "3", at2)
	o.says(o.berth(0, "rollback", "sample", "--yes"), "back to 1.0.0")
	o.says(o.berth(0, "fetch", "sample"), "is as it was fetched")
	o.says(o.berth(0, "call", "sample", "echo", `{"message":"hi"}`), "hi")
	o.berth(0, "stop", "sample")
	// A copy that is damaged is fetched again, by the same hash and no other.
	copies, err := filepath.Glob(filepath.Join(o.home, "packages", "mcpb-sample.mcpb-1.0.0-*", "server", "run"))
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	if err := os.WriteFile(copies[0], []byte("#!/bin/false\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.put("/1/sample.mcpb", o.bundle("1.0.0", "other", "x"))
	o.says(o.berth(1, "fetch", "sample"), "another hash")
	o.put("/1/sample.mcpb", o.bundle("1.0.0"))
	o.says(o.berth(0, "fetch", "sample"), "was fetched again")
	o.berth(0, "uninstall", "sample", "--purge", "--data")
	o.none("sample")
}

// TestInstallRefused: what is not safe, or not what was promised, is refused, whole.
func TestInstallRefused(t *testing.T) {
	o := newOffers(t)
	bomb := packed(t, "manifest.json", fmt.Sprintf(bundleManifest, "1.0.0"), "server/run", testProgram, "zeros", strings.Repeat("\x00", 80<<20))
	for _, c := range []struct {
		what, want string
		data       []byte
	}{
		{"a bomb", "larger than it may be", bomb},
		{"a parent", "not safe to unpack", o.bundle("1.0.0", "../../../../x", "x")},
		{"a link", "not safe to unpack", o.bundle("1.0.0", "out", "link:/etc")},
		{"a case", "one name where case does not count", o.bundle("1.0.0", "SERVER/run", "x")},
		{"the list of hashes", "files.sum", o.bundle("1.0.0", "files.sum", "link:server/run")},
		{"a bad signature", "signature of the bundle is bad", append(o.bundle("1.0.0"), "MCPB_SIG_V1\x05\x00\x00\x00helloMCPB_SIG_END"...)},
		{"something behind it", "follow its end", append(o.bundle("1.0.0"), "more"...)},
		{"no manifest", "no manifest.json", packed(t, "server/run", testProgram)},
		{"no bundle", "no zip file", []byte("hello")},
		{"another system", "it is for win32", packed(t, "manifest.json", strings.Replace(fmt.Sprintf(bundleManifest, "1"), `"server":`, `"compatibility": {"platforms": ["win32"]}, "server":`, 1))},
		{"no program", "no such file", packed(t, "manifest.json", fmt.Sprintf(bundleManifest, "1.0.0"))},
		{"a secret as argument", "every user of the machine sees", packed(t, "manifest.json", strings.Replace(fmt.Sprintf(bundleManifest, "1.0.0"), "user_config.word}", "user_config.token}", 1))},
	} {
		sum := o.put("/a.mcpb", c.data)
		said := o.berth(1, "install", o.url+"/a.mcpb", "--sha256", sum, "--secret", "token=env:MADE_UP", "--yes")
		if !strings.Contains(said, c.want) {
			t.Errorf("%s: %s", c.what, said)
		}
		o.none("sample")
	}
	good := o.bundle("1.0.0")
	sum := o.put("/a.mcpb", good)
	o.says(o.berth(1, "install", o.url+"/a.mcpb", "--sha256", strings.Repeat("0", 64), "--yes"), "another hash", sum, "do not run it")
	o.mu.Lock()
	o.cut = "/a.mcpb"
	o.mu.Unlock()
	o.says(o.berth(1, "install", o.url+"/a.mcpb", "--sha256", sum, "--yes"), "cut off")
	o.says(o.berth(1, "install", o.url+"/none.mcpb", "--sha256", sum, "--yes"), "404")
	o.none("sample")
}

// TestInstallProgram: a program is installed by its hash, as it is or from an archive.
func TestInstallProgram(t *testing.T) {
	o := newOffers(t)
	sum := o.put("/some-tool_linux_amd64", []byte(testProgram))
	o.says(o.berth(0, "install", o.url+"/some-tool_linux_amd64", "--sha256", sum, "--yes", "--", "--stderr", "said by it"), "/some-tool_linux_amd64 --stderr 'said by it'", "some-tool: berth-demo ")
	o.says(o.berth(0, "logs", "some-tool"), "said by it")
	o.says(o.berth(2, "update", "some-tool", "--from", o.url+"/x", "--yes"), "--sha256")
	again := o.put("/v2/some-tool_linux_amd64", []byte(testProgram+"\n"))
	o.berth(0, "stop", "some-tool")
	o.says(o.berth(0, "update", "some-tool", "--from", o.url+"/v2/some-tool_linux_amd64", "--sha256", again, "--yes"), "updated from "+sum[:12]+" to "+again[:12], "said by it")

	both := tarred(t, "dist/tool", "dist/helper", "README")
	sum = o.put("/tool-1.0.tar.gz", both)
	o.says(o.berth(1, "install", o.url+"/tool-1.0.tar.gz", "--sha256", sum, "--yes"), "several programs", "--program PATH names one: README, dist/helper, dist/tool")
	o.says(o.berth(1, "install", o.url+"/tool-1.0.tar.gz", "--sha256", sum, "--program", "dist/none", "--yes"), `no "dist/none" in it`)
	o.says(o.berth(0, "install", o.url+"/tool-1.0.tar.gz", "--sha256", sum, "--program", "dist/tool", "--as", "two", "--yes"), "/dist/tool", "two: berth-demo ")
	// From this machine, and the only one in a zip file.
	archive := filepath.Join(t.TempDir(), "three.zip")
	if err := os.WriteFile(archive, packed(t, "README", "text", "bin/three", testProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	o.says(o.berth(0, "install", archive, "--yes"), "/bin/three", "three: berth-demo ")
	for what, data := range map[string]string{
		"program of Windows": "MZ\x90", "a page": "<html>", "no program of any system": "hello", "another processor": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + "\x08\x00",
	} {
		sum := o.put("/bad", []byte(data))
		said := o.berth(1, "install", o.url+"/bad", "--sha256", sum, "--yes")
		if what = strings.TrimPrefix(what, "no "); !strings.Contains(said, what) {
			t.Errorf("%s: %s", what, said)
		}
	}
	o.berth(0, "uninstall", "some-tool", "two", "three", "--data")
	o.none("bad")
}

// TestInstallListedBundle: of a bundle that a server.json names, the hash is there or it is
// not installed; what it is run with is said by both.
func TestInstallListedBundle(t *testing.T) {
	o := newOffers(t)
	sum := o.put("/a.mcpb", o.bundle("1.0.0"))
	entry := filepath.Join(t.TempDir(), "server.json")
	write := func(hash string) {
		doc := fmt.Sprintf(`{"name": "io.github.someone/listed", "version": "3.0.0", "packages": [{"registryType": "mcpb", "identifier": "%s/a.mcpb", %s
			"transport": {"type": "stdio"}, "environmentVariables": [{"name": "ALSO", "value": "this"}]}]}`, o.url, hash)
		if err := os.WriteFile(entry, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := []string{"install", entry, "--secret", "token=env:MADE_UP", "--yes"}
	write("")
	o.says(o.berth(1, install...), "fileSha256")
	write(`"fileSha256": "` + strings.Repeat("a", 64) + `",`)
	o.says(o.berth(1, install...), "another hash")
	o.none("listed")
	write(`"fileSha256": "` + sum + `",`)
	o.berth(0, install...)
	o.says(o.berth(0, "logs", "listed"), "env: ALSO=this", "env: LEVEL=2")
	o.says(o.berth(0, "config", "listed"), "3.0.0", o.url+"/a.mcpb")
	o.berth(0, "uninstall", "listed", "--purge", "--data")
	o.none("listed")
}
