package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// exchangeOf is a request of a principal's.
func exchangeOf(t testing.TB, principal, line string) exchange {
	t.Helper()
	m, err := jsonrpc.Parse([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return exchange{by: &caller{Caller: Caller{Principal: principal}, modern: true}, m: m}
}

const ticketCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":1}}}`

// TestTickets: a ticket is good for what it was given for, and for nothing else.
func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seal, err := newSeal(bytes.Repeat([]byte{1}, 32))
		if err != nil {
			t.Fatal(err)
		}
		other, err := newSeal(bytes.Repeat([]byte{2}, 32))
		if err != nil {
			t.Fatal(err)
		}
		g := &Gateway{}
		s, elsewhere := &server{g: g, name: "s"}, &server{g: g, name: "elsewhere"}
		x := exchangeOf(t, "p", ticketCall)
		issued := ticket{ID: "call", Round: 3, Pass: true, State: []byte(`"é\u00e9"`)}
		state := seal.issue(issued, binding(s, x))

		got, err := seal.redeem(state, binding(s, x), time.Now())
		if err != nil || got.ID != issued.ID || got.Round != issued.Round || !got.Pass || !bytes.Equal(got.State, issued.State) {
			t.Fatalf("it is %+v, %v", got, err)
		}
		if again := seal.issue(issued, binding(s, x)); again == state {
			t.Error("two tickets are the same")
		}
		// The id of the retry, its answers and its _meta are its own.
		retry := exchangeOf(t, "p", `{"jsonrpc":"2.0","method":"tools/call","id":"9","params":{"_meta":{},"inputResponses":{},"arguments":{"a":1},"requestState":"x","name":"t"}}`)
		if _, err := seal.redeem(state, binding(s, retry), time.Now()); err != nil {
			t.Errorf("the retry: %v", err)
		}
		for what, bound := range map[string][]byte{
			"another principal": binding(s, exchangeOf(t, "q", ticketCall)),
			"another server":    binding(elsewhere, x),
			"another method":    binding(s, exchangeOf(t, "p", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"t","arguments":{"a":1}}}`)),
			"another name":      binding(s, exchangeOf(t, "p", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u","arguments":{"a":1}}}`)),
			"other arguments":   binding(s, exchangeOf(t, "p", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":2}}}`)),
			"no arguments":      binding(s, exchangeOf(t, "p", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`)),
			"parts moved":       binding(s, exchangeOf(t, "p", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t{\"a\":1}"}}`)),
		} {
			if _, err := seal.redeem(state, bound, time.Now()); !errors.Is(err, errTicket) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := other.redeem(state, binding(s, x), time.Now()); !errors.Is(err, errTicket) {
			t.Errorf("another key: %v", err)
		}
		raw, _ := base64.RawURLEncoding.DecodeString(state)
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if _, err := seal.redeem(base64.RawURLEncoding.EncodeToString(bad), binding(s, x), time.Now()); !errors.Is(err, errTicket) {
				t.Errorf("byte %d changed: %v", i, err)
			}
		}
		for _, bad := range []string{"", "x", "!", state[:len(state)-1], state + "A", state + "=", base64.RawURLEncoding.EncodeToString(raw[:12])} {
			if _, err := seal.redeem(bad, binding(s, x), time.Now()); !errors.Is(err, errTicket) {
				t.Errorf("%.20q: %v", bad, err)
			}
		}
		time.Sleep(parkFor - 2*time.Second)
		if _, err := seal.redeem(state, binding(s, x), time.Now()); err != nil {
			t.Errorf("just in time: %v", err)
		}
		time.Sleep(3 * time.Second)
		if _, err := seal.redeem(state, binding(s, x), time.Now()); !errors.Is(err, errTicket) {
			t.Errorf("too late: %v", err)
		}
	})
}

// FuzzTicket: what a client makes up is no ticket, and harms nobody.
func FuzzTicket(f *testing.F) {
	seal, err := newSeal(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	s := &server{g: &Gateway{}, name: "s"}
	bound := binding(s, exchangeOf(f, "p", ticketCall))
	// What was sealed for another is as near as one can get.
	f.Add(seal.issue(ticket{ID: "x"}, binding(s, exchangeOf(f, "q", ticketCall))))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, state string) {
		if got, err := seal.redeem(state, bound, time.Now()); err == nil {
			t.Errorf("%q is good for %+v", state, got)
		}
	})
}
