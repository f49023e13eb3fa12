package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/proc"
)

// haveRunner says what to install before anything is asked: fetching needs it.
func haveRunner(kind listing.Kind, path string) error {
	look := func(name string) bool {
		_, err := proc.LookPath(name, "", []string{"PATH=" + path})
		return err == nil
	}
	missing := func(what, hint string) error {
		return berth.WithHint(fmt.Errorf("%s is needed, and not in the PATH: %w", what, os.ErrNotExist), hint)
	}
	switch {
	case kind == listing.NPM && (!look("node") || !look("npm")):
		return missing("Node.js with npm", "install Node.js (https://nodejs.org, or nodejs and npm of your system)")
	case kind == listing.PyPI && !look("uv") && !look("python3") && !look("python"):
		return missing("uv or Python 3", "install uv (https://docs.astral.sh/uv), or Python 3 with its modules venv and pip")
	case kind == listing.OCI && !look("docker") && !look("podman"):
		return missing("docker or podman", "install Docker (https://docs.docker.com/engine/install) or Podman (https://podman.io)")
	case kind == listing.Go && !look("go"):
		return missing("go", "install Go (https://go.dev/dl, or golang-go of your system): the program is built here")
	}
	return nil
}

// requestOf is the package of an entry, of which command is the command line.
func requestOf(e listing.Entry, command, args []string) (*catalog.Request, error) {
	var (
		r   *catalog.Request
		why string
	)
	switch e.Kind {
	case listing.OCI, listing.Go:
		r = &catalog.Request{Kind: catalog.Kind(e.Kind), Package: e.Package, Version: e.Version, Args: slices.Clone(args)}
	default:
		if r, why = toFetch(command, ""); r == nil {
			return nil, fmt.Errorf("the package cannot be fetched: %s", cmp.Or(why, "its name is not understood"))
		}
	}
	r.Hashes = e.Hashes
	return r, nil
}

// runtimeType is the word for what runs a copy.
func runtimeType(c *catalog.Copy, kind catalog.Kind) string {
	switch {
	case kind == catalog.OCI:
		return "container"
	case kind == catalog.Go:
		return "binary"
	case c.Command == "node":
		return "node"
	case kind == catalog.PyPI && len(c.Args) > 0, kind == catalog.MCPB && strings.HasPrefix(c.Command, "python"):
		return "python"
	}
	return "command"
}

// runLine is the command line that a server which is not fetched yet is going to have.
func runLine(server home.Server, e listing.Entry) string {
	command := append([]string{server.Runtime.Command}, server.Runtime.Args...)
	if e.Kind != listing.OCI {
		return shellLine(command)
	}
	then := server
	then.Source.Type, then.Source.Copy = home.ContainerSource, "not-fetched"
	then.Runtime.Args = slices.Clone(server.Runtime.Args)
	if image := &then.Runtime.Args[3]; len(e.Hashes) == 0 {
		*image += "@sha256:…" // what the tag is when it is pulled
	}
	spec, _, err := then.Spec(os.Environ(), home.Permissions{})
	if err != nil {
		return shellLine(command)
	}
	return shellLine(append([]string{server.Runtime.Command}, spec.Args...))
}

// newest names the newest of what a user named: an image has a tag that may have moved.
func newest(was listing.Entry) string {
	name := string(was.Kind) + ":" + was.Package
	if was.Kind == listing.OCI && was.Version != "" {
		name += ":" + was.Version
	}
	return name
}

// settled says whether an entry is of one certain version, so that another one which declares
// the same is the same.
func settled(e listing.Entry) bool {
	return e.Version != "" && (e.Kind != listing.OCI || len(e.Hashes) > 0)
}

// describeContainer says of an image who keeps it to what it may do.
func (s *site) describeContainer(server home.Server, rights home.Rights) {
	list := []string{}
	for _, p := range rights.Effective {
		if p.Kind == berth.PermissionNetwork || p.Kind == berth.PermissionFiles {
			list = append(list, p.String())
		}
	}
	s.ui.say("%s keeps it to what it may use: %s; Berth asks for that and does not try it", server.Runtime.Command,
		orNone(list, "no network, none of your files"))
	if slices.ContainsFunc(rights.Effective, func(p berth.EffectivePermission) bool { return p.Kind == berth.PermissionNetwork }) {
		s.ui.note("a container has all of the network or none: hosts and ports are not told apart")
	}
	s.ui.say("for more: berth permissions %s --grant filesystem:read:PATH, or network:*", server.Name)
}

// noteImage says that the engine keeps the image of a server that is removed.
func (s *site) noteImage(server home.Server) {
	if server.Container() && len(server.Runtime.Args) > 3 {
		s.ui.note("its image stays: %s image rm %s", server.Runtime.Command, server.Runtime.Args[3])
	}
}
