package main

import (
	"sync"
)

// each calls f for every server, at most that many at a time, and says each
// error when it comes. The exit code is that of the first server, in the order
// given, that failed.
func each(u *ui, names []string, atOnce int, f func(name string) error) error {
	errs := make([]error, len(names))
	slots := make(chan struct{}, max(1, atOnce))
	var running sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if errs[i] = f(name); errs[i] != nil && len(names) > 1 {
				u.fail(errs[i])
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil && len(names) > 1 {
			return silent(codeOf(err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
