package gateway

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
)

// A cursor of a list of many servers says how much of it the client has seen. It is
// sealed: it is good for one list of one client, and says nothing to it.

func (s seal) sealCursor(bound []byte, seen int) string {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, binary.AppendUvarint(nil, uint64(seen)), bound))
}

// openCursor is sealCursor backwards; errTicket if it cannot be.
func (s seal) openCursor(bound []byte, cursor string) (seen int, err error) {
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	n := s.aead.NonceSize()
	if err != nil || len(data) < n {
		return 0, errTicket
	}
	plain, err := s.aead.Open(nil, data[:n], data[n:], bound)
	if err != nil {
		return 0, errTicket
	}
	v, k := binary.Uvarint(plain)
	if k != len(plain) || k <= 0 || v > 1<<31 {
		return 0, errTicket
	}
	return int(v), nil
}
