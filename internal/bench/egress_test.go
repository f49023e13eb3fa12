//go:build linux

package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/berth-run/berth/internal/egress"
	"github.com/berth-run/berth/internal/netns"
	"golang.org/x/sys/unix"
)

// place is a thread with a network namespace of its own, on which functions run.
type place struct {
	do   chan func()
	done chan struct{}
}

// newPlace returns one. A thread's namespace cannot be left without rights; it ends
// with the thread.
func newPlace(b *testing.B, flags int) *place {
	b.Helper()
	p := &place{do: make(chan func()), done: make(chan struct{})}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		errs <- unix.Unshare(flags)
		for f := range p.do {
			f()
			p.done <- struct{}{}
		}
	}()
	if err := <-errs; err != nil {
		b.Skip("no network namespace: ", err)
	}
	b.Cleanup(func() { close(p.do) })
	return p
}

func (p *place) run(f func()) {
	p.do <- f
	<-p.done
}

// dial connects from a place.
func (p *place) dial(to netip.AddrPort) (*net.TCPConn, error) {
	var (
		fd  int
		err error
	)
	p.run(func() {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		}
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

const (
	egressBytes = 100 << 20
	egressPort  = 7000
)

var (
	egressHost = netip.MustParseAddr("10.99.0.1")
	hostLo     = netip.MustParseAddr("127.0.0.1")
)

// source sends egressBytes to whoever connects.
func source(b *testing.B, l net.Listener) {
	b.Helper()
	b.Cleanup(func() { l.Close() })
	go func() {
		block := make([]byte, 256<<10)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for left := egressBytes; left > 0; left -= len(block) {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func hostListener(b *testing.B) *net.TCPListener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// drain is how long it takes to read all that a connection brings.
func drain(b *testing.B, dial func() (*net.TCPConn, error)) time.Duration {
	b.Helper()
	begun := time.Now()
	c, err := dial()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	n := 0
	for {
		k, err := c.Read(buf)
		n += k
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if n != egressBytes {
		b.Fatalf("%d bytes came", n)
	}
	return time.Since(begun)
}

// bareRelay passes what to sends to whoever connects, by splice(2) alone, on a thread
// of its own for each connection.
func bareRelay(b *testing.B, to string) *net.TCPListener {
	b.Helper()
	l := hostListener(b)
	b.Cleanup(func() { l.Close() })
	blocking := func(c net.Conn) int {
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			b.Error(err)
			return -1
		}
		return int(f.Fd()) // that makes it block; the file lives as long as the benchmark
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				b.Error(err)
				return
			}
			go func() {
				a, z := blocking(in), blocking(out)
				var pipe [2]int
				if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
					b.Error(err)
					return
				}
				unix.FcntlInt(uintptr(pipe[0]), unix.F_SETPIPE_SZ, 1<<20)
				for {
					n, err := unix.Splice(z, nil, pipe[1], nil, 1<<20, unix.SPLICE_F_MOVE)
					if err != nil || n == 0 {
						break
					}
					for n > 0 {
						k, err := unix.Splice(pipe[0], nil, a, nil, int(n), unix.SPLICE_F_MOVE)
						if err != nil {
							return
						}
						n -= k
					}
				}
				unix.Shutdown(a, unix.SHUT_RDWR)
				unix.Close(pipe[0])
				unix.Close(pipe[1])
			}()
		}
	}()
	return l
}

// within is a place in which egressHost leads to what dial connects to.
func within(b *testing.B, dial func(ctx context.Context) (net.Conn, error)) *place {
	b.Helper()
	p := newPlace(b, unix.CLONE_NEWNET)
	rules, err := egress.ParseRules([]string{"network:10.99.0.1:7000"})
	if err != nil {
		b.Fatal(err)
	}
	var files []*os.File
	p.run(func() { files, err = netns.Prepare(rules.Ports()) })
	if err != nil {
		b.Fatal(err)
	}
	s, err := egress.Start(egress.Config{
		Rules: rules, Files: files,
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { return dial(ctx) },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return p
}

// BenchmarkEgressThroughput: 100 MB through the transparent path, against a relay of
// nothing but splice(2) on loopback, in turns.
func BenchmarkEgressThroughput(b *testing.B) {
	const rounds = 21
	l := hostListener(b)
	source(b, l)
	at := l.Addr().String()
	p := within(b, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", at)
	})
	bare := bareRelay(b, at).Addr().(*net.TCPAddr).AddrPort()
	direct := netip.MustParseAddrPort(at)
	host := newPlace(b, 0)
	var through []time.Duration
	var ofRelay, ofNone []float64 // of the same round each: the machine is shared
	for range rounds {
		ours := drain(b, func() (*net.TCPConn, error) { return p.dial(netip.AddrPortFrom(egressHost, egressPort)) })
		relay := drain(b, func() (*net.TCPConn, error) { return host.dial(bare) })
		none := drain(b, func() (*net.TCPConn, error) { return host.dial(direct) })
		through = append(through, ours)
		ofRelay, ofNone = append(ofRelay, ratio(relay, ours)), append(ofNone, ratio(none, ours))
	}
	slices.Sort(ofRelay)
	slices.Sort(ofNone)
	b.ReportMetric(ofRelay[rounds/2], "of-splice")
	b.ReportMetric(ofNone[rounds/2], "of-direct")
	b.ReportMetric(egressBytes/1e6/median(through).Seconds(), "MB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEgressShaped: 100 MB over a link of 1 Gbit/s outside, which tc shapes,
// against a connection over the link itself.
func BenchmarkEgressShaped(b *testing.B) {
	const rounds = 9
	outside := newPlace(b, unix.CLONE_NEWNET)
	var (
		out []byte
		fd  int
		err error
	)
	outside.run(func() {
		out, err = exec.Command("sh", "-c", "ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate 1gbit burst 256kb latency 20ms").CombinedOutput()
		if err == nil {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: egressPort, Addr: hostLo.As4()})
		}
		if err == nil {
			err = unix.Listen(fd, 16)
		}
	})
	if err != nil {
		b.Skipf("no shaped link: %v: %s", err, strings.TrimSpace(string(out)))
	}
	f := os.NewFile(uintptr(fd), "listener")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		b.Fatal(err)
	}
	source(b, l)
	far := netip.AddrPortFrom(hostLo, egressPort)
	p := within(b, func(context.Context) (net.Conn, error) { return outside.dial(far) })
	var through []time.Duration
	var ofLink []float64
	for range rounds {
		ours := drain(b, func() (*net.TCPConn, error) { return p.dial(netip.AddrPortFrom(egressHost, egressPort)) })
		through = append(through, ours)
		ofLink = append(ofLink, ratio(drain(b, func() (*net.TCPConn, error) { return outside.dial(far) }), ours))
	}
	slices.Sort(ofLink)
	b.ReportMetric(ofLink[rounds/2], "of-link")
	b.ReportMetric(egressBytes*8/1e9/median(through).Seconds(), "Gbit/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEgressConnect: connect(2) in the namespace, and where each is put before the
// shim, against connect(2) to a listener of this host.
func BenchmarkEgressConnect(b *testing.B) {
	const rounds = 400
	l := hostListener(b)
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	at := l.Addr().String()
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", at)
	}
	host := newPlace(b, 0)
	namespace := within(b, dial)
	notified := newPlace(b, 0)
	var (
		fd  int
		err error
	)
	notified.run(func() { fd, err = notifyConnect() })
	if err != nil {
		b.Fatal(err)
	}
	rules, err := egress.ParseRules([]string{"network:10.99.0.1:7000"})
	if err != nil {
		b.Fatal(err)
	}
	s, err := egress.Start(egress.Config{
		Rules: rules, Notify: os.NewFile(uintptr(fd), "notify"),
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) { return dial(ctx) },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	connect := func(p *place, to netip.AddrPort) (took time.Duration) {
		p.run(func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				b.Error(err)
				return
			}
			addr := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
			begun := time.Now()
			err = unix.Connect(fd, addr)
			took = time.Since(begun)
			if err != nil {
				b.Error(err)
			}
			unix.Read(fd, make([]byte, 1)) // until it was accepted and closed
			unix.Close(fd)
		})
		return took
	}
	var outside, inside, asked []time.Duration
	for range rounds {
		outside = append(outside, connect(host, netip.MustParseAddrPort(at)))
		inside = append(inside, connect(namespace, netip.AddrPortFrom(egressHost, egressPort)))
		asked = append(asked, connect(notified, netip.AddrPortFrom(egressHost, egressPort)))
	}
	b.ReportMetric(float64(median(outside).Nanoseconds())/1e3, "µs-outside")
	b.ReportMetric(float64(median(inside).Nanoseconds())/1e3, "µs-namespace")
	b.ReportMetric(float64(median(asked).Nanoseconds())/1e3, "µs-notify")
	b.ReportMetric(0, "ns/op")
}

// notifyConnect has the connects of this thread put before who has the descriptor.
func notifyConnect() (int, error) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CONNECT, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
