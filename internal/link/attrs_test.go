//go:build linux

package link_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Extended attributes, of which the access list is one, are those of the file before.
func TestAttributesStay(t *testing.T) {
	d := newDesk(t, before)
	want := map[string]string{"user.mine": "x\x00y"}
	// An access list of version 2 that lets user 12345 read (struct posix_acl_xattr_header,
	// linux/posix_acl_xattr.h).
	acl := "\x02\x00\x00\x00" +
		"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x39\x30\x00\x00" +
		"\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	want["system.posix_acl_access"] = acl
	for name, value := range want {
		if err := unix.Setxattr(d.file, name, []byte(value), 0); errors.Is(err, unix.ENOTSUP) {
			t.Logf("%s: this filesystem has no such attributes", name)
			delete(want, name)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	mode := func() os.FileMode {
		info, err := os.Stat(d.file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	was := mode()
	d.mustPut("linked")
	for name, value := range want {
		have := make([]byte, 1000)
		n, err := unix.Getxattr(d.file, name, have)
		if err != nil || string(have[:n]) != value {
			t.Errorf("%s is %q, %v", name, have[:max(n, 0)], err)
		}
	}
	if mode() != was {
		t.Errorf("the mode is %v, not %v", mode(), was)
	}
	d.take(false, "unlinked")
}

// An edit would leave the other names of a file behind.
func TestHardLinksAreLeftAlone(t *testing.T) {
	d := newDesk(t, before)
	if err := os.Link(d.file, d.file+".other"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.put(nil); err == nil || !strings.Contains(err.Error(), "has 2 names (hard links)") || d.read() != before {
		t.Error(err)
	}
	if records, err := d.book.Records(); err != nil || len(records) != 0 {
		t.Error(records, err)
	}
}
