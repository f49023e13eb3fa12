package mcp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Fingerprint tells apart the results of initialize that would have a client
// behave differently: by capabilities, instructions and the server's version.
// Neither the order of members nor spacing matters.
func Fingerprint(result []byte) string {
	h := sha256.New()
	for _, path := range [][]string{{"capabilities"}, {"instructions"}, {"serverInfo", "version"}} {
		h.Write(canonical(jsonrpc.Get(result, path...)))
		h.Write([]byte{'\n'}) // there is none in JSON that is canonical
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// canonical is JSON with its members in order and without spacing; what is none
// is left as it is.
func canonical(raw []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) == 0 || d.Decode(&v) != nil {
		return raw
	}
	out, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return out
}
