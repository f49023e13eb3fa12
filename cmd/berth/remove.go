package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/spf13/cobra"
)

func newRemove(a *app) *cobra.Command {
	var logs, data, purge bool
	cmd := &cobra.Command{
		Use:     "remove NAME… [--logs] [--data] [--purge]",
		Aliases: []string{"rm", "uninstall"},
		Short:   "Stop a server and forget it",
		Long: `Stop a server, its whole process tree, and remove its file and its state. Its
log is kept unless --logs is given; its audit records are always kept. What it wrote
into its own directory, data/NAME, goes with --data; without, you are asked on a
terminal, and elsewhere it is kept.

Files that go: servers/NAME.toml, runtime/NAME.toml, manifests/NAME.json,
approvals/NAME.json, permissions/NAME.toml, previous/NAME.toml, and with --logs logs/NAME.log and what was
rotated out of it. The tokens and headers of a remote server go, too; to have tokens
revoked, berth auth NAME --logout first. Other secrets of the server (berth secret) go
with --purge; without, you are asked on a terminal, and elsewhere they are kept, and named. The copy of its package goes once no other
server is run from it, unless the server wrote files into it.

Exit codes: 0 removed, 1 failed (then it is still there), 3 no such server.`,
		Example: `  berth remove everything
  berth remove everything github --logs`,
		Args:              someNames,
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			names, err := chosen(args, false, nil)
			if err != nil {
				return err
			}
			return each(s.ui, names, 1, func(name string) error { return a.remove(cmd.Context(), s, name, logs, data, purge) })
		},
	}
	cmd.Flags().BoolVar(&logs, "logs", false, "remove the logs as well")
	cmd.Flags().BoolVar(&data, "data", false, "remove what it wrote into its own directory as well")
	cmd.Flags().BoolVar(&purge, "purge", false, "remove its secrets as well")
	return cmd
}

func (a *app) remove(ctx context.Context, s *site, name string, logs, data, purge bool) error {
	if err := s.known(name); err != nil {
		return err
	}
	was, _ := s.home.ReadServer(name) // one that does not parse can be removed, too
	if _, err := s.Stop(ctx, name); err != nil {
		return fmt.Errorf("%s was not removed: %w", name, err)
	}
	if err := s.home.RemoveServer(name); err != nil && !errors.Is(err, berth.ErrNoServer) {
		return err
	}
	// Somebody may have started it in between; from now on nobody can.
	if _, err := s.Stop(ctx, name); err != nil {
		return fmt.Errorf("stop %s, whose file is removed: %w", name, err)
	}
	if err := s.stopInstances(ctx, name); err != nil {
		return fmt.Errorf("stop %s, whose file is removed: %w", name, err)
	}
	instances, err := s.instances(name)
	if err != nil {
		return err
	}
	for _, each := range append(instances, name) {
		if err := s.home.RemoveState(each); err != nil {
			return err
		}
		if err := s.home.RemoveManifest(each); err != nil {
			return err
		}
	}
	// What it was granted, and what was approved of it, is not the next one's of its name.
	if err := errors.Join(s.home.RemovePermissions(name), s.home.RemoveApprovals(name), s.home.RemovePrevious(name)); err != nil {
		return err
	}
	s.forgetLogin(ctx, name)
	if err := a.leaveSecrets(ctx, s, name, purge); err != nil {
		s.ui.warn("the secrets of %s, if there are any, are kept: %v", name, err)
	}
	s.prunePackages(ctx)
	kept := ""
	if lines, err := s.Logs(name, 1); err == nil && len(lines) > 0 {
		kept = "; its log is kept"
	}
	if logs {
		kept = ""
		for _, each := range append(instances, name) {
			if err := s.removeLogs(each); err != nil {
				return err
			}
		}
	}
	keptData, err := a.removeData(s, name, data)
	if err != nil {
		return err
	}
	kept += keptData
	if err := s.record(ctx, berth.Record{Server: name, Action: berth.ActionRemove}); err != nil {
		return err
	}
	s.ui.print("%s: removed%s", name, kept)
	s.noteImage(was)
	s.warnOfProfiles(name)
	return nil
}

// removeData removes what the server wrote for itself if its user wants that, and says
// what is kept.
func (a *app) removeData(s *site, name string, wanted bool) (kept string, err error) {
	found, err := s.home.HasData(name)
	if err != nil {
		return "", err
	}
	dir, err := s.home.DataDir(name)
	if err != nil {
		return "", err
	}
	if found && !wanted && !a.yes(fmt.Sprintf("remove what %s wrote to %s? [y/N] ", name, dir)) {
		return "; what it wrote is kept in " + dir, nil
	}
	return "", s.home.RemoveData(name)
}

// forgetLogin deletes the tokens and other secrets of a server that is gone. A secret store that does
// not open keeps nobody from removing a server.
func (s *site) forgetLogin(ctx context.Context, name string) {
	v, err := s.vault()
	if err == nil {
		err = oauth.Forget(ctx, v, name)
	}
	if err == nil {
		err = s.store(ctx, name, nil)
	}
	if err != nil {
		s.ui.warn("the login to %s, if there is one, is kept: %v", name, err)
	}
}

// leaveSecrets deletes the secrets of a server that is gone, or says that they are kept.
func (a *app) leaveSecrets(ctx context.Context, s *site, name string, purge bool) error {
	keys, err := s.secretKeys(name)
	if err != nil || len(keys) == 0 {
		return err
	}
	if !purge && !a.yes(fmt.Sprintf("remove the secrets of %s, too: %s? [y/N] ", name, strings.Join(keys, ", "))) {
		s.ui.note("its secrets are kept: %s; berth secret rm %s --all removes them", strings.Join(keys, ", "), name)
		return nil
	}
	return s.removeSecrets(ctx, name, keys)
}

// removeLogs removes a server's log and what was rotated out of it. The name
// was checked; it holds nothing that Glob would expand.
func (s *site) removeLogs(name string) error {
	log := filepath.Join(s.Dir(), "logs", name+".log")
	rotated, err := filepath.Glob(log + ".*")
	if err != nil {
		return err
	}
	for _, file := range append(rotated, log) {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove the log of %s: %w", name, err)
		}
	}
	return nil
}
