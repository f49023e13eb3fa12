package egress

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"CONNECT example.com:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "example.com:443"},
		{"CONNECT EXAMPLE.com.:443 HTTP/1.0\r\n\r\n", "example.com:443"},
		{"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n", "[2001:db8::1]:443"},
		{"CONNECT [::ffff:10.0.0.1]:443 HTTP/1.1\r\n\r\n", "10.0.0.1:443"},
		{"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n", "10.0.0.1:443"},
		{"GET http://example.com/a?b HTTP/1.1\r\nHost: evil.example\r\nX: y\r\nProxy-Authorization: z\r\nConnection: x\r\n\r\n",
			"example.com:80 GET /a?b HTTP/1.1|Host: example.com|Connection: close||"},
		{"GET HTTP://[::1]:81?b HTTP/1.1\r\n\r\n", "[::1]:81 GET /?b HTTP/1.1|Host: [::1]:81|Connection: close||"},
		{"POST http://example.com HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "example.com:80 POST / HTTP/1.1|Host: example.com|Content-Length: 3|Connection: close||"},
	} {
		r, err := parseRequest([]byte(c.in))
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		got := destination{name: r.name, addr: r.addr, port: r.port}.String()
		if !r.connect {
			got += " " + strings.ReplaceAll(string(r.header), "\r\n", "|")
		}
		if got != c.want {
			t.Errorf("%q: %q, not %q", c.in, got, c.want)
		}
	}
	for _, in := range []string{
		"CONNECT example.com HTTP/1.1\r\n\r\n",
		"CONNECT example.com: HTTP/1.1\r\n\r\n",
		"CONNECT :443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com:443:443 HTTP/1.1\r\n\r\n",
		"CONNECT 2001:db8::1:443 HTTP/1.1\r\n\r\n",
		"CONNECT [::1] HTTP/1.1\r\n\r\n",
		"CONNECT [::1]443 HTTP/1.1\r\n\r\n",
		"CONNECT [::1]: HTTP/1.1\r\n\r\n",
		"CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n\r\n",
		"CONNECT [10.0.0.1]:443 HTTP/1.1\r\n\r\n",
		"CONNECT user@example.com:443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com:443@evil.example:443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com%00.evil.example:443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com\x00.evil.example:443 HTTP/1.1\r\n\r\n",
		"CONNECT 127.1:443 HTTP/1.1\r\n\r\n",
		"CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n",
		"CONNECT 2130706433:443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com:0443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1 \r\n\r\n",
		"CONNECT example.com:443  HTTP/1.1\r\n\r\n",
		"CONNECT\texample.com:443 HTTP/1.1\r\n\r\n",
		"CONNECT example.com:443 HTTP/2.0\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\nHost: x\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"CONNECT http://example.com:443 HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"GET https://example.com/ HTTP/1.1\r\n\r\n",
		"GET http://user:pass@example.com/ HTTP/1.1\r\n\r\n",
		"GET http:///x HTTP/1.1\r\n\r\n",
		"GET http://example.com/a b HTTP/1.1\r\n\r\n",
		"GET http://example.com\\@evil.example/ HTTP/1.1\r\n\r\n",
		"GET http://example.com/#f HTTP/1.1\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nX: y\r\n Content-Length: 5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nX: y\rContent-Length: 5\r\n\r\n",
		"POST http://example.com/ HTTP/1.1\r\nX: y\nContent-Length: 5\r\n\r\n",
	} {
		if r, err := parseRequest([]byte(in)); err == nil {
			t.Errorf("%q is a request: %+v", in, r)
		}
	}
}

// FuzzRequest: what is sent on is one request, to the host that was allowed, in the
// eyes of another parser as well.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("CONNECT [::1]:443 HTTP/1.1\r\n\r\n"))
	f.Add([]byte("POST http://example.com:81/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("POST http://example.com/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: x\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		end := headerEnd(in)
		if end == 0 {
			return
		}
		r, err := parseRequest(in[:end])
		if err != nil {
			return
		}
		if r.port == 0 || (r.name == "") != r.addr.IsValid() {
			t.Fatalf("%q goes to %+v", in, r)
		}
		if r.name != "" {
			if again, ok := hostname(r.name); !ok || again != r.name {
				t.Fatalf("%q goes to %q", in, r.name)
			}
		}
		if r.connect {
			return
		}
		buf := bufio.NewReader(bytes.NewReader(r.header))
		got, err := http.ReadRequest(buf)
		if err != nil {
			// It is stricter about some methods, paths and fields, which is no harm:
			// none may frame the message another way.
			return
		}
		if got.ContentLength != r.length && !r.chunked || (len(got.TransferEncoding) > 0) != r.chunked {
			t.Fatalf("%q has a body of %d, %v, and is sent on as %q", in, got.ContentLength, got.TransferEncoding, r.header)
		}
		host := strings.ToLower(got.Host)
		if r.name != "" && !strings.HasPrefix(host, r.name) {
			t.Fatalf("%q is allowed for %q and sent to %q", in, r.name, host)
		}
		if !got.Close {
			t.Fatalf("%q is followed by another", r.header)
		}
	})
}

// FuzzChunks holds the end of a body that is found against another reader's.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\n\r\nGET"), 4)
	f.Add([]byte("A;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"), 1)
	f.Add([]byte("0\r\n\r\n"), 100)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		var c chunks
		n, end := 0, false
		for step = max(1, step%64); n < len(in) && !end; {
			k, e, err := c.advance(in[n:min(len(in), n+step)])
			n += k
			if err != nil {
				return
			}
			end = e
		}
		if !end {
			return
		}
		rest := bufio.NewReader(bytes.NewReader(in[:n]))
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(rest)); err != nil {
			t.Fatalf("%q ends, and is to another reader: %v", in[:n], err)
		}
		// What is left of it there is the trailer, with the empty line.
		trailer, err := io.ReadAll(rest)
		if err != nil || !bytes.HasSuffix(trailer, []byte("\r\n")) {
			t.Fatalf("%q leaves %q", in[:n], trailer)
		}
	})
}

func TestChunks(t *testing.T) {
	for _, c := range []struct {
		in  string
		end int // -1: not a body
	}{
		{"3\r\nabc\r\n0\r\n\r\nGET", 13},
		{"0\r\n\r\n", 5},
		{"0\r\nA: b\r\nC: d\r\n\r\nX", 17},
		{"3\nabc\r\n0\r\n\r\n", -1},
		{"3\r\nabcd\r\n0\r\n\r\n", -1},
		{"\r\n", -1},
		{"-1\r\n", -1},
		{"0x3\r\nabc\r\n0\r\n\r\n", -1},
		{" 3\r\nabc\r\n0\r\n\r\n", -1},
		{"3 \r\nabc\r\n0\r\n\r\n", -1},
		{"fffffffffffffffff\r\n", -1},
	} {
		var f chunks
		n, end, err := f.advance([]byte(c.in))
		if c.end < 0 && err == nil || c.end >= 0 && (err != nil || !end || n != c.end) {
			t.Errorf("%q: %d, %v, %v", c.in, n, end, err)
		}
	}
}
