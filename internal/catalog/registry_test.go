package catalog

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// registry is a registry of npm packages and an index of Python wheels, at an
// address of this machine.
type registry struct {
	*httptest.Server

	mu      sync.Mutex                   // guards the fields below
	npm     map[string]map[string]npmPkg // by name and version
	wheels  map[string]map[string][]byte // by name and file name
	forged  map[string][]byte            // sent in the place of a file
	cut     map[string]bool              // files of which half is sent
	fetched map[string]int               // how often a file was asked for
	onFile  func(path string)            // before a file is sent
	lazy    map[string][]string          // directories of packages that nobody asked for yet
}

type npmPkg struct {
	manifest map[string]any
	tarball  []byte
}

func newRegistry(t testing.TB) *registry {
	r := &registry{npm: map[string]map[string]npmPkg{}, wheels: map[string]map[string][]byte{}, forged: map[string][]byte{}, fetched: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	path := strings.TrimPrefix(req.URL.Path, "/")
	r.pack(path)
	r.mu.Lock()
	onFile, forged, cut := r.onFile, r.forged[path], r.cut[path]
	var body []byte
	switch {
	case strings.HasPrefix(path, "simple/"):
		name := strings.Trim(strings.TrimPrefix(path, "simple/"), "/")
		files, ok := r.wheels[name]
		if !ok {
			break
		}
		var b strings.Builder
		for _, file := range slices.Sorted(maps.Keys(files)) {
			sum := sha256.Sum256(files[file])
			fmt.Fprintf(&b, "<a href=\"%s/wheel/%s/%s#sha256=%x\">%s</a>\n", r.URL, name, file, sum, file)
		}
		body = []byte("<!DOCTYPE html><html><body>" + b.String() + "</body></html>")
		w.Header().Set("Content-Type", "text/html")
	case strings.HasPrefix(path, "wheel/"):
		parts := strings.Split(path, "/")
		body = r.wheels[parts[1]][parts[2]]
		r.fetched[path]++
	case strings.Contains(path, "/-/"):
		name, file, _ := strings.Cut(path, "/-/")
		body = r.npm[name][strings.TrimSuffix(file, ".tgz")].tarball
		r.fetched[path]++
	default:
		if name, err := url.PathUnescape(path); err == nil && r.npm[name] != nil {
			body = r.packument(name)
			w.Header().Set("Content-Type", "application/json")
		}
	}
	r.mu.Unlock()
	if forged != nil {
		body = forged
	}
	if body == nil {
		http.NotFound(w, req)
		return
	}
	if onFile != nil && (strings.HasPrefix(path, "wheel/") || strings.Contains(path, "/-/")) {
		onFile(path)
	}
	if cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// packument is what npm is told of a package.
func (r *registry) packument(name string) []byte {
	versions := map[string]any{}
	last := ""
	for version, p := range r.npm[name] {
		m := maps.Clone(p.manifest)
		sum := sha512.Sum512(p.tarball)
		m["dist"] = map[string]any{
			"tarball":   r.URL + "/" + name + "/-/" + version + ".tgz",
			"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
		}
		if scripts, ok := m["scripts"].(map[string]any); ok && (scripts["install"] != nil || scripts["preinstall"] != nil || scripts["postinstall"] != nil) {
			m["hasInstallScript"] = true
		}
		versions[version] = m
		if version > last {
			last = version
		}
	}
	doc, err := json.Marshal(map[string]any{"name": name, "versions": versions, "dist-tags": map[string]string{"latest": last}})
	if err != nil {
		panic(err)
	}
	return doc
}

// publish adds a package of these files, of which package.json is one.
func (r *registry) publish(t testing.TB, files map[string]string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.add(files); err != nil {
		t.Fatal(err)
	}
}

func (r *registry) add(files map[string]string) error {
	var manifest map[string]any
	if err := json.Unmarshal([]byte(files["package.json"]), &manifest); err != nil {
		return err
	}
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := tw.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return err
		}
		if _, err := tw.Write([]byte(files[name])); err != nil {
			return err
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return err
	}
	name, version := manifest["name"].(string), manifest["version"].(string)
	if r.npm[name] == nil {
		r.npm[name] = map[string]npmPkg{}
	}
	r.npm[name][version] = npmPkg{manifest, buf.Bytes()}
	return nil
}

// publishInstalled adds what npm has installed below a directory: the real thing,
// which is packed when somebody asks for it.
func (r *registry) publishInstalled(t testing.TB, modules string) {
	t.Helper()
	r.lazy = map[string][]string{}
	err := filepath.WalkDir(modules, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "package.json" {
			return err
		}
		dir := filepath.Dir(path)
		name, above := filepath.Base(dir), filepath.Dir(dir)
		if scope := filepath.Base(above); strings.HasPrefix(scope, "@") {
			name, above = scope+"/"+name, filepath.Dir(above)
		}
		if filepath.Base(above) == "node_modules" {
			r.lazy[name] = append(r.lazy[name], dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pack publishes the package that a path is about.
func (r *registry) pack(path string) {
	name, err := url.PathUnescape(path)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, dir := range r.lazy[name] {
		files := map[string]string{}
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "node_modules" {
				return fs.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(file)
			rel, _ := filepath.Rel(dir, file)
			files[filepath.ToSlash(rel)] = string(data)
			return err
		})
		if err == nil {
			err = r.add(files)
		}
		if err != nil {
			panic(err)
		}
	}
	delete(r.lazy, name)
}

// wheel adds a package of Python.
func (r *registry) wheel(t testing.TB, name, version, metadata string, files map[string]string) {
	t.Helper()
	under := strings.ReplaceAll(name, "-", "_")
	info := under + "-" + version + ".dist-info/"
	files = maps.Clone(files)
	files[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n" + metadata
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	if entry, ok := files["entry_points.txt"]; ok {
		delete(files, "entry_points.txt")
		files[info+"entry_points.txt"] = entry
	}
	var record strings.Builder
	for _, file := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[file]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", file, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[file]))
	}
	files[info+"RECORD"] = record.String() + info + "RECORD,,\n"
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		w, err := zw.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[file])); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wheels[name] == nil {
		r.wheels[name] = map[string][]byte{}
	}
	r.wheels[name][under+"-"+version+"-py3-none-any.whl"] = buf.Bytes()
}

// environ is the environment of somebody who uses the registry, and nothing else.
func (r *registry) environ(t testing.TB, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	host := strings.TrimPrefix(r.URL, "http://")
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir,
		"npm_config_registry=" + r.URL, "npm_config_cache=" + filepath.Join(dir, "npm"),
		"PIP_INDEX_URL=" + r.URL + "/simple", "PIP_TRUSTED_HOST=" + host, "PIP_CACHE_DIR=" + filepath.Join(dir, "pip"),
		"UV_DEFAULT_INDEX=" + r.URL + "/simple", "UV_CACHE_DIR=" + filepath.Join(dir, "uv"), "UV_PYTHON_DOWNLOADS=never",
	}, more...)
}

// forge has a file be sent with other contents than was said.
func (r *registry) forge(path string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forged[path] = body
}

func (r *registry) count(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetched[path]
}
