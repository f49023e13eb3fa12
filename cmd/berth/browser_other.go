//go:build !darwin && !windows

package main

// systemBrowser opens the URL that follows.
func systemBrowser() []string { return []string{"xdg-open"} }
