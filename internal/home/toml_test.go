package home

import (
	"encoding"
	"reflect"
	"testing"
)

// The library passes over UnmarshalText where the type's kind is one that TOML
// has, and an error of one that it calls may have no place (decisions/001).
func TestNothingDecodedHasUnmarshalText(t *testing.T) {
	text := reflect.TypeFor[encoding.TextUnmarshaler]()
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		if typ.Implements(text) || reflect.PointerTo(typ).Implements(text) {
			t.Errorf("%s: %v has UnmarshalText", path, typ)
		}
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(path, typ.Elem())
		case reflect.Map:
			walk(path, typ.Key())
			walk(path, typ.Elem())
		case reflect.Struct:
			for f := range typ.Fields() {
				if f.IsExported() && f.Tag.Get("toml") != "-" {
					walk(path+"."+f.Name, f.Type)
				}
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[stateFile](), reflect.TypeFor[Server](), reflect.TypeFor[configFile](), reflect.TypeFor[Permissions](),
	} {
		walk(typ.Name(), typ)
	}
	if len(seen) < 15 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}
