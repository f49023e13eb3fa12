package egress

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// What of the DNS is needed (RFC 1035): a message of one question, and its answer.
const (
	dnsHeader = 12
	maxQuery  = 512 // a question has at most 271 bytes; what follows is not looked at

	typeA    = 1
	typeAAAA = 28
	typeANY  = 255
	classIN  = 1

	flagResponse  = 1 << 15
	flagTruncated = 1 << 9
	flagDesired   = 1 << 8 // recursion; copied
	flagAvailable = 1 << 7
	opcodeMask    = 15 << 11

	rcodeOK       = 0
	rcodeFormat   = 1
	rcodeName     = 3 // no such name
	rcodeNotImpl  = 4
	rcodeRefused  = 5
	secondsToLive = 60
)

// question is what a message asks.
type question struct {
	// name is of lower case, without a dot at its end; "" of the root, and of a name
	// that no host can have.
	name  string
	kind  uint16
	class uint16
	// end is where it ends in the message.
	end int
}

// parseQuestion takes the first question of a message, whose name must be spelled
// out: there is nothing before it that it could point to.
func parseQuestion(m []byte) (q question, ok bool) {
	var name strings.Builder
	odd := false
	for at := dnsHeader; at < len(m); {
		n := int(m[at])
		at++
		if n == 0 {
			if at+4 > len(m) {
				return q, false
			}
			q.kind, q.class = binary.BigEndian.Uint16(m[at:]), binary.BigEndian.Uint16(m[at+2:])
			q.end = at + 4
			if host, isHost := hostname(name.String()); isHost && !odd {
				q.name = host
			}
			return q, true
		}
		if n > 63 || at+n > len(m) || name.Len()+n > 254 {
			return q, false
		}
		if name.Len() > 0 {
			name.WriteByte('.')
		}
		label := m[at : at+n]
		for _, c := range label {
			odd = odd || c == '.' // a label that looks like two
		}
		name.Write(label)
		at += n
	}
	return q, false
}

// reply returns the answer to a message, nil if it deserves none. lookup says what
// address a name has: none if it has one of another kind only; and whether there is
// such a name.
func reply(m []byte, lookup func(name string, six bool) (netip.Addr, bool)) []byte {
	if len(m) < dnsHeader {
		return nil
	}
	flags := binary.BigEndian.Uint16(m[2:])
	if flags&flagResponse != 0 {
		return nil // or two of them might answer each other for ever
	}
	answer := func(end int, rcode uint16) []byte {
		out := make([]byte, end, end+28)
		copy(out, m[:end])
		binary.BigEndian.PutUint16(out[2:], flagResponse|flagAvailable|flags&(flagDesired|opcodeMask)|rcode)
		clear(out[4:dnsHeader])
		if end > dnsHeader {
			out[5] = 1
		}
		return out
	}
	if flags&opcodeMask != 0 {
		return answer(dnsHeader, rcodeNotImpl)
	}
	if flags&flagTruncated != 0 || binary.BigEndian.Uint16(m[4:]) != 1 {
		return answer(dnsHeader, rcodeFormat)
	}
	q, ok := parseQuestion(m)
	if !ok {
		return answer(dnsHeader, rcodeFormat)
	}
	if q.class != classIN {
		return answer(q.end, rcodeRefused)
	}
	if q.name == "" {
		return answer(q.end, rcodeName)
	}
	addr, exists := lookup(q.name, q.kind == typeAAAA)
	if !exists {
		return answer(q.end, rcodeName)
	}
	out := answer(q.end, rcodeOK)
	kind, data := uint16(typeA), addr.AsSlice()
	if addr.Is6() {
		kind = typeAAAA
	}
	if !addr.IsValid() || q.kind != kind && q.kind != typeANY {
		return out // the name exists, and has nothing of that type
	}
	out[7] = 1
	out = append(out, 0xc0, dnsHeader) // the name of the question
	out = binary.BigEndian.AppendUint16(out, kind)
	out = binary.BigEndian.AppendUint16(out, classIN)
	out = binary.BigEndian.AppendUint32(out, secondsToLive)
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
	return append(out, data...)
}
