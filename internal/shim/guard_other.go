//go:build !linux

package shim

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watchDir calls gone when the entry called name disappears from dir.
func watchDir(dir, name string, gone func()) (stop func(), err error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(dir); err != nil {
		w.Close()
		return nil, err
	}
	go func() {
		for ev := range w.Events {
			if filepath.Base(ev.Name) == name && (ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)) {
				gone()
			}
		}
	}()
	return sync.OnceFunc(func() { w.Close() }), nil
}
