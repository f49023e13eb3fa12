package settings_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/berth-run/berth/internal/settings"
)

// fuzz holds for any bytes: they are refused, or an entry goes in and comes out.
func fuzz(f *testing.F, format settings.Format, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, doc []byte, list bool) {
		place := settings.Place{Path: []string{"servers", "berth"}}
		if list {
			place.ID = "name"
		}
		out, mark, err := settings.Set(format, doc, place, small())
		if err != nil {
			// An entry that is there can be removed, or there is a reason.
			if errors.Is(err, settings.ErrThere) {
				if out, err = settings.Remove(format, doc, place, settings.Mark{}); err != nil {
					return
				}
				if _, _, err := settings.Get(format, out, place); !errors.Is(err, settings.ErrMissing) {
					t.Errorf("%q still has it: %v", out, err)
				}
			}
			return
		}
		back, err := settings.Remove(format, out, place, mark)
		if err != nil || !bytes.Equal(back, doc) {
			t.Errorf("%q became %q and then %q (%v)", doc, out, back, err)
		}
	})
}

func FuzzJSON(f *testing.F) {
	fuzz(f, settings.JSON, "", "{}", `{"servers":{"berth":{}, "x":1,},}`, "{ // c\n\"servers\" : /* c */ {\n} // c", `{"a":[1,2,{"b":null}]}`)
}

func FuzzTOML(f *testing.F) {
	fuzz(f, settings.TOML, "", "a = 1", "[servers.berth]\nx = 1 # c\n[servers.berth.y]\n", "servers = {}", "servers = [{name='berth'}, ]", "[[servers]]\nname='berth'\n[[servers]]\n", "servers.berth.x = '''\n'''")
}

func FuzzYAML(f *testing.F) {
	fuzz(f, settings.YAML, "", "a: 1", "servers:\n  berth: {x: 1} # c\n  y: |\n    z\n", "servers: {}", "servers:\n- name: berth\n  x: 1\n- name: y\n", "{servers: {}}", "--- !!map\nservers: !!map\n  x: &a 1\n...\n", "? servers\n: berth: 1\n")
}
