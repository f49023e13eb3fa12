package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/berth-run/berth/internal/vault"
	"github.com/spf13/cobra"
)

func newSecret(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret set|list|rm|import|move",
		Short: "Keep the secrets of servers: tokens, keys, passwords",
		Long: `Keep values that servers need and nobody else should see. A server's file refers to
one as secret://NAME/KEY, in its environment or in a header, and gets it when it is
started; no other server can refer to it. No value is in an argument, a log, the state
or the audit trail, and what the server prints of it is masked.

They lie encrypted in the home. The key is drawn at random, and is in the keyring of
your session, or where there is none in a file beside them, which only you can read;
BERTH_SECRET_BACKEND, or [security] secret_backend in berth.toml, says keyring, file or
passphrase. berth secret list says where it is, and berth secret move moves it. A
passphrase is asked for when a server starts, or is in the file (mode 0600) that
BERTH_SECRET_PASSPHRASE_FILE names.

Files: credentials/vault.age, and one of credentials/identity.keyring (which names the
item of the keyring), identity.txt (the key) and identity.age (the key, encrypted).`,
		Example: "  berth secret set github/token\n  pass show github | berth secret set github token\n  berth secret list",
	}
	return group(cmd, newSecretSet(a), newSecretList(a), newSecretRemove(a), newSecretImport(a), newSecretMove(a))
}

// refArgs reads NAME/KEY, or NAME KEY.
func refArgs(args []string) (ref secret.Ref, err error) {
	text := strings.TrimPrefix(strings.Join(args, "/"), secret.Scheme)
	if len(args) == 0 || len(args) > 2 || strings.Count(text, "/") != 1 {
		return ref, usagef("which secret?").hint("write NAME/KEY: a server's name and what the secret is called")
	}
	if ref, err = secret.ParseRef(secret.Scheme + text); err != nil {
		return ref, usagef("%s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hint("write NAME/KEY, such as github/token")
	}
	return ref, nil
}

func newSecretSet(a *app) *cobra.Command {
	var command string
	cmd := &cobra.Command{
		Use:   "set NAME/KEY [--command LINE]",
		Short: "Keep a value, from the terminal, standard input or a command",
		Long: `Keep a value for the server NAME, in the place of what was there. It is asked for at
the terminal and not shown, or is all of standard input, without a line break at its
end; --command takes what a line of the shell prints. It is never an argument, which
other users of this machine would see.

A server that runs has it from its next start.

Exit codes: 0 kept, 1 failed, 2 wrong usage.`,
		Example:           "  berth secret set github/token\n  berth secret set github/token --command pass-github",
		Args:              func(_ *cobra.Command, args []string) error { _, err := refArgs(args); return err },
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, _ := refArgs(args)
			value, err := a.secretValue(cmd.Context(), ref, command)
			if err != nil {
				return err
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			return s.setSecrets(cmd.Context(), ref.Server, []stored{{ref, value}}, true)
		},
	}
	cmd.Flags().StringVar(&command, "command", "", "a `line` of the shell that prints the value")
	return cmd
}

// secretValue gets a value from where no list of processes has it.
func (a *app) secretValue(ctx context.Context, ref secret.Ref, command string) (string, error) {
	var text []byte
	var err error
	switch f, _ := a.stdin.(*os.File); {
	case command != "":
		shell := []string{"sh", "-c", command}
		if runtime.GOOS == "windows" {
			shell = []string{"cmd", "/c", command}
		}
		c := exec.CommandContext(ctx, shell[0], shell[1:]...)
		c.Stdin, c.Stderr = f, a.ui.err
		if text, err = c.Output(); err != nil {
			return "", fmt.Errorf("--command: %w", err)
		}
	case f != nil && isTerminal(f):
		fmt.Fprintf(a.ui.err, "value of %s/%s: ", ref.Server, ref.Key)
		var line string
		line, err = readHidden(f)
		text = []byte(line)
		fmt.Fprintln(a.ui.err)
	default:
		text, err = io.ReadAll(io.LimitReader(a.stdin, 1<<20))
	}
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(bytes.TrimSpace(text)) == 0 {
		return "", errors.New("the value is empty")
	}
	return string(text), nil
}

// setSecrets keeps secrets of one server, and says so.
func (s *site) setSecrets(ctx context.Context, server string, all []stored, say bool) error {
	v, err := s.vault()
	if err != nil {
		return err
	}
	var keys []string
	for _, one := range all {
		if err := v.Set(ctx, storeKey(one.ref), []byte(one.value)); err != nil {
			return err
		}
		keys = append(keys, one.ref.Key)
		if len(one.value) < secret.MinValue {
			s.ui.note("%s/%s is shorter than %d bytes: what the server prints of it is not masked", server, one.ref.Key, secret.MinValue)
		}
	}
	if err := s.record(ctx, berth.Record{Server: server, Action: berth.ActionSecret, Detail: "set " + strings.Join(keys, ", ")}); err != nil {
		return err
	}
	if !say {
		return nil
	}
	for _, one := range all {
		s.ui.print("%s/%s: kept; refer to it as %s", server, one.ref.Key, one.ref)
	}
	file, err := s.home.ReadServer(server)
	switch {
	case errors.Is(err, berth.ErrNoServer):
		s.ui.note("there is no server %s yet", server)
	case err == nil && len(refsOf(file)) > 0:
		s.noteRestart(ctx, server)
	}
	return nil
}

// noteRestart says that a server that runs has what it was started with.
func (s *site) noteRestart(ctx context.Context, server string) {
	if st, err := s.Status(ctx, server); err == nil && st.Status == berth.Running {
		s.ui.note("it runs with what it was started with until: berth restart %s", server)
	}
}

// refsOf are the references of a server's file: where each is, by key.
func refsOf(server home.Server) map[string][]string {
	refs := map[string][]string{}
	add := func(value, where string) {
		if ref, err := ownRef(server.Name, value); err == nil {
			refs[ref.Key] = append(refs[ref.Key], where)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(server.Env)) {
		add(server.Env[key], "env "+key)
	}
	headers, _ := server.Headers() // a start says what is wrong
	for _, h := range headers {
		if _, ref, isRef := refIn(h.Value); isRef {
			add(ref, "header "+h.Name)
		}
	}
	return refs
}

// secretRow is a secret as it is listed.
type secretRow struct {
	Server string   `json:"server"`
	Key    string   `json:"key"`
	UsedBy []string `json:"usedBy"`
	// Missing: the server's file refers to it, and it is not in the store.
	Missing bool `json:"missing,omitzero"`
}

// secretsView is what berth secret list shows.
type secretsView struct {
	// Backend is where the key of the store is, or where a new one will be.
	Backend vault.Place `json:"backend"`
	Secrets []secretRow `json:"secrets"`
}

func newSecretList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [NAME] [--json]",
		Short: "List secrets, without their values",
		Long: `List the secrets of all servers, or of NAME: what each is called and where the
server's file refers to it. A reference without a value is listed as missing. Where the
key of the store is, is said on stderr.

Exit codes: 0 done, 1 failed.`,
		Example:           "  berth secret list\n  berth secret list github --json",
		Args:              names(1),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			view, err := s.viewSecrets(args)
			if err != nil {
				return err
			}
			if old := s.oldSecrets(); old != "" {
				s.ui.warn("%s is not Berth's own: if Berth 0.1 wrote it, its values are not read, for its format is not known here", old)
				s.ui.say("berth: hint: 0.1 made their key of the path of the home and let everybody read the file: have new values made, keep those with berth secret set, and delete it")
			}
			if asJSON {
				return s.ui.json(view)
			}
			s.ui.say("berth: the key of the store: %s", placeText(view.Backend))
			t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
			for _, r := range view.Secrets {
				used := cmp.Or(strings.Join(r.UsedBy, ", "), "-")
				if r.Missing {
					used += "  missing"
				}
				fmt.Fprintf(t, "%s/%s\t%s\n", r.Server, printable(r.Key), printable(used))
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func placeText(place vault.Place) string {
	switch place {
	case vault.PlaceKeyring:
		return "in the keyring"
	case vault.PlacePassphrase:
		return "in a file, encrypted with a passphrase"
	}
	return "in a file beside it, mode 0600"
}

func (s *site) viewSecrets(servers []string) (secretsView, error) {
	view := secretsView{Secrets: []secretRow{}}
	v, err := s.vault()
	if err != nil {
		return view, err
	}
	if view.Backend, _, err = v.Place(); err != nil {
		return view, err
	}
	prefix := "secret/"
	if len(servers) > 0 {
		prefix = storePrefix(servers[0])
	} else if servers, err = s.installed(); err != nil {
		return view, err
	}
	refs := map[string]map[string][]string{}
	for _, name := range servers {
		if file, err := s.home.ReadServer(name); err == nil {
			refs[name] = refsOf(file)
		}
	}
	keys, err := v.List(prefix)
	if err != nil {
		return view, err
	}
	for _, key := range keys {
		server, name, ok := strings.Cut(strings.TrimPrefix(key, "secret/"), "/")
		if !ok {
			continue
		}
		view.Secrets = append(view.Secrets, secretRow{Server: server, Key: name, UsedBy: append([]string{}, refs[server][name]...)})
		delete(refs[server], name)
	}
	for server, missing := range refs {
		for key, used := range missing {
			view.Secrets = append(view.Secrets, secretRow{Server: server, Key: key, UsedBy: used, Missing: true})
		}
	}
	slices.SortFunc(view.Secrets, func(a, b secretRow) int {
		return cmp.Or(strings.Compare(a.Server, b.Server), strings.Compare(a.Key, b.Key))
	})
	return view, nil
}

// oldSecrets is a file of the home that may hold secrets of Berth 0.1; "" if there is
// none. What that is called and how it is made up is not known: anything in the home
// whose name says so is one.
func (s *site) oldSecrets() string {
	found, err := filepath.Glob(filepath.Join(s.Dir(), "*secret*"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[0]
}

func newSecretRemove(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "rm NAME/KEY | rm NAME --all",
		Aliases: []string{"remove"},
		Short:   "Delete a secret, or all of a server",
		Long: `Delete a secret, or with --all those of the server NAME. A server whose file still
refers to it does not start any more; one that runs keeps what it was started with.

Exit codes: 0 deleted, 1 failed, or there is none, 2 wrong usage.`,
		Example: "  berth secret rm github/token\n  berth secret rm github --all",
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return oneName(cmd, args)
			}
			_, err := refArgs(args)
			return err
		},
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			server, keys := args[0], []string(nil)
			there, err := s.secretKeys(server)
			if all {
				keys = there
			} else {
				ref, _ := refArgs(args)
				server, keys = ref.Server, []string{ref.Key}
				there, err = s.secretKeys(server)
			}
			if err != nil {
				return err
			}
			if len(keys) == 0 || !slices.Contains(there, keys[0]) {
				return berth.WithHint(fmt.Errorf("there is no such secret of %s", server), "`berth secret list` shows those that there are")
			}
			return s.removeSecrets(cmd.Context(), server, keys)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all secrets of the server")
	return cmd
}

// removeSecrets deletes secrets of a server, and says so.
func (s *site) removeSecrets(ctx context.Context, server string, keys []string) error {
	v, err := s.vault()
	if err != nil {
		return err
	}
	var whole []string
	for _, key := range keys {
		whole = append(whole, storePrefix(server)+key)
	}
	if err := v.Delete(ctx, whole...); err != nil {
		return err
	}
	if err := s.record(ctx, berth.Record{Server: server, Action: berth.ActionSecret, Detail: "removed " + strings.Join(keys, ", ")}); err != nil {
		return err
	}
	var refs map[string][]string
	if file, err := s.home.ReadServer(server); err == nil {
		refs = refsOf(file)
	}
	for _, key := range keys {
		s.ui.print("%s/%s: deleted", server, printable(key))
		if used := refs[key]; len(used) > 0 {
			s.ui.warn("%s still refers to it (%s) and does not start without it", server, strings.Join(used, ", "))
		}
	}
	return nil
}

func newSecretImport(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import NAME [FILE|-]",
		Short: "Move the secrets of a server's file, or of a file of variables, into the store",
		Long: `Move values into the store, and have the server's file refer to them. Without FILE
they are those of the server's own file: the variables of its environment whose names or
values tell of a secret. FILE, or - for standard input, has lines K=V, as an --env-file
of berth add; each becomes a variable of the server that refers to the store.

Exit codes: 0 done, also when there was nothing to move, 1 failed, 3 no such server.`,
		Example: "  berth secret import github\n  berth secret import github .env",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return usagef("one file at a time").hint("usage: %s", cmd.UseLine())
			}
			return oneName(cmd, args[:min(1, len(args))])
		},
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			values := map[string]string{}
			if len(args) > 1 {
				var doc []byte
				if args[1] == "-" {
					doc, err = io.ReadAll(io.LimitReader(a.stdin, 1<<20))
				} else {
					doc, err = os.ReadFile(args[1])
				}
				if err == nil {
					err = parseEnvFile(values, args[1], string(doc), os.Environ())
				}
				if err != nil {
					return err
				}
			}
			return s.importSecrets(cmd.Context(), args[0], values, len(args) < 2)
		},
	}
	return cmd
}

// importSecrets has a server's file refer to values: those that are given, or with own
// those in the file itself.
func (s *site) importSecrets(ctx context.Context, name string, values map[string]string, own bool) error {
	server, err := s.server(name)
	if err != nil {
		return err
	}
	if own {
		for key, value := range server.Env {
			if plainSecret(key, value) {
				values[key] = value
			}
		}
	}
	var all []stored
	for _, key := range slices.Sorted(maps.Keys(values)) {
		ref, err := ownRef(name, secret.Ref{Server: name, Key: key}.String())
		if err != nil {
			return fmt.Errorf("the variable %s: %w", printable(key), err)
		}
		if strings.TrimSpace(values[key]) == "" || secret.IsRef(values[key]) {
			continue
		}
		all = append(all, stored{ref, values[key]})
	}
	if len(all) == 0 {
		s.ui.note("nothing of %s is a secret by its name or form", name)
		return nil
	}
	// The store first: what refers to nothing does not start.
	if err := s.setSecrets(ctx, name, all, false); err != nil {
		return err
	}
	err = s.home.UpdateServer(name, func(file *home.Server) error {
		if file.Env == nil {
			file.Env = map[string]string{}
		}
		for _, one := range all {
			if now := file.Env[one.ref.Key]; own && now != one.value {
				return fmt.Errorf("the file was changed meanwhile: try again")
			}
			file.Env[one.ref.Key] = one.ref.String()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, one := range all {
		s.ui.print("%s/%s: kept; the server's file refers to it", name, one.ref.Key)
	}
	s.noteRestart(ctx, name)
	return nil
}

// plainSecret says whether a variable of a server's file holds a secret as it is.
func plainSecret(key, value string) bool {
	return strings.TrimSpace(value) != "" && !secret.IsRef(value) && (secret.LooksSecret(key) || secret.MaskText(value) != value)
}

func newSecretMove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "move keyring|file|passphrase",
		Short: "Move the key of the secret store",
		Long: `Move the key of the secret store: into the keyring of this session, into a file
beside the store that only you can read, or into one that is encrypted with a
passphrase. The key stays the same, so a copy of it that was made before still opens
the store. With another place in BERTH_SECRET_BACKEND or berth.toml than where the key
is, nothing of the store can be read until it is moved.

Exit codes: 0 moved, or there already, 1 failed (then it is where it was), 2 usage.`,
		Example: "  berth secret move keyring",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(places(), args[0]) {
				return usagef("where to?").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(places(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			v, err := s.vault()
			if err != nil {
				return err
			}
			if err := v.Move(cmd.Context(), vault.Place(args[0])); err != nil {
				return err
			}
			s.ui.print("the key of the secret store is %s", placeText(vault.Place(args[0])))
			return s.recordOfHome(berth.ActionSecret, "moved the key of the store: "+args[0])
		},
	}
}

func places() []string {
	return []string{string(vault.PlaceKeyring), string(vault.PlaceFile), string(vault.PlacePassphrase)}
}
