package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// part is a part of an archive of these tests.
type part struct {
	name, text string
	mode       fs.FileMode
}

func zipOf(t testing.TB, parts ...part) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, p := range parts {
		h := &zip.FileHeader{Name: p.name, Method: zip.Deflate}
		if p.mode != 0 {
			h.SetMode(p.mode)
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, p.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	w := tar.NewWriter(zw)
	for _, h := range headers {
		text := h.Uname // of no meaning here
		h.Uname = ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Size = int64(len(text))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = io.WriteString(w, text)
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

func unzip(data []byte, dir string, l Limits) error {
	b, err := Open(bytes.NewReader(data), int64(len(data)), l)
	if err != nil {
		return err
	}
	return b.Unpack(dir)
}

// within returns a directory in another, and what looks whether anything was written
// beside it.
func within(t testing.TB) (dir string, check func()) {
	outer := t.TempDir()
	dir = filepath.Join(outer, "in")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		t.Helper()
		all, err := os.ReadDir(outer)
		if err != nil || len(all) != 1 {
			t.Fatalf("beside the directory is %v, %v", all, err)
		}
	}
}

func TestUnpack(t *testing.T) {
	const x = fs.FileMode(0o755)
	data := zipOf(t, part{name: "manifest.json", text: "{}"}, part{name: "server/"}, part{name: "server/run", text: "#!", mode: x},
		part{name: "a/b/c", text: "deep", mode: 0o4777}, part{name: "server/link", text: "../a/b", mode: fs.ModeSymlink | 0o777})
	dir, check := within(t)
	if err := unzip(data, dir, DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	check()
	for name, want := range map[string]string{"manifest.json": "{}", "server/run": "#!", "a/b/c": "deep", "server/link/c": "deep"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name, want := range map[string]fs.FileMode{"server/run": 0o755, "manifest.json": 0o644, "a/b/c": 0o755, "a": fs.ModeDir | 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&^0o044 != want&^0o044 {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestUnpackTar(t *testing.T) {
	data := tarOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "./tool", Uname: "#!", Mode: 0o755},
		tar.Header{Name: "doc/a", Uname: "x", Mode: 0o600}, tar.Header{Name: "same", Typeflag: tar.TypeSymlink, Linkname: "doc/a"})
	dir, check := within(t)
	if err := UnpackTar(bytes.NewReader(data), int64(len(data)), dir, DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	check()
	if got, err := os.ReadFile(filepath.Join(dir, "same")); string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []tar.Header{
		{Name: "../x", Uname: "x"}, {Name: "/x", Uname: "x"}, {Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		{Name: "x", Typeflag: tar.TypeFifo}, {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "../../etc"},
	} {
		dir, check := within(t)
		data := tarOf(t, bad)
		if err := UnpackTar(bytes.NewReader(data), int64(len(data)), dir, DefaultLimits()); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%+v: %v", bad, err)
		}
		check()
	}
	dir, _ = within(t)
	l := DefaultLimits()
	l.Total, l.Files = 1<<10, 2
	data = tarOf(t, tar.Header{Name: "x", Uname: strings.Repeat("x", 1<<20)})
	if err := UnpackTar(bytes.NewReader(data), int64(len(data)), dir, l); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a bomb: %v", err)
	}
}

// TestUnsafe: what is no honest archive is refused, and nothing of it is outside.
func TestUnsafe(t *testing.T) {
	const link = fs.ModeSymlink | 0o777
	deep := strings.Repeat("d/", 65) + "f"
	for what, parts := range map[string][]part{
		"a parent":               {{name: "../x"}},
		"a parent within":        {{name: "a/../../x"}},
		"a parent that is not":   {{name: "a/../x"}},
		"an absolute name":       {{name: "/x"}},
		"a backslash":            {{name: `a\..\..\x`}},
		"a drive":                {{name: "C:x"}},
		"a stream":               {{name: "a.txt:b"}},
		"a NUL":                  {{name: "a\x00b"}},
		"a line":                 {{name: "a\nb"}},
		"no UTF-8":               {{name: "a\xff"}},
		"a device":               {{name: "a/NUL.txt"}},
		"a numbered device":      {{name: "com1"}},
		"a dot at the end":       {{name: "a./b"}},
		"an empty part":          {{name: "a//b"}},
		"a dot":                  {{name: "a/./b"}},
		"too deep":               {{name: deep}},
		"too long":               {{name: strings.Repeat("d23456789/", 103) + "f"}},
		"a part that is long":    {{name: strings.Repeat("x", 256)}},
		"twice":                  {{name: "a"}, {name: "a"}},
		"in another case":        {{name: "Read"}, {name: "read"}},
		"a directory's case":     {{name: "Dir/a"}, {name: "dir/b"}},
		"a sign for Kelvin":      {{name: "K"}, {name: "k"}},
		"a file and a directory": {{name: "a"}, {name: "a/b"}},
		"a directory and a file": {{name: "a/b"}, {name: "a"}},
		"a link out":             {{name: "l", text: "../x", mode: link}},
		"an absolute link":       {{name: "l", text: "/etc", mode: link}},
		"a link to nothing":      {{name: "l", text: "none", mode: link}},
		"a link to itself":       {{name: "l", text: "l", mode: link}},
		"by way of a link":       {{name: "l", text: "d", mode: link}, {name: "d/"}, {name: "l/x", text: "x"}},
		"a link by a link":       {{name: "d/e", text: "../x", mode: link}, {name: "x/f"}, {name: "l", text: "d/e/../../y", mode: link}},
		"two links that lead out": {
			{name: "a/b/up", text: "../..", mode: link}, {name: "a/b/out", text: "up/../y", mode: link},
		},
		"a pipe":        {{name: "p", mode: fs.ModeNamedPipe | 0o600}},
		"a device file": {{name: "p", mode: fs.ModeDevice | 0o600}},
	} {
		dir, check := within(t)
		if err := unzip(zipOf(t, parts...), dir, DefaultLimits()); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", what, err)
		}
		check()
	}
}

// TestBombs: what is unpacked is counted while it is read.
func TestBombs(t *testing.T) {
	small := Limits{Files: 10, Directory: 1 << 20, File: 1 << 16, Total: 1 << 18, Ratio: 100, Slack: 1 << 12, Name: 100, Depth: 8}
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	many := []part{}
	for i := range 11 {
		many = append(many, part{name: fmt.Sprint("f", i)})
	}
	random := make([]byte, 1<<15)
	for i := range random { // hard to compress
		random[i] = byte(i*i>>3 ^ i>>5 ^ i*7919>>4)
	}
	for what, data := range map[string][]byte{
		"one file": zipOf(t, part{name: "a", text: zeros(1<<16 + 1)}),
		"by ratio": zipOf(t, part{name: "a", text: zeros(1 << 16)}, part{name: "b", text: zeros(1 << 16)}),
		"in all":   zipOf(t, part{name: "r", text: string(random)}, part{name: "a", text: zeros(1 << 16)}, part{name: "b", text: zeros(1 << 16)}, part{name: "c", text: zeros(1 << 16)}, part{name: "d", text: zeros(1 << 16)}),
		"many":     zipOf(t, many...),
	} {
		dir, _ := within(t)
		if err := unzip(data, dir, small); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", what, err)
		}
		if n := sizeOf(t, dir); n > small.Total+1 {
			t.Errorf("%s: %d bytes were written", what, n)
		}
	}
	dir, _ := within(t)
	if err := unzip(lie(t, zeros(1<<17)), dir, small); err == nil || sizeOf(t, dir) > 1<<16+1 {
		t.Errorf("a size that is a lie: %v, %d bytes", err, sizeOf(t, dir))
	}
	l := small
	l.Directory = 10 - 1<<20
	if err := unzip(zipOf(t, many[:5]...), t.TempDir(), l); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a list that is too long: %v", err)
	}
	big := zipOf(t, part{name: ManifestName, text: zeros(MaxManifest + 1)})
	b, err := Open(bytes.NewReader(big), int64(len(big)), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Manifest(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a manifest that is too long: %v", err)
	}
}

// lie is a zip file whose header says that a file has one byte.
func lie(t *testing.T, text string) []byte {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 9)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.CreateRaw(&zip.FileHeader{Name: "a", Method: zip.Deflate, CompressedSize64: uint64(packed.Len()), UncompressedSize64: 1})
	if err == nil {
		_, err = f.Write(packed.Bytes())
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sizeOf(t *testing.T, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEnd: what is no zip file to its last byte is none.
func TestEnd(t *testing.T) {
	data := zipOf(t, part{name: "a", text: "x"})
	for what, bad := range map[string][]byte{
		"nothing":       {},
		"a text":        []byte("hello, this is no zip file at all"),
		"cut":           data[:len(data)-1],
		"more":          append(bytes.Clone(data), 'x'),
		"an old mark":   append(bytes.Clone(data), sigBegin...),
		"only its head": data[:10],
	} {
		if err := unzip(bad, t.TempDir(), DefaultLimits()); err == nil {
			t.Errorf("%s: it was unpacked", what)
		}
	}
	damaged := bytes.Clone(data)
	i := bytes.Index(damaged, []byte("a")) + 1 // what is packed
	damaged[i] ^= 0xff
	if err := unzip(damaged, t.TempDir(), DefaultLimits()); err == nil {
		t.Error("a damaged file was unpacked")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(zipOf(f, part{name: "manifest.json", text: "{}"}, part{name: "a/b", text: "x", mode: 0o755}))
	f.Add(zipOf(f, part{name: "../x", text: "x"}, part{name: "l", text: "../y", mode: fs.ModeSymlink | 0o777}))
	f.Add(append(zipOf(f, part{name: "a"}), append(binary.LittleEndian.AppendUint32([]byte(sigBegin), 3), "abc"+sigEnd...)...))
	f.Add(tarOf(f, tar.Header{Name: "a", Uname: "x"}))
	l := Limits{Files: 20, Directory: 1 << 16, File: 1 << 16, Total: 1 << 17, Ratio: 100, Slack: 1 << 12, Name: 100, Depth: 8}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, check := within(t)
		if b, err := Open(bytes.NewReader(data), int64(len(data)), l); err == nil {
			_, _ = b.Manifest()
			_, _ = b.Signature(nil, testTime)
			_ = b.Unpack(dir)
		} else {
			_ = UnpackTar(bytes.NewReader(data), int64(len(data)), dir, l)
		}
		check()
		if n := sizeOfAny(dir); n > l.Total+1 {
			t.Errorf("%d bytes were written", n)
		}
	})
}

func sizeOfAny(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
