package home

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/berth-run/berth"
)

// manifestsDir holds what servers said of themselves in their last run. It is made
// when there is something to put there.
const manifestsDir = "manifests"

func (h *Home) manifestPath(instance string) (string, error) {
	if err := berth.CheckInstance(instance); err != nil {
		return "", err
	}
	return h.path(manifestsDir, instance+".json"), nil
}

// ReadManifest returns a server's manifest as it was written, no more than most
// bytes of it; fs.ErrNotExist if there is none.
func (h *Home) ReadManifest(instance string, most int64) ([]byte, error) {
	path, err := h.manifestPath(instance)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %q: %w", instance, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %q: %w", instance, err)
	}
	return data, nil
}

// WriteManifest replaces a server's manifest.
func (h *Home) WriteManifest(instance string, data []byte) error {
	path, err := h.manifestPath(instance)
	if err != nil {
		return err
	}
	if err := h.replace(path, data); err != nil {
		return fmt.Errorf("write the manifest of %q: %w", instance, err)
	}
	return nil
}

// RemoveManifest removes a server's manifest, if there is one.
func (h *Home) RemoveManifest(instance string) error {
	path, err := h.manifestPath(instance)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // the directory may not be there either
	}
	if err := h.remove(path); err != nil {
		return fmt.Errorf("remove the manifest of %q: %w", instance, err)
	}
	return nil
}

// SpecDigest stands for how a server is run: its command line, its directory, its
// transport and the names of its variables, also of those that it does not get. A value may be a secret, and is none
// of it.
func SpecDigest(spec berth.ProcessSpec) string {
	lists := [][]string{{spec.Command, spec.Dir, spec.Transport}, spec.Args, slices.Sorted(maps.Keys(spec.Env))}
	if c := spec.Confine; c != nil {
		lists = append(lists, []string{string(c.Profile), string(c.Require), c.Data}, c.Allow, c.Program)
	}
	if len(spec.Unset) > 0 {
		lists = append(lists, append([]string{"without"}, spec.Unset...))
	}
	if len(spec.Ports) > 0 {
		lists = append(lists, []string{"ports", fmt.Sprint(spec.Ports)})
	}
	if spec.Container {
		lists = append(lists, []string{"container"})
	}
	return digest("spec 1", lists...)
}

// ManifestKey stands for all that decides what the server says of itself: how it
// is run, by a digest that SpecDigest made, the package that it comes from by its hash, what
// it may do and the eras that it is to be spoken to in.
func (s *Server) ManifestKey(spec string, p Permissions) string {
	return digest("manifest 2", []string{spec, s.Config["berth.eras"], s.Config["berth.roots"]},
		[]string{s.Source.Type, s.Source.Package, s.Source.Repository, s.Info.Version, s.Source.Digest},
		s.Permissions.Network, s.Permissions.Env, s.Permissions.Filesystem, s.Permissions.Exec,
		p.Grant, p.Revoke,
		[]string{s.Config["berth.sandbox"], s.Config["berth.sandbox-network"]})
}

// digest is a name for lists of texts: others have another.
func digest(what string, lists ...[]string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", what)
	for _, list := range lists {
		fmt.Fprintf(h, "%d\n", len(list))
		for _, text := range list {
			fmt.Fprintf(h, "%d %s\n", len(text), text)
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}
