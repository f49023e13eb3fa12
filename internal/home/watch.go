package home

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watchSettles is how long a change is waited for to be the last of several: a
// file is written, then renamed.
const watchSettles = 30 * time.Millisecond

// WatchSettings calls fn after what is installed, or a setting of it, may have
// changed, until ctx ends, whose cause it returns. It waits for events, and calls fn
// once for several that come together. After what is approved of a server's tools may
// have changed it calls approved instead.
func (h *Home) WatchSettings(ctx context.Context, fn, approved func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the settings: %w", err)
	}
	defer w.Close()
	dirs := map[string]bool{}
	look := func() error {
		paths := []string{filepath.Dir(organisationPolicy())}
		for _, dir := range []string{"", serversDir, permissionsDir, profilesDir, clientsDir, approvalsDir} {
			paths = append(paths, h.path(dir))
		}
		for _, path := range paths {
			if dirs[path] {
				continue
			}
			if _, err := os.Stat(path); err != nil {
				continue // it is watched once it is there
			}
			// That of the machine may be closed to us; calls ask all the same.
			if err := w.Add(path); err != nil && path != filepath.Dir(organisationPolicy()) {
				return fmt.Errorf("watch the settings: %w", err)
			}
			dirs[path] = true
		}
		return nil
	}
	if err := look(); err != nil {
		return err
	}
	var settled <-chan time.Time
	setting, approval := false, false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-w.Events:
			isApproval := isApprovals(e.Name)
			if !isApproval && !isSetting(e.Name) {
				continue
			}
			setting, approval = setting || !isApproval, approval || isApproval
			if err := look(); err != nil {
				return err
			}
		case err := <-w.Errors:
			setting, approval = true, true
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch the settings: %w", err)
			}
		case <-settled:
			settled = nil
			if setting {
				fn()
			}
			if approval {
				approved()
			}
			setting, approval = false, false
			continue
		}
		if settled == nil {
			settled = time.After(watchSettles)
		}
	}
}

// isApprovals says whether a path is that of a server's approvals, or their directory's.
func isApprovals(path string) bool {
	base := filepath.Base(path)
	return base == approvalsDir || filepath.Base(filepath.Dir(path)) == approvalsDir && strings.HasSuffix(base, ".json")
}

// isSetting says whether a change of a file is one of a setting. The directory of
// the home sees much else.
func isSetting(path string) bool {
	base := filepath.Base(path)
	return strings.HasSuffix(base, ".toml") || base == serversDir || base == permissionsDir || base == profilesDir || base == clientsDir
}
