package egress

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// What of HTTP/1.1 a proxy needs (RFC 9112), taken strictly: what two parsers could
// read in two ways is refused.

// maxHeader bounds a request line and its header.
const maxHeader = 64 << 10

// request is the header of one request to the proxy.
type request struct {
	// host and port are where it is to go: a name as hostname returns it, or the
	// address.
	name string
	addr netip.Addr
	port uint16
	// connect: a tunnel is asked for. Of other requests header is what to send on,
	// length how long their body is, chunked that it says so itself.
	connect bool
	header  []byte
	length  int64
	chunked bool
}

// badRequest is a request that is refused because of its form.
type badRequest string

func (e badRequest) Error() string { return string(e) }

// headerEnd returns how long the header at the beginning of b is, its empty line
// included, 0 if it does not end in b.
func headerEnd(b []byte) int {
	i := bytes.Index(b, []byte("\r\n\r\n"))
	if i < 0 {
		return 0
	}
	return i + 4
}

// parseRequest takes a header with its empty line.
func parseRequest(header []byte) (request, error) {
	var r request
	lines := strings.Split(strings.TrimSuffix(string(header), "\r\n\r\n"), "\r\n")
	for _, line := range lines {
		for i := range len(line) {
			if c := line[i]; c < ' ' && c != '\t' || c == 0x7f {
				return r, badRequest("a control character")
			}
		}
	}
	method, rest, ok := strings.Cut(lines[0], " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !token(method) || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return r, badRequest("no request line of HTTP/1")
	}
	if method == "CONNECT" {
		r.connect = true
		if err := r.authority(target, 0); err != nil {
			return r, err
		}
		_, err := r.fields(lines[1:], nil)
		if err == nil && (r.length > 0 || r.chunked) {
			err = badRequest("CONNECT with a body")
		}
		return r, err
	}
	const scheme = "http://"
	if len(target) < len(scheme) || !strings.EqualFold(target[:len(scheme)], scheme) {
		return r, badRequest("neither CONNECT nor a URL of http: this is a proxy, and https goes through CONNECT")
	}
	authority := target[len(scheme):]
	path := "/"
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority, path = authority[:i], authority[i:]
	}
	if strings.Contains(path, "#") {
		return r, badRequest("a fragment")
	}
	if path[0] != '/' {
		path = "/" + path
	}
	for i := range len(path) {
		if path[i] <= ' ' || path[i] > '~' {
			return r, badRequest("a path with what has to be escaped")
		}
	}
	if err := r.authority(authority, 80); err != nil {
		return r, err
	}
	// RFC 9112 3.2.2: "the proxy MUST ignore the received Host header field (if any)
	// and instead replace it with the host information of the request-target".
	out := []byte(method + " " + path + " HTTP/1.1\r\nHost: " + authority + "\r\n")
	out, err := r.fields(lines[1:], out)
	// One request for each connection: what follows could be for somebody else.
	r.header = append(out, "Connection: close\r\n\r\n"...)
	return r, err
}

// fields checks header fields, takes what says how long the body is, and appends to
// out those that are not between the client and the proxy.
func (r *request) fields(lines []string, out []byte) ([]byte, error) {
	drop := map[string]bool{
		"host": true, "connection": true, "keep-alive": true, "proxy-connection": true, "proxy-authorization": true,
		"te": true, "trailer": true, "upgrade": true, "http2-settings": true,
	}
	length, coded := false, false
	type field struct{ name, line string }
	var all []field
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return out, badRequest("a header field that is none")
		}
		lower, value := strings.ToLower(name), strings.Trim(value, " \t")
		switch lower {
		case "connection":
			for _, option := range strings.Split(value, ",") {
				switch option = strings.ToLower(strings.Trim(option, " \t")); option {
				case "content-length", "transfer-encoding", "host":
					return out, badRequest("Connection names a field that frames the message")
				default:
					drop[option] = true
				}
			}
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || length || value[0] == '+' {
				return out, badRequest("Content-Length is not one number")
			}
			length, r.length = true, int64(n)
		case "transfer-encoding":
			if coded || !strings.EqualFold(value, "chunked") {
				return out, badRequest("a Transfer-Encoding other than chunked")
			}
			coded, r.chunked = true, true
		}
		all = append(all, field{lower, line})
	}
	if length && coded {
		return out, badRequest("Content-Length and Transfer-Encoding")
	}
	for _, f := range all {
		if !drop[f.name] {
			out = append(append(out, f.line...), "\r\n"...)
		}
	}
	return out, nil
}

// authority takes HOST:PORT, without the port if there is a default.
func (r *request) authority(s string, port uint16) error {
	bad := badRequest(fmt.Sprintf("%.100q is not a host and a port", s))
	host := s
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return bad
		}
		addr, err := netip.ParseAddr(s[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return bad
		}
		r.addr, host, s = addr.Unmap(), "", s[end+1:]
		if s != "" && s[0] != ':' {
			return bad
		}
		s = strings.TrimPrefix(s, ":")
		if s == "" && port == 0 {
			return bad
		}
	} else {
		var ok bool
		if host, s, ok = strings.Cut(s, ":"); !ok && port == 0 || ok && s == "" {
			return bad
		}
	}
	if s != "" {
		n, ok := parsePort(s)
		if !ok {
			return bad
		}
		port = n
	}
	r.port = port
	if r.addr.IsValid() {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		r.addr = addr
		return nil
	}
	name, ok := hostname(host)
	if !ok {
		return bad
	}
	r.name = name
	return nil
}

// token says whether s is one of RFC 9110.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// errChunk is a body that does not keep to its coding.
var errChunk = errors.New("a chunk that is none")

// chunks follows a body in chunks, to know where it ends.
type chunks struct {
	state byte
	left  uint64 // of a chunk
	any   bool   // a digit of its length, or a byte of a line of the trailer
	line  int    // length of the line so far
}

const (
	inSize byte = iota
	inExtension
	inSizeLF
	inData
	inDataCR
	inDataLF
	inTrailer
	inTrailerLF
	chunksEnd
)

// advance takes what came of the body and returns how much of it belongs to it, and
// whether it ends there.
func (c *chunks) advance(b []byte) (n int, end bool, err error) {
	for n < len(b) && c.state != chunksEnd {
		x := b[n]
		if c.state != inData {
			if c.line++; c.line > 4096 {
				return n, false, errChunk
			}
		}
		switch c.state {
		case inSize:
			digit := strings.IndexByte("0123456789abcdef", x|0x20)
			switch {
			case digit >= 0 && (x >= '0' && x <= '9' || x >= 'A') && c.left < 1<<50:
				c.left, c.any = c.left<<4|uint64(digit), true
			case x == ';' && c.any:
				c.state = inExtension
			case x == '\r' && c.any:
				c.state = inSizeLF
			default:
				return n, false, errChunk
			}
		case inExtension:
			if x == '\r' {
				c.state = inSizeLF
			} else if x < ' ' && x != '\t' {
				return n, false, errChunk
			}
		case inSizeLF:
			if x != '\n' {
				return n, false, errChunk
			}
			c.state, c.any, c.line = inData, false, 0
			if c.left == 0 {
				c.state = inTrailer
			}
		case inData:
			k := min(uint64(len(b)-n), c.left)
			n += int(k) - 1
			if c.left -= k; c.left == 0 {
				c.state = inDataCR
			}
		case inDataCR, inDataLF:
			if x != "\r\n"[c.state-inDataCR] {
				return n, false, errChunk
			}
			if c.state++; c.state > inDataLF {
				c.state, c.line = inSize, 0
			}
		case inTrailer:
			switch {
			case x == '\r':
				c.state = inTrailerLF
			case x < ' ' && x != '\t':
				return n, false, errChunk
			default:
				c.any = true
			}
		case inTrailerLF:
			if x != '\n' {
				return n, false, errChunk
			}
			if c.state = inTrailer; !c.any {
				c.state = chunksEnd
			}
			c.any = false
		}
		n++
	}
	return n, c.state == chunksEnd, nil
}
