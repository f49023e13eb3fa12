package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func TestParseSetting(t *testing.T) {
	for text, want := range map[string]any{
		"servers.deny=a, b,": []string{"a", "b"}, "servers.allow=": []string{}, "tools.deny=@destructive": []string{"@destructive"},
		"permissions.deny_env_wildcard=true": true, "permissions.deny_env_wildcard=false": false, "confinement.minimum=strict": "strict",
	} {
		name, value, _ := strings.Cut(text, "=")
		s, err := ParseSetting(name, value)
		if err != nil || s.Name() != name || !reflect.DeepEqual(s.Value, want) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{"servers.denied=a", "servers=a", "deny=a", "permissions.deny_env_wildcard=yes", ".=", "="} {
		name, value, _ := strings.Cut(text, "=")
		if s, err := ParseSetting(name, value); !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

// TestSettingsAreRead: what can be set is what Parse knows, and each is shown again.
func TestSettingsAreRead(t *testing.T) {
	values := map[string]string{"permissions": "true", "confinement.minimum": "'strict'", "confinement.require": "'enforce'", "tools.changes": "'withhold'"}
	doc := ""
	for _, name := range Keys() {
		table, _, _ := strings.Cut(name, ".")
		value := "['a']"
		for key, v := range values {
			if key == name || key == table {
				value = v
			}
		}
		doc += name + " = " + value + "\n"
	}
	if _, warnings, err := Parse(file, []byte(doc)); err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	all := Settings([]byte(doc))
	if len(all) != len(Keys()) {
		t.Fatalf("%d of %d", len(all), len(Keys()))
	}
	for i, s := range all {
		if s.Name() != Keys()[i] || s.Text() == "" {
			t.Errorf("%+v", s)
		}
	}
}
