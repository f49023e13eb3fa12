package link_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/link"
	"github.com/berth-run/berth/internal/settings"
	"github.com/berth-run/berth/internal/vault"
)

const before = "{\n    // mine\n    \"mcpServers\": {\n        \"x\": {\"command\": \"y\"}\n    }\n}\n"

func entry() settings.Entry {
	return settings.Entry{{Key: "command", Value: "/usr/bin/berth"}, {Key: "args", Value: []string{"proxy"}}}
}

// desk is a home, and a directory with a client's file.
type desk struct {
	*testing.T
	book *link.Book
	home *home.Home
	file string
}

func newDesk(t *testing.T, doc string) *desk {
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "1")
	h, err := home.Open(filepath.Join(t.TempDir(), "home"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(h, &vault.Options{Place: vault.PlaceFile})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t, link.Open(h, v), h, filepath.Join(t.TempDir(), "mcp.json")}
	if doc != "" {
		d.write(d.file, doc)
	}
	return d
}

func (d *desk) write(path, text string) {
	d.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) read() string {
	d.Helper()
	text, err := os.ReadFile(d.file)
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

func (d *desk) target() link.Target {
	return link.Target{Client: "test", Scope: "user", File: d.file, Format: settings.JSON, Path: []string{"mcpServers", "berth"}}
}

func (d *desk) put(o *link.PutOptions) (link.Outcome, error) {
	return d.book.Put(context.Background(), d.target(), entry(), o)
}

func (d *desk) mustPut(done string) {
	d.Helper()
	out, err := d.put(nil)
	if err != nil || out.Done != done {
		d.Fatalf("%s, not %s: %v", out.Done, done, err)
	}
}

func (d *desk) take(force bool, done string) {
	d.Helper()
	records, err := d.book.Records()
	if err != nil || len(records) != 1 {
		d.Fatal(records, err)
	}
	out, err := d.book.Take(context.Background(), records[0], force, false)
	if err != nil || out.Done != done {
		d.Fatalf("%s, not %s: %v", out.Done, done, err)
	}
	if left, err := d.book.Records(); err != nil || len(left) != 0 {
		d.Fatal("the record stays", left, err)
	}
}

func (d *desk) state(want link.State) {
	d.Helper()
	records, err := d.book.Records()
	if err != nil || len(records) != 1 {
		d.Fatal(records, err)
	}
	if got, err := records[0].State(); got != want {
		d.Fatalf("it is %s, not %s (%v)", got, want, err)
	}
}

// only says that nothing else is left in the directory of the file.
func (d *desk) only(names ...string) {
	d.Helper()
	entries, err := os.ReadDir(filepath.Dir(d.file))
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if err != nil || strings.Join(found, " ") != strings.Join(names, " ") {
		d.Fatalf("beside the file there are %q (%v)", found, err)
	}
}

func TestLinkAndUnlink(t *testing.T) {
	d := newDesk(t, before)
	d.mustPut("linked")
	if !strings.Contains(d.read(), `"berth": {`) || !strings.Contains(d.read(), "// mine") {
		t.Fatal(d.read())
	}
	d.state(link.Linked)
	d.mustPut("unchanged")
	original, err := d.book.Original(d.file)
	if err != nil || string(original) != before {
		t.Fatalf("the original: %q, %v", original, err)
	}
	// Nothing of the file is in the home but in what is encrypted.
	_ = filepath.WalkDir(d.home.Dir(), func(path string, e fs.DirEntry, err error) error {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte("// mine")) {
			t.Errorf("%s has the file in clear", path)
		}
		return nil
	})
	d.take(false, "unlinked")
	if d.read() != before {
		t.Fatalf("it went back to %q", d.read())
	}
	if _, err := d.book.Original(d.file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the original is kept, though the file is that:", err)
	}
	d.only("mcp.json")
}

func TestAnotherEntryUpdatesOurs(t *testing.T) {
	d := newDesk(t, before)
	d.mustPut("linked")
	other := settings.Entry{{Key: "url", Value: "http://x"}}
	out, err := d.book.Put(context.Background(), d.target(), other, nil)
	if err != nil || out.Done != "updated" || strings.Contains(d.read(), "/usr/bin/berth") {
		t.Fatal(out.Done, err, d.read())
	}
	d.take(false, "unlinked")
	if d.read() != before {
		t.Fatal(d.read())
	}
}

func TestAFileThatWasMadeIsRemoved(t *testing.T) {
	d := newDesk(t, "")
	d.file = filepath.Join(filepath.Dir(d.file), "new", "deep", "mcp.json")
	d.mustPut("linked")
	if runtime.GOOS != "windows" {
		if info, err := os.Stat(d.file); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
	}
	d.take(false, "unlinked")
	if _, err := os.Stat(d.file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there", err)
	}
	// An empty one that was there before stays.
	d = newDesk(t, "")
	d.write(d.file, "")
	d.mustPut("linked")
	d.take(false, "unlinked")
	if d.read() != "" {
		t.Error(d.read())
	}
}

func TestAnEditedEntryIsKept(t *testing.T) {
	d := newDesk(t, before)
	d.mustPut("linked")
	d.write(d.file, strings.Replace(d.read(), `"proxy"`, `"proxy", "--profile", "work"`, 1))
	edited := d.read()
	d.state(link.Edited)
	if _, err := d.put(nil); !errors.Is(err, link.ErrForeign) {
		t.Error("it was written over:", err)
	}
	d.take(false, "kept")
	if d.read() != edited {
		t.Error(d.read())
	}
	// A client that only writes it in another form has not edited it.
	d = newDesk(t, before)
	d.mustPut("linked")
	var doc any
	if err := json.Unmarshal([]byte(strings.Replace(d.read(), "// mine", "", 1)), &doc); err != nil {
		t.Fatal(err)
	}
	flat, _ := json.Marshal(doc)
	d.write(d.file, string(flat))
	d.state(link.Linked)
	d.take(false, "unlinked")
	if got := d.read(); got != `{"mcpServers":{"x":{"command":"y"}}}` {
		t.Error(got)
	}
	// With force, it goes.
	d = newDesk(t, before)
	d.mustPut("linked")
	d.write(d.file, strings.Replace(d.read(), `"proxy"`, `"other"`, 1))
	d.take(true, "unlinked")
	if d.read() != before {
		t.Error(d.read())
	}
}

func TestAUsersOwnEntryIsNotTakenOver(t *testing.T) {
	own := "{\"mcpServers\": {\"berth\": {\"command\": \"mine\"}}}"
	d := newDesk(t, own)
	if _, err := d.put(nil); !errors.Is(err, link.ErrForeign) {
		t.Fatal(err)
	}
	if records, err := d.book.Records(); err != nil || len(records) != 0 || d.read() != own {
		t.Fatal(records, err, d.read())
	}
	out, err := d.put(&link.PutOptions{Force: true})
	if err != nil || out.Done != "updated" {
		t.Fatal(out.Done, err)
	}
	if original, err := d.book.Original(d.file); err != nil || string(original) != own {
		t.Fatal(string(original), err)
	}
	d.take(false, "unlinked")
	if d.read() != own {
		t.Error(d.read())
	}
}

func TestGone(t *testing.T) {
	d := newDesk(t, before)
	d.mustPut("linked")
	d.write(d.file, "{}")
	d.state(link.Gone)
	d.take(false, "gone")
	d.mustPut("linked")
	if err := os.Remove(d.file); err != nil {
		t.Fatal(err)
	}
	d.state(link.Gone)
	d.take(false, "gone")
}

// TestWhatAKilledProcessLeft is removed by the next, and nothing else is.
func TestWhatAKilledProcessLeft(t *testing.T) {
	d := newDesk(t, before)
	old := time.Now().Add(-48 * time.Hour)
	for name, at := range map[string]time.Time{".mcp.json.berth-1": old, ".mcp.json.berth-2": time.Now(), ".other.json.berth-3": old, "mcp.json.bak": old} {
		path := filepath.Join(filepath.Dir(d.file), name)
		d.write(path, "x")
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	d.mustPut("linked")
	d.only(".mcp.json.berth-2", ".other.json.berth-3", "mcp.json", "mcp.json.bak")
	// It was killed between the note and the file: the entry is written now.
	d.write(d.file, before)
	d.state(link.Gone)
	d.mustPut("linked")
	d.take(false, "unlinked")
	if d.read() != before {
		t.Error(d.read())
	}
}

func TestDry(t *testing.T) {
	d := newDesk(t, before)
	out, err := d.put(&link.PutOptions{Dry: true})
	if err != nil || out.Done != "linked" || !strings.Contains(string(out.After), "berth") || d.read() != before {
		t.Fatal(out, err)
	}
	if records, err := d.book.Records(); err != nil || len(records) != 0 {
		t.Fatal(records, err)
	}
}

func TestSymbolicLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // it needs a right there
	}
	d := newDesk(t, "")
	dotfiles := filepath.Join(t.TempDir(), "real.json")
	d.write(dotfiles, before)
	if err := errors.Join(os.Chmod(dotfiles, 0o640), os.Symlink(dotfiles, d.file)); err != nil {
		t.Fatal(err)
	}
	d.mustPut("linked")
	if to, err := os.Readlink(d.file); err != nil || to != dotfiles {
		t.Fatal("the link is no link any more:", to, err)
	}
	if info, err := os.Stat(dotfiles); err != nil || info.Mode().Perm() != 0o640 {
		t.Fatal(info.Mode(), err)
	}
	d.take(false, "unlinked")
	if d.read() != before {
		t.Error(d.read())
	}
	// One that leads nowhere.
	if err := errors.Join(os.Remove(dotfiles)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.put(nil); err == nil || !strings.Contains(err.Error(), "a symbolic link to nothing") {
		t.Error(err)
	}
}

// TestLeftAlone: what must not or cannot be edited is left as it is, and no link is
// written down.
func TestLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		mode fs.FileMode
		want string
	}{
		"read-only":      {before, 0o400, "is read-only"},
		"broken":         {"{\n  \"a\": 1,\n  oops }", 0o600, "mcp.json: line 3, column 3: "},
		"another shape":  {"{\"mcpServers\": [1]}", 0o600, "mcp.json: line 1, column 16: mcpServers is not an object"},
		"not text":       {"\xff\xfe{\x00}\x00", 0o600, "line 1, column 1: it is not UTF-8"},
		"no JSON at all": {"hello", 0o600, "line 1, column 1: "},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode&0o200 == 0 && runtime.GOOS == "windows" {
				return
			}
			d := newDesk(t, c.doc)
			// Old enough for nobody to be in the middle of writing it.
			old := time.Now().Add(-time.Hour)
			if err := errors.Join(os.Chtimes(d.file, old, old), os.Chmod(d.file, c.mode)); err != nil {
				t.Fatal(err)
			}
			_, err := d.put(nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
			if d.read() != c.doc {
				t.Error("it was changed:", d.read())
			}
			if records, err := d.book.Records(); err != nil || len(records) != 0 {
				t.Error(records, err)
			}
			d.only("mcp.json")
		})
	}
	d := newDesk(t, "")
	if err := os.Mkdir(d.file, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.put(nil); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Error(err)
	}
	d = newDesk(t, "x")
	if err := os.Truncate(d.file, 65<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := d.put(nil); err == nil || !strings.Contains(err.Error(), "has more than") {
		t.Error(err)
	}
}

func TestTheClientsOwnCommand(t *testing.T) {
	d := newDesk(t, before)
	ran := 0
	own := func(context.Context) error {
		ran++
		// It writes the file in its own way, with a member of its own.
		d.write(d.file, `{"mcpServers":{"x":{"command":"y"},"berth":{"type":"stdio","command":"/usr/bin/berth","args":["proxy"]}}}`)
		return nil
	}
	out, err := d.put(&link.PutOptions{Own: own})
	if err != nil || out.Done != "linked" || ran != 1 {
		t.Fatal(out.Done, err, ran)
	}
	d.state(link.Linked)
	d.take(false, "unlinked")
	if d.read() != `{"mcpServers":{"x":{"command":"y"}}}` {
		t.Error(d.read())
	}
	// One that does nothing, or fails: the file is edited.
	for _, err := range []error{nil, errors.New("no")} {
		d := newDesk(t, before)
		out, err := d.put(&link.PutOptions{Own: func(context.Context) error { return err }})
		if err != nil || out.Done != "linked" {
			t.Fatal(out.Done, err)
		}
		d.take(false, "unlinked")
		if d.read() != before {
			t.Error(d.read())
		}
	}
	// Where an entry is there, it is not asked.
	d = newDesk(t, `{"mcpServers":{"berth":{}}}`)
	if _, err := d.put(&link.PutOptions{Own: own}); !errors.Is(err, link.ErrForeign) || ran != 1 {
		t.Error(err, ran)
	}
}

func TestADamagedBookIsLeftAlone(t *testing.T) {
	d := newDesk(t, before)
	d.write(d.home.LinksPath(), "{")
	if _, err := d.put(nil); err == nil || !strings.Contains(err.Error(), "links.json") || d.read() != before {
		t.Error(err)
	}
}

// TestAWriterLosesNothing: a program that rewrites the file 50 times in a second, by a
// rename or in place, loses none of its keys, nor does Berth its entry for good.
func TestAWriterLosesNothing(t *testing.T) {
	for _, how := range []string{"rename", "in place"} {
		t.Run(how, func(t *testing.T) {
			d := newDesk(t, "{\"n\": 0, \"mcpServers\": {}}")
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			var writer sync.WaitGroup
			count := 0
			writer.Go(func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
					count++
					if err := addKey(d.file, fmt.Sprint("key", count), how == "rename"); err != nil {
						t.Error(err)
						return
					}
				}
			})
			for range 15 {
				// The writer may have read the file before the entry was there, or was taken
				// out, and written it after: then it is gone and is written again, as berth
				// link does after two seconds; or it is back, and nobody's.
				for {
					_, err := d.put(nil)
					if errors.Is(err, link.ErrForeign) {
						_, err = d.put(&link.PutOptions{Force: true})
					}
					if err != nil {
						t.Fatal(err)
					}
					records, err := d.book.Records()
					if err != nil {
						t.Fatal(err)
					}
					if state, err := records[0].State(); state == link.Linked {
						break
					} else if state != link.Gone && how == "rename" { // else half of it may be seen
						t.Fatal(state, err)
					}
				}
				records, err := d.book.Records()
				if err != nil {
					t.Fatal(err)
				}
				if out, err := d.book.Take(context.Background(), records[0], false, false); err != nil {
					t.Fatal(out.Done, err)
				}
			}
			stop()
			writer.Wait()
			var doc map[string]any
			if err := json.Unmarshal([]byte(d.read()), &doc); err != nil {
				t.Fatal(err)
			}
			for i := range count {
				if _, ok := doc[fmt.Sprint("key", i+1)]; !ok {
					t.Errorf("key%d of %d is lost", i+1, count)
				}
			}
		})
	}
}

// addKey is what a client does: it reads its file, changes it, and writes all of it.
func addKey(path, key string, rename bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	doc := map[string]any{}
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	doc[key] = true
	if text, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return err
	}
	if !rename {
		return os.WriteFile(path, text, 0o600)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// What a user let Berth replace is back with unlink: byte for byte where nothing else
// has changed, and what it said where something has.
func TestAReplacedEntryComesBack(t *testing.T) {
	const own = "{\n  // mine\n  \"mcpServers\": {\n    \"berth\": {\"command\": \"mine\", \"env\": {\"KEY\": \"secret\"}, \"n\": 3},  // own\n    \"x\": {}\n  }\n}\n"
	d := newDesk(t, own)
	if _, err := d.put(&link.PutOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(d.read(), "secret") {
		t.Error("it was not replaced", d.read())
	}
	for _, path := range d.homeFiles() {
		if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte("secret")) {
			t.Error(path, "has what was replaced in clear", err)
		}
	}
	d.mustPut("unchanged")
	d.take(false, "unlinked")
	if d.read() != own {
		t.Errorf("it went back to %q", d.read())
	}
	// Another edit meanwhile stays.
	if _, err := d.put(&link.PutOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	d.write(d.file, strings.Replace(d.read(), "// mine", "// still mine", 1))
	d.take(false, "unlinked")
	value, _, err := settings.Get(settings.JSON, []byte(d.read()), settings.Place{Path: []string{"mcpServers", "berth"}})
	if text, _ := json.Marshal(value); err != nil || string(text) != `{"command":"mine","env":{"KEY":"secret"},"n":3}` {
		t.Errorf("%s, %v", text, err)
	}
	if !strings.Contains(d.read(), "still mine") {
		t.Error("the edit is gone", d.read())
	}
	// Kept is the file as it was before the first link, and nothing that was replaced.
	kept := slices.DeleteFunc(d.homeFiles(), func(path string) bool { return filepath.Base(filepath.Dir(path)) != "originals" })
	if len(kept) > 1 {
		t.Error("what was replaced is kept", kept)
	}
}

// homeFiles are the files of the home.
func (d *desk) homeFiles() (paths []string) {
	d.Helper()
	err := filepath.WalkDir(filepath.Dir(d.home.LinksPath()), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	return paths
}

// An entry that cannot be put back as it was is not given up without a word.
func TestAReplacedEntryThatCannotComeBack(t *testing.T) {
	d := newDesk(t, `{"mcpServers": {"berth": {"command": "mine", "n": 1.5}}}`)
	if _, err := d.put(&link.PutOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	d.write(d.file, strings.Replace(d.read(), "{", "{ ", 1))
	records, err := d.book.Records()
	if err != nil {
		t.Fatal(err)
	}
	before := d.read()
	if _, err := d.book.Take(context.Background(), records[0], false, false); err == nil || !strings.Contains(err.Error(), "cannot be put back") || d.read() != before {
		t.Error(err, d.read())
	}
	d.take(true, "unlinked")
}

func TestAgainIsOnlyWhereItWas(t *testing.T) {
	d := newDesk(t, before)
	if out, err := d.put(&link.PutOptions{Again: true}); err != nil || out.Done != "gone" || d.read() != before {
		t.Error(out.Done, err, d.read())
	}
	d.mustPut("linked")
	d.write(d.file, before)
	if out, err := d.put(&link.PutOptions{Again: true}); err != nil || out.Done != "linked" {
		t.Error(out.Done, err)
	}
	d.take(false, "unlinked")
	if d.read() != before {
		t.Error(d.read())
	}
}

// Watch looks again after each way in which programs change a file.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path, real := filepath.Join(dir, "deep", "er", "mcp.json"), filepath.Join(dir, "dotfiles.json")
	looks := make(chan struct{}, 100)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- link.Watch(ctx, func(context.Context) ([]string, error) {
			looks <- struct{}{}
			return []string{path}, nil
		})
	}()
	step := func(what string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(what, err)
		}
		select {
		case <-looks:
		case err := <-ended:
			t.Fatal(what, err)
		}
		// The looks that belong to this change are over when none comes any more; a late
		// one is no harm to the next step but to make it pass for nothing.
		for settled := false; !settled; {
			select {
			case <-looks:
			case <-time.After(500 * time.Millisecond):
				settled = true
			}
		}
	}
	step("the first", func() error { return nil })
	step("its directory appears", func() error { return os.MkdirAll(filepath.Dir(path), 0o700) })
	step("it appears", func() error { return os.WriteFile(path, []byte("{}"), 0o600) })
	step("it is written", func() error { return os.WriteFile(path, []byte("{ }"), 0o600) })
	step("it is replaced", func() error {
		if err := os.WriteFile(path+".new", []byte("{}"), 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
	})
	step("its directory goes", func() error { return os.RemoveAll(filepath.Join(dir, "deep")) })
	step("it is a link", func() error {
		if err := os.WriteFile(real, []byte("{}"), 0o600); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.Symlink(real, path)
	})
	step("what it leads to is written", func() error { return os.WriteFile(real, []byte("{ }"), 0o600) })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
