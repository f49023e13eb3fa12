package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// TestPodman runs images by a real podman, which has a store of its own here. The image is this
// test binary with its libraries, the registry what podman wrote into a directory.
func TestPodman(t *testing.T) {
	if os.Getenv("BERTH_TEST_PODMAN") != "1" {
		t.Skip("this needs BERTH_TEST_PODMAN=1 and podman")
	}
	real, err := exec.LookPath("podman")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "berth-podman-") // podman makes sockets below it
	if err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		cmd := exec.Command(real, args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("podman %q: %v\n%s", args, err, &stderr)
		}
		return string(out)
	}
	t.Cleanup(func() {
		podman("image", "rm", "-a", "-f")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}

	pushed := filepath.Join(dir, "pushed")
	registry := httptest.NewServer(serveImage(pushed))
	t.Cleanup(registry.Close)
	host := strings.TrimPrefix(registry.URL, "http://")
	t.Setenv("CONTAINERS_STORAGE_CONF", write("storage.conf",
		fmt.Sprintf("[storage]\ndriver = \"vfs\"\nrunroot = %q\ngraphroot = %q\n", dir+"/run", dir+"/graph")))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", write("registries.conf",
		fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", host)))
	// What podman says of a removal is kept.
	said := filepath.Join(dir, "removals")
	wrapper := write("bin/podman", fmt.Sprintf("#!/bin/sh\ncase $1 in\nrm) %[1]s \"$@\" >>%[2]s 2>&1 ;;\n*) exec %[1]s \"$@\" ;;\nesac\n", real, said))
	// A docker that is here would go before it.
	write("bin/docker", "#!/bin/sh\nexec "+wrapper+" \"$@\"\n")
	t.Setenv("PATH", filepath.Dir(wrapper)+":"+os.Getenv("PATH"))

	// push makes the next version of the image, which has another digest.
	push := func(version string) {
		t.Helper()
		podman("import", "-c", `ENTRYPOINT ["/testserver"]`, "-c", "ENV VERSION="+version, rootfs(t, dir), host+"/x/y:1")
		if err := os.RemoveAll(pushed); err != nil {
			t.Fatal(err)
		}
		podman("push", "-q", "--format", "oci", host+"/x/y:1", "dir:"+pushed)
		podman("image", "rm", "-a", "-f")
	}
	push("1")
	b := newBench(t)
	containers := func() []string { return strings.Fields(podman("ps", "-a", "-q", "--no-trunc")) }
	want := func(n int, when string) {
		t.Helper()
		if got := containers(); len(got) != n {
			t.Fatalf("%s: containers %q, want %d", when, got, n)
		}
	}
	call := func(name string) {
		t.Helper()
		if out := b.berth("call", name, "echo", `{"message":"hi"}`); strings.TrimSpace(out) != "hi" {
			t.Fatalf("%s says %q", name, out)
		}
		want(1, "a call of "+name)
	}

	b.do("install", "oci:"+host+"/x/y:1", "--yes", "--as", "plain", "--no-run")
	deaf := write("server.json", fmt.Sprintf(`{"name": "io.github.someone/deaf", "description": "A sample", "version": "1.0.0", "packages": [
		{"registryType": "oci", "identifier": "%s/x/y:1", "transport": {"type": "stdio"}, "packageArguments": [{"type": "positional", "value": "--deaf"}]}]}`, host))
	b.do("install", deaf, "--yes", "--as", "deaf", "--no-run")
	file := filepath.Join(b.dir, "servers", "deaf.toml")
	manifest, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(manifest, []byte("[berth]\n"), []byte("[berth]\ngrace = \"100ms\"\n"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Dir(write("shared/file", "x"))
	b.berth("permissions", "plain", "--grant", "filesystem:read:"+shared)
	for _, name := range []string{"plain", "deaf"} {
		call(name)
		first := containers()[0]
		pid := b.status(name).PID
		b.kill(pid)
		if err := awaitStatus(b, name, func(st berth.Status) bool { return st.PID != pid }); err != nil {
			t.Fatal(err)
		}
		call(name)
		if containers()[0] == first {
			t.Errorf("%s: the container is that of the client that was killed", name)
		}
		b.kill(b.status(name).ShimPID)
		call(name)
		b.berth("stop", name)
		want(0, "the stop of "+name)
	}
	removals, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"could not be stopped", "in 10 seconds"} {
		if bytes.Contains(removals, []byte(bad)) {
			t.Errorf("a removal had to wait for podman: %s", removals)
		}
	}

	call("plain")
	var held []struct {
		Mounts []struct {
			Source string
			RW     bool
		}
		EffectiveCaps []string
		HostConfig    struct {
			ReadonlyRootfs bool
			NetworkMode    string
		}
	}
	if err := json.Unmarshal([]byte(podman("inspect", containers()[0])), &held); err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	if c := held[0]; len(c.Mounts) != 1 || c.Mounts[0].Source != shared || c.Mounts[0].RW ||
		len(c.EffectiveCaps) != 0 || !c.HostConfig.ReadonlyRootfs || c.HostConfig.NetworkMode != "none" {
		t.Errorf("podman holds it to %+v", c)
	}

	was := b.berth("list", "plain", "--json")
	b.berth("stop", "plain")
	push("2")
	b.do("update", "plain", "--yes")
	if now := b.berth("list", "plain", "--json"); now == was {
		t.Error("the update took no other image:", now)
	}
	call("plain")
	b.berth("stop", "plain")
	b.do("rollback", "plain", "--yes")
	b.do("uninstall", "plain", "deaf", "--purge", "--data")
	want(0, "uninstall")
}

// rootfs is a file system with the test server and the libraries that it needs, as a tar file.
func rootfs(t *testing.T, dir string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", exe).CombinedOutput()
	if err != nil && !bytes.Contains(out, []byte("not a dynamic")) {
		t.Fatalf("ldd: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "root.tar")
	args := []string{"-c", "-h", "-P", "-f", file, "--transform", "s|^" + exe + "$|/testserver|", "--transform", "s|^/||", exe}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		for _, word := range strings.Fields(lines.Text()) {
			if strings.HasPrefix(word, "/") {
				args = append(args, word)
			}
		}
	}
	if out, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return file
}

// serveImage is the part of the OCI distribution API that a pull uses, for the one image
// that "podman push dir:" wrote into dir.
func serveImage(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/x/y/manifests/{ref}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		http.ServeFile(w, r, filepath.Join(dir, "manifest.json"))
	})
	mux.HandleFunc("GET /v2/x/y/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(strings.TrimPrefix(r.PathValue("digest"), "sha256:"))))
	})
	return mux
}
