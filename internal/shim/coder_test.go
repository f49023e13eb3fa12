package shim

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// messages are one of each, zero.
func messages() []message {
	return []message{&boot{}, &request{}, &reply{}, &statusFrame{}, &noteFrame{}, &wireError{}}
}

// fill gives every member in v a value that is not zero, and each another.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 5).In(time.FixedZone("", 3600))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.String:
		v.SetString("text \xff\x00" + string(rune('a'+*n)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(*n))
	case reflect.Uint64:
		v.SetUint(^uint64(*n))
	case reflect.Uint16:
		v.SetUint(uint64(^uint16(*n)))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{0, byte(*n)})
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 2 { // the third stays empty, and is one all the same
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 3 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, n)
			fill(t, value, n)
			v.SetMapIndex(key, value)
		}
	default:
		t.Fatalf("a message has a %v: give coder a form for it", v.Type())
	}
}

// same compares moments as moments and everything else member by member.
func same(a, b reflect.Value) bool {
	if at, ok := a.Interface().(time.Time); ok {
		bt := b.Interface().(time.Time)
		_, ao := at.Zone()
		_, bo := bt.Zone()
		return at.Equal(bt) && ao == bo
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Type().Elem().Kind() != reflect.Struct {
			break
		}
		for i := range min(a.Len(), b.Len()) {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return a.Len() == b.Len()
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// Whatever a message has arrives: a member that nobody listed would not.
func TestMessagesArriveWhole(t *testing.T) {
	for _, m := range messages() {
		n := 0
		fill(t, reflect.ValueOf(m).Elem(), &n)
		wire := encode(nil, m)
		got := reflect.New(reflect.TypeOf(m).Elem())
		if err := decode(wire, got.Interface().(message)); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if !same(reflect.ValueOf(m).Elem(), got.Elem()) {
			t.Errorf("%T arrived as\n%+v, not\n%+v", m, got.Elem(), m)
		}
		if again := encode(nil, got.Interface().(message)); !bytes.Equal(again, wire) {
			t.Errorf("%T is encoded in more than one way", m)
		}
		// Cut anywhere it is an error, or the fields before the cut.
		for i := range wire {
			part := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
			if err := decode(wire[:i], part); err != nil && !errors.Is(err, ErrProtocol) {
				t.Fatalf("%T cut at %d: %v", m, i, err)
			}
		}
	}
}

// What is zero takes no room, and a pointer to zero is not nil.
func TestZeroIsLeftOut(t *testing.T) {
	for _, m := range messages() {
		wire := encode(nil, m)
		if _, ok := m.(*boot); ok && len(wire) == fieldHeader {
			continue // its spec is always there
		}
		if _, ok := m.(*statusFrame); ok && len(wire) == fieldHeader {
			continue // its status as well
		}
		if len(wire) != 0 {
			t.Errorf("an empty %T is %x", m, wire)
		}
	}
	code := 0
	var got reply
	want := reply{Status: &berth.Status{LastExit: &berth.Exit{Code: &code}}}
	if err := decode(encode(nil, &want), &got); err != nil || got.Status.LastExit.Code == nil || *got.Status.LastExit.Code != 0 {
		t.Errorf("exit code 0 arrived as %+v, %v", got.Status, err)
	}
}

// The bytes belong to the protocol: another version reads them.
func TestFormOfMessages(t *testing.T) {
	for _, c := range []struct {
		m    message
		want string
	}{
		{&request{Version: 2, Op: "stop", Steal: true}, "0100000008" + "0000000000000002" + "0200000004" + "73746f70" + "0500000000"},
		{&reply{Error: &wireError{Kind: "held", Also: []string{"a", ""}}, Note: []byte{9}}, "0200000014" + "0100000004" + "68656c64" + "0200000001" + "61" + "0200000000" + "0800000001" + "09"},
		{&statusFrame{Status: berth.Status{Guarantees: map[string]berth.Guarantee{"b": {}, "a": {How: "h"}}}},
			"0100000026" + "0f00000011" + "0100000001" + "61" + "0200000006" + "0200000001" + "68" + "0f0000000b" + "0100000001" + "62" + "0200000000"},
	} {
		got := hex.EncodeToString(encode(nil, c.m))
		if got != c.want {
			t.Errorf("%T is\n%s, not\n%s", c.m, got, c.want)
		}
	}
}

func TestBadMessages(t *testing.T) {
	for name, wire := range map[string]string{
		"a head cut short":       "01000000",
		"more than there is":     "0200000005" + "73746f70",
		"an odd number":          "0100000001" + "02",
		"a switch with a value":  "0500000001" + "01",
		"inside of another":      "0300000006" + "0100000009" + "61",
		"JSON":                   hex.EncodeToString([]byte(`{"v":1,"op":"status"}`)),
		"the greatest length":    "02ffffffff",
		"after all that is read": "0200000001" + "61" + "63ffffffff",
	} {
		b, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(b, &request{}); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What a later version adds is skipped, wherever it is.
	var got request
	if err := decode([]byte("\x63\x00\x00\x00\x02hi\x02\x00\x00\x00\x01x\x03\x00\x00\x00\x08\x63\x00\x00\x00\x03new"), &got); err != nil || got.Op != "x" || got.Spec == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzMessages: any bytes are a message or an error, and a message that was read
// is one that can be sent.
func FuzzMessages(f *testing.F) {
	for _, m := range messages() {
		f.Add(encode(nil, m))
	}
	f.Add(encode(nil, &reply{Version: wireVersion, Status: &berth.Status{Name: "a", StartedAt: time.Unix(1, 0)}, Note: []byte("n")}))
	f.Add(encode(nil, &request{Op: opStart, Spec: &berth.ProcessSpec{Command: "c", Args: []string{""}, Env: map[string]string{"": ""}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range messages() {
			if decode(b, m) != nil {
				continue
			}
			wire := encode(nil, m)
			again := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
			if err := decode(wire, again); err != nil {
				t.Fatalf("%T: what was read cannot be read again: %v", m, err)
			}
			if twice := encode(nil, again); !bytes.Equal(twice, wire) {
				t.Fatalf("%T: %x became %x", m, wire, twice)
			}
		}
	})
}
