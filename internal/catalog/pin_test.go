package catalog

import (
	"errors"
	"slices"
	"testing"
)

// TestPin: what is known of the package's own file holds, and says nothing of others'.
func TestPin(t *testing.T) {
	npm := func() *Lock {
		return &Lock{Kind: NPM, Package: "a", Tree: []Entry{
			{Name: "a", Version: "1", Path: "node_modules/a", Integrity: []string{"sha512-own"}},
			{Name: "a", Version: "0", Path: "node_modules/b/node_modules/a", Integrity: []string{"sha512-another"}},
		}}
	}
	pypi := func() *Lock {
		return &Lock{Kind: PyPI, Package: "My_Server", Native: "x", Tree: []Entry{
			{Name: "my-server", Version: "1", Integrity: []string{"sha256:a", "sha256:b"}}, {Name: "other", Version: "2", Integrity: []string{"sha256:c"}},
		}}
	}
	if err := npm().pin(nil); err != nil {
		t.Error(err)
	}
	if err := npm().pin([]string{"sha512-x", "sha512-own"}); err != nil {
		t.Error(err)
	}
	if err := npm().pin([]string{"sha512-another"}); !errors.Is(err, ErrLock) {
		t.Errorf("another hash: %v", err)
	}
	l := pypi()
	if err := l.pin([]string{"sha256:b", "sha256:z"}); err != nil {
		t.Error(err)
	}
	if !slices.Equal(l.Tree[0].Integrity, []string{"sha256:b"}) || l.Native != "my-server==1 --hash=sha256:b\nother==2 --hash=sha256:c\n" {
		t.Errorf("%+v", l)
	}
	if err := pypi().pin([]string{"sha256:c"}); !errors.Is(err, ErrLock) {
		t.Errorf("another's hash: %v", err)
	}
}
