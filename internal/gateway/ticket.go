package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// ticket is what a modern client gets as requestState, sealed: it is good for one
// principal, server, method, name, arguments and time only. It names a parked
// call; one that names none is for a request that is made anew.
type ticket struct {
	ID      string `json:"i,omitempty"`
	Round   int    `json:"r,omitempty"`
	Expires int64  `json:"e"`
	// Pass has the client's answers go to the server in its request, with the state
	// that the server itself wanted back: raw JSON, or nil.
	Pass  bool            `json:"p,omitempty"`
	State json.RawMessage `json:"s,omitempty"`
}

// params are those of a modern client's request for a legacy server. One that is
// made anew by this ticket has the client's answers in it.
func (t ticket) params(m jsonrpc.Message) []byte {
	params := m.Params
	legacy := bridge.ToLegacy(params)
	if m.Method == "tools/call" {
		legacy = jsonrpc.Delete(legacy, "task") // it would become a task of the other era
	}
	if !t.Pass {
		return legacy
	}
	out, err := jsonrpc.Edit(legacy,
		jsonrpc.Member{Name: "inputResponses", Value: jsonrpc.Get(params, "inputResponses")},
		jsonrpc.Member{Name: "requestState", Value: t.State})
	if err != nil {
		return legacy // cannot happen: they are an object
	}
	return out
}

// errTicket: a requestState that nobody may use, or that came too late.
var errTicket = &jsonrpc.Error{
	Code:    jsonrpc.CodeInvalidParams,
	Message: "requestState is not valid, or no longer: the call that it belongs to was given up; make the request again without it",
}

// seal closes and opens tickets.
type seal struct{ aead cipher.AEAD }

func newSeal(key []byte) (seal, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return seal{}, err
	}
	aead, err := cipher.NewGCM(block)
	return seal{aead}, err
}

// binding is what a ticket is bound to.
func binding(s *server, x exchange) []byte {
	h := sha256.New()
	var nonce [16]byte
	name := jsonrpc.Get(x.m.Params, "name")
	if name == nil {
		name = jsonrpc.Get(x.m.Params, "uri")
	}
	for _, part := range [][]byte{[]byte(x.by.Principal), []byte(s.name), []byte(x.m.Method), name, jsonrpc.Get(x.m.Params, "arguments")} {
		h.Write(strconv.AppendInt(nil, s.g.spool.Size(part), 10))
		h.Write([]byte{':'})
		if s.g.spool.WriteTo(h, part) != nil {
			_, _ = rand.Read(nonce[:]) // it never fails; so the ticket is good for nothing
			h.Write(nonce[:])
		}
	}
	return h.Sum(nil)
}

// issue seals a ticket that is good until parkFor from now.
func (s seal) issue(t ticket, bound []byte) string {
	t.Expires = time.Now().Add(parkFor).Unix()
	plain, err := json.Marshal(t)
	if err != nil {
		panic("gateway: a state that was parsed is no JSON") // cannot happen
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, bound))
}

func (s seal) redeem(state string, bound []byte, now time.Time) (t ticket, err error) {
	data, err := base64.RawURLEncoding.DecodeString(state)
	n := s.aead.NonceSize()
	if err != nil || len(data) < n {
		return t, errTicket
	}
	plain, err := s.aead.Open(nil, data[:n], data[n:], bound)
	if err != nil || json.Unmarshal(plain, &t) != nil || now.Unix() >= t.Expires {
		return ticket{}, errTicket
	}
	return t, nil
}
