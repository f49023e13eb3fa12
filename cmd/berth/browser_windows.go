package main

import (
	"os"
	"path/filepath"
)

// systemBrowser opens the URL that follows. "start" would need cmd.exe, which
// reads & and % in a URL.
func systemBrowser() []string {
	return []string{filepath.Join(os.Getenv("SystemRoot"), "System32", "rundll32.exe"), "url.dll,FileProtocolHandler"}
}
