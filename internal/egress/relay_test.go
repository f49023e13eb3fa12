package egress

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// relayed returns a Server with bounds of its own and the two ends of a connection
// that it relays.
func relayed(t *testing.T, c Config) (s *Server, in, out *net.TCPConn) {
	t.Helper()
	c.Rules = &Rules{}
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	in, innerEnd := tcpPair(t)
	out, outerEnd := tcpPair(t)
	s.running.Go(func() { s.relay(innerEnd, outerEnd) })
	return s, in, out
}

func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	for _, c := range []net.Conn{c, d} {
		c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	d.SetDeadline(time.Time{})
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// TestIdle: a connection on which nothing moves ends, one on which something moves in
// one direction only does not.
func TestIdle(t *testing.T) {
	const idle = time.Second
	_, in, out := relayed(t, Config{Idle: idle})
	begun := time.Now()
	for time.Since(begun) < 2*idle {
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
		if _, err := in.Read(make([]byte, 1)); err != nil {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
	}
	if n, err := in.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes came", n)
	}
	if took := time.Since(begun); took < 2*idle+idle/2 || took > 20*time.Second {
		t.Errorf("it ended after %v", took)
	}
}

// TestHalfClose: who has said all may still hear all.
func TestHalfClose(t *testing.T) {
	_, in, out := relayed(t, Config{})
	in.Write([]byte("question"))
	in.CloseWrite()
	if b, err := io.ReadAll(out); err != nil || string(b) != "question" {
		t.Fatalf("%q, %v", b, err)
	}
	out.Write([]byte("answer"))
	out.Close()
	if b, err := io.ReadAll(in); err != nil || string(b) != "answer" {
		t.Fatalf("%q, %v", b, err)
	}
}

// TestReset: a connection that breaks on one side breaks on the other.
func TestReset(t *testing.T) {
	_, in, out := relayed(t, Config{})
	out.SetLinger(0)
	out.Close()
	if b, err := io.ReadAll(in); err == nil {
		t.Errorf("it ended as if it were whole: %q", b)
	}
}

// TestBackPressure: what is not read is not taken, beyond what sockets and the pipe
// between them hold.
func TestBackPressure(t *testing.T) {
	_, in, out := relayed(t, Config{})
	in.SetReadBuffer(64 << 10)
	taken := 0
	block := make([]byte, 64<<10)
	for taken < 256<<20 {
		out.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := out.Write(block)
		taken += n
		if err != nil {
			break
		}
	}
	if taken > 64<<20 {
		t.Errorf("%d MiB were taken", taken>>20)
	}
	out.SetWriteDeadline(time.Time{})
	out.CloseWrite()
	if n, err := io.Copy(io.Discard, in); err != nil || n != int64(taken) {
		t.Errorf("%d bytes came of %d: %v", n, taken, err)
	}
}

// TestConnectTime: a name that nobody resolves, and an address that nobody answers at,
// keep a client as long as is allowed.
func TestConnectTime(t *testing.T) {
	c := Config{Connect: 50 * time.Millisecond}
	c.Rules, _ = ParseRules([]string{"network:example.com:443", "network:10.0.0.1:443"})
	c.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
	c.Dial = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, d := range []destination{s.destinationFor("example.com", 443), {addr: s.rules.list[1].addr, port: 443, may: asNamed}} {
		begun := time.Now()
		if _, err := s.connect(d); err == nil || time.Since(begun) > 10*time.Second {
			t.Errorf("%v: %v after %v", d, err, time.Since(begun))
		}
	}
}
