package shim

import (
	"slices"
	"testing"

	"github.com/berth-run/berth"
)

func TestEnvironmentOfAServer(t *testing.T) {
	environ := []string{"PATH=/bin", "HOME=/h", "HTTP_PROXY=http://me:secret@proxy", "GITHUB_TOKEN=shell", "LANG=C"}
	for _, c := range []struct {
		spec berth.ProcessSpec
		want []string
	}{
		{berth.ProcessSpec{}, []string{"HOME=/h", "HTTP_PROXY=http://me:secret@proxy", "LANG=C", "PATH=/bin"}},
		{berth.ProcessSpec{Env: map[string]string{"HOME": "/own", "X": "1"}}, []string{"HOME=/own", "HTTP_PROXY=http://me:secret@proxy", "LANG=C", "PATH=/bin", "X=1"}},
		{berth.ProcessSpec{Unset: []string{"HTTP_PROXY", "LANG", "OTHER"}}, []string{"HOME=/h", "PATH=/bin"}},
		{berth.ProcessSpec{Unset: []string{"HOME"}, Env: map[string]string{"HOME": "/own"}}, []string{"HOME=/own", "HTTP_PROXY=http://me:secret@proxy", "LANG=C", "PATH=/bin"}},
	} {
		got := environment(environ, c.spec)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q", c.spec, got)
		}
	}
}
