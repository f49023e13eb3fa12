package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
)

// openBrowser has a browser open a URL, or $BERTH_BROWSER if that is set. No shell
// is between, and what is no address of the web is not opened: programs that open
// things open other things, too. The browser goes on when Berth ends.
func openBrowser(at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("it is not an address of the web")
	}
	argv := append(systemBrowser(), at)
	if own := os.Getenv("BERTH_BROWSER"); own != "" {
		argv = []string{own, at}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	detach(cmd) // Ctrl-C is not meant for it
	if err := cmd.Start(); err != nil {
		return err
	}
	// Who reaps it ends with this process at the latest; what it says is shown by
	// the login that comes, or does not.
	go func() { _ = cmd.Wait() }()
	return nil
}
