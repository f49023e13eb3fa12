package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bundle"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/validate"
	"github.com/spf13/cobra"
)

func newValidate(a *app) *cobra.Command {
	var asJSON, strict bool
	var kind string
	cmd := &cobra.Command{
		Use:   "validate FILE… [--json]",
		Short: "Find the faults of a server.json, an MCPB bundle or manifest, or a berth.toml",
		Long: `Find what is wrong with a document before it is published: all of it, each with file,
line, column and field. A FILE is one of

  server.json     by the schema of 2025-12-11, and by what the MCP registry refuses besides
  manifest.json   of an MCPB bundle, by the schemas of its versions 0.1 to 0.4
  NAME.mcpb       a bundle: its manifest, whether it can be unpacked safely and has the
                  files that the manifest names, and its signature
  berth.toml      Berth's own settings, those of Berth 0.1 included

or a - for standard input. Which of these it is is seen by its name, else by what is in it;
--kind says it.

Errors are what a registry or a client refuses; warnings are the rest, and count as errors
with --strict. Nothing is asked of the network.

Exit codes: 0 there is no error, 1 there is one, or a file cannot be read, 2 wrong usage.`,
		Example: "  berth validate server.json\n  berth validate --strict dist/*.mcpb\n  berth validate --json - < manifest.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which file?").hint("usage: %s", cmd.UseLine())
			}
			switch kind {
			case "", kindServer, kindManifest, kindBundle, kindConfig:
				return nil
			}
			return usagef("--kind %s is not one of %s, %s, %s, %s", printable(cut(kind, 40)), kindServer, kindManifest, kindBundle, kindConfig)
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.validate(args, kind, asJSON, strict) },
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&strict, "strict", false, "warnings are errors")
	f.StringVar(&kind, "kind", "", kindServer+", "+kindManifest+", "+kindBundle+" or "+kindConfig+": what the files are (`word`)")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{kindServer, kindManifest, kindBundle, kindConfig}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// The kinds of documents.
const (
	kindServer   = "server"
	kindManifest = "manifest"
	kindBundle   = "bundle"
	kindConfig   = "config"
)

func (a *app) validate(files []string, kind string, asJSON, strict bool) error {
	all := []validate.Fault{}
	var unread error
	for _, file := range files {
		found, err := a.faultsOf(file, kind)
		unread = errors.Join(unread, err) // what the others have is said all the same
		all = append(all, found...)
	}
	errorCount := 0
	for i := range all {
		if all[i].Level == validate.Error || strict {
			errorCount++
		}
	}
	if asJSON {
		if err := a.ui.json(all); err != nil {
			return err
		}
	} else {
		for _, f := range all {
			a.ui.print("%s", printable(faultLine(f)))
		}
	}
	if unread != nil {
		return unread
	}
	if errorCount > 0 {
		return fmt.Errorf("%s, %s", howMany(errorCount, "error"), howMany(len(all)-errorCount, "warning"))
	}
	if len(all) > 0 {
		a.ui.say("%s, no error", howMany(len(all), "warning"))
	} else {
		a.ui.say("%s: no fault", strings.Join(files, ", "))
	}
	return nil
}

func howMany(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// faultLine is a fault as compilers print theirs.
func faultLine(f validate.Fault) string {
	where := f.File
	if f.Line > 0 {
		where += fmt.Sprintf(":%d", f.Line)
		if f.Column > 0 {
			where += fmt.Sprintf(":%d", f.Column)
		}
	}
	if f.Field != "" {
		return where + ": " + f.Level + ": " + f.Field + ": " + f.Message
	}
	return where + ": " + f.Level + ": " + f.Message
}

// faultsOf finds the faults of a file; - is standard input.
func (a *app) faultsOf(file, kind string) ([]validate.Fault, error) {
	shown := file
	var in io.Reader = a.stdin
	if file == "-" {
		shown = "<stdin>"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if isZip(f) && kind == "" || kind == kindBundle {
			info, err := f.Stat()
			if err != nil {
				return nil, err
			}
			return bundleFaults(shown, f, info.Size())
		}
		in = f
	}
	doc, err := io.ReadAll(io.LimitReader(in, bundle.MaxArchive+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown, err)
	}
	if kind == "" {
		kind = kindOf(file, doc)
	}
	switch kind {
	case kindServer:
		return validate.ServerJSON(shown, doc), nil
	case kindManifest:
		return validate.Manifest(shown, doc, nil), nil
	case kindBundle:
		return bundleFaults(shown, bytes.NewReader(doc), int64(len(doc)))
	case kindConfig:
		if isServers(doc) {
			return nil, berth.WithHint(fmt.Errorf("%s: it is a set of servers, not a berth.toml", printable(shown)),
				"berth sync "+printable(shown)+" --check reads what berth export wrote, berth config import what berth config export did")
		}
		return configFaults(shown, doc), nil
	}
	return nil, usagef("%s: it is not to be seen what that is", printable(shown)).hint("--kind says it: %s, %s, %s or %s", kindServer, kindManifest, kindBundle, kindConfig)
}

// isZip says whether a file begins as a zip file does; it is read from its start again.
func isZip(f *os.File) bool {
	start := make([]byte, 4)
	n, err := f.ReadAt(start, 0)
	return err == nil && n == 4 && string(start) == "PK\x03\x04"
}

// kindOf says what a document is, by its name, else by what is in it; "" if neither says.
func kindOf(file string, doc []byte) string {
	switch base := strings.ToLower(filepath.Base(file)); {
	case base == "manifest.json":
		return kindManifest
	case base == "server.json":
		return kindServer
	case strings.HasSuffix(base, ".toml"):
		return kindConfig
	case strings.HasSuffix(base, ".mcpb"), strings.HasSuffix(base, ".dxt"):
		return kindBundle
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if bytes.Contains(doc, []byte(`"`+w+`"`)) {
				return true
			}
		}
		return false
	}
	text := bytes.TrimSpace(doc)
	switch {
	case bytes.HasPrefix(text, []byte("PK\x03\x04")):
		return kindBundle
	case bytes.HasPrefix(text, []byte("{")) && has("manifest_version", "dxt_version", "mcp_config"):
		return kindManifest
	case bytes.HasPrefix(text, []byte("{")):
		return kindServer
	case bytes.HasPrefix(text, []byte("[")), bytes.HasPrefix(text, []byte("#")):
		return kindConfig
	}
	return ""
}

// isServers says whether a document in TOML is a set of servers, as berth export and
// berth config export write it: a berth.toml has no such tables.
func isServers(doc []byte) bool {
	for line := range bytes.Lines(doc) {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("[servers.")) {
			return true
		}
	}
	return false
}

func configFaults(file string, doc []byte) (faults []validate.Fault) {
	for _, f := range home.CheckConfig(doc) {
		level := validate.Error
		if f.Warning {
			level = validate.Warning
		}
		faults = append(faults, validate.Fault{File: file, Line: f.Line, Column: f.Column, Field: f.Key, Level: level, Message: f.Text})
	}
	return faults
}

// bundleFaults finds the faults of a bundle, which is unpacked to where it is removed again.
func bundleFaults(file string, in io.ReaderAt, size int64) (faults []validate.Fault, err error) {
	bad := func(err error) {
		faults = append(faults, validate.Fault{File: file, Level: validate.Error, Message: err.Error()})
	}
	b, err := bundle.Open(in, size, bundle.DefaultLimits())
	if err != nil {
		bad(err)
		return faults, nil
	}
	signature, err := b.Signature(nil, time.Now())
	switch {
	case err != nil:
		bad(err)
	case signature != nil && !signature.Trusted:
		faults = append(faults, validate.Fault{File: file, Level: validate.Warning, Message: "it is signed " + signedLine(signature)})
	}
	if doc, err := b.Manifest(); err != nil {
		bad(err)
	} else {
		faults = append(faults, validate.Manifest(file+"/"+bundle.ManifestName, doc, b.Names())...)
	}
	dir, err := os.MkdirTemp("", "berth-validate-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := b.Unpack(dir); err != nil {
		bad(err)
	}
	return faults, nil
}
