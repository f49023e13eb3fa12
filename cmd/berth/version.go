package main

import (
	"runtime"
	"runtime/debug"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version [--json]",
		Short: "Print the version",
		Long: `Print the version of Berth, of Go and of the system it was built for.

With --json: {"version", "go", "os", "arch", "commit"?}.`,
		Example: `  berth version
  berth version --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.ui.json(versionOf())
			}
			a.printVersion()
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Commit  string `json:"commit,omitzero"`
}

func versionOf() versionInfo {
	return versionInfo{Version: berth.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Commit: commit()}
}

func (a *app) printVersion() {
	v := versionOf()
	text := "berth " + v.Version
	if v.Commit != "" {
		text += " (" + v.Commit + ")"
	}
	a.ui.print("%s %s %s/%s", text, v.Go, v.OS, v.Arch)
}

// commit is what the binary was built from, where the build knew.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	return revision + dirty
}
