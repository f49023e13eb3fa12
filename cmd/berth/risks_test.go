package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestRisksAreShown(t *testing.T) {
	home := t.TempDir()
	for _, c := range []struct {
		argv []string
		want []string // parts of what is said, in order
	}{
		{[]string{"npx", "-y", "@modelcontextprotocol/server-everything"}, nil},
		{[]string{"server", "--sub", "rm", "su"}, nil},
		{[]string{"sudo", "server"}, []string{"sudo"}},
		{[]string{"/usr/bin/sudo", "-n", "server"}, []string{"sudo"}},
		{[]string{"sh", "-c", "sudo systemctl restart x"}, []string{"sudo"}},
		{[]string{"sh", "-c", "cd /tmp;rm -fr x && sudo true"}, []string{"rm", "sudo"}},
		{[]string{"rm", "-rf", "/srv/x"}, []string{"rm"}},
		{[]string{"env", "rm", "--recursive", "/srv/x"}, []string{"rm"}},
		{[]string{"rm", "/srv/x"}, nil},
		{[]string{"sh", "-c", "rm x"}, nil},
		{[]string{"files", home}, []string{"home directory"}},
		{[]string{"files", home + "/"}, []string{"home directory"}},
		{[]string{"files", "~"}, []string{"home directory"}},
		{[]string{"files", filepath.Join(home, "work")}, nil},
		{[]string{"files", "--dir=" + filepath.Join(home, ".ssh", "id_ed25519")}, []string{"keys"}},
		{[]string{"sh", "-c", "cat ~/.ssh/id_rsa $HOME/.aws/credentials"}, []string{".ssh", ".aws"}},
		{[]string{"files", filepath.Join(home, ".sshd")}, nil},
		{[]string{"files", "/"}, []string{"the whole disk"}},
	} {
		got := risksOf(c.argv, home)
		ok := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%q: %q, not %q", c.argv, got, c.want)
		}
	}
}
