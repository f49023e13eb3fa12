package home

import (
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func TestManifestFile(t *testing.T) {
	h := openTestHome(t)
	if _, err := h.ReadManifest("a", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	if err := h.RemoveManifest("a"); err != nil {
		t.Errorf("remove none: %v", err)
	}
	if err := h.WriteManifest("a~legacy", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if data, err := h.ReadManifest("a~legacy", 10); err != nil || string(data) != "0123456789" {
		t.Errorf("read %q, %v", data, err)
	}
	if data, err := h.ReadManifest("a~legacy", 9); err == nil {
		t.Errorf("more than is allowed: %q", data)
	}
	if err := h.RemoveManifest("a~legacy"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadManifest("a~legacy", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is removed: %v", err)
	}
	if err := h.WriteManifest("../a", nil); err == nil {
		t.Error("a name that is a path")
	}
}

// Whatever decides what a server says of itself is in the key; values of
// variables, which may be secrets, are not.
func TestManifestKey(t *testing.T) {
	base := func() (*Server, *berth.ProcessSpec, *Permissions) {
		s := NewServer("a", "npx", nil)
		s.Config["berth.eras"] = "auto"
		return &s, &berth.ProcessSpec{Command: "npx", Args: []string{"-y", "x"}, Dir: "/", Env: map[string]string{"A": "1", "B": "2"}}, &Permissions{}
	}
	key := func(change func(*Server, *berth.ProcessSpec, *Permissions)) string {
		s, spec, p := base()
		change(s, spec, p)
		return s.ManifestKey(SpecDigest(*spec), *p)
	}
	same := key(func(*Server, *berth.ProcessSpec, *Permissions) {})
	for name, change := range map[string]func(*Server, *berth.ProcessSpec, *Permissions){
		"a value":       func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Env["A"] = "3" },
		"another name":  func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Name, s.Info.Name = "b", "b" },
		"more restarts": func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Config["berth.max-restarts"] = "7" },
	} {
		if key(change) != same {
			t.Errorf("%s: another key", name)
		}
	}
	keys := map[string]string{same: "nothing"}
	for name, change := range map[string]func(*Server, *berth.ProcessSpec, *Permissions){
		"command":     func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Command = "/bin/npx" },
		"arguments":   func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Args = []string{"-y", "y"} },
		"one of two":  func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Args = []string{"-y x"} },
		"directory":   func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Dir = "/tmp" },
		"transport":   func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Transport = "http" },
		"a variable":  func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Env["C"] = "" },
		"one less":    func(_ *Server, spec *berth.ProcessSpec, _ *Permissions) { spec.Unset = []string{"PATH"} },
		"era":         func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Config["berth.eras"] = "both" },
		"roots":       func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Config["berth.roots"] = "/srv" },
		"package":     func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Source.Package = "x" },
		"version":     func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Info.Version = "2" },
		"network":     func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Permissions.Network = []string{"*"} },
		"filesystem":  func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Permissions.Filesystem = []string{"*"} },
		"execution":   func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Permissions.Exec = []string{"*"} },
		"environment": func(s *Server, _ *berth.ProcessSpec, _ *Permissions) { s.Permissions.Env = []string{"*"} },
		"grant":       func(_ *Server, _ *berth.ProcessSpec, p *Permissions) { p.Grant = []string{"*"} },
		"revoke":      func(_ *Server, _ *berth.ProcessSpec, p *Permissions) { p.Revoke = []string{"*"} },
	} {
		k := key(change)
		if other, taken := keys[k]; taken {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[k] = name
	}
	for k := range maps.Keys(keys) {
		if strings.ContainsAny(k, "/+=") {
			t.Errorf("key %q", k)
		}
	}
}
