package egress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// probes are what a program within does, by name. An error is printed.
var probes = map[string]func(args []string) error{
	"echo": func(args []string) error {
		err := probeEcho("tcp", args[0])
		if err == nil {
			fmt.Println("came back")
		}
		return err
	},
	"udp":      probeUDP,
	"fastopen": probeFastOpen,
	"mptcp":    probeMPTCP,
	"dns":      probeDNS,
	"raw":      probeRaw,
	"many":     probeMany,
	"listen":   probeListen,
	"waits":    probeWaits,
	"threads":  probeThreads,
	"gone":     probeGone,
}

const probeTime = 5 * time.Second

// probeEcho sends something to what sends it back, says that it is done, and reads
// to the end.
func probeEcho(network, to string) error {
	c, err := net.DialTimeout(network, to, probeTime)
	if err != nil {
		return err
	}
	defer c.Close()
	return echoes(c)
}

func echoes(c net.Conn) error {
	c.SetDeadline(time.Now().Add(probeTime))
	want := []byte("hello\n")
	if _, err := c.Write(want); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%q came back", got)
	}
	return nil
}

// probeUDP sends a datagram to an address, connected and not.
func probeUDP(args []string) error {
	to, err := net.ResolveUDPAddr("udp", args[0])
	if err != nil {
		return err
	}
	l, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	_, err = l.WriteTo([]byte("secret"), to)
	fmt.Println("sendto:", err)
	c, err := net.DialUDP("udp", nil, to)
	if err == nil {
		_, err = c.Write([]byte("secret"))
	}
	fmt.Println("connect:", err)
	return nil
}

// socketTo is a socket for an address, and the address as the kernel has it.
func socketTo(to string, protocol int) (int, unix.Sockaddr, error) {
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		return -1, nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	return fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, err
}

// probeFastOpen has data in the first segment, without a connect.
func probeFastOpen(args []string) error {
	fd, to, err := socketTo(args[0], unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, []byte("secret"), unix.MSG_FASTOPEN, to); err != nil {
		return err
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	n, err := unix.Read(fd, make([]byte, 10))
	if err == nil {
		fmt.Printf("%d came back\n", n)
	}
	return err
}

func probeMPTCP(args []string) error {
	fd, to, err := socketTo(args[0], unix.IPPROTO_MPTCP)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	c, err := net.FileConn(os.NewFile(uintptr(fd), "mptcp"))
	if err != nil {
		return err
	}
	return echoes(c)
}

// probeDNS asks an address for a name by UDP, connected or not, or by TCP, and prints
// the addresses.
func probeDNS(args []string) error {
	how, to, message := args[0], args[1], query(args[2], typeA)
	var got []byte
	switch how {
	case "tcp":
		c, err := net.DialTimeout("tcp", to, probeTime)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(probeTime))
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return err
		}
		got = make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
	case "udp":
		addr := netip.MustParseAddrPort(to)
		c, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(probeTime))
		if _, err := c.WriteToUDPAddrPort(message, addr); err != nil {
			return err
		}
		b := make([]byte, 512)
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != addr {
			return fmt.Errorf("%v was asked, and %v answered", addr, from)
		}
		got = b[:n]
	case "connected":
		c, err := net.DialTimeout("udp", to, probeTime)
		if err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(probeTime))
		if _, err := c.Write(message); err != nil {
			return err
		}
		b := make([]byte, 512)
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		got = b[:n]
	}
	if got[7] == 0 {
		return fmt.Errorf("code %d", got[3]&15)
	}
	fmt.Println(netip.AddrFrom4([4]byte(got[len(got)-4:])))
	return nil
}

// probeRaw sends what was said to an address and prints what comes.
func probeRaw(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], probeTime)
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(probeTime))
	if _, err := io.WriteString(c, strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(args[1])); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, c)
	return err
}

// probeMany has 100 connections at a time, three times.
func probeMany(args []string) error {
	for range 3 {
		var all sync.WaitGroup
		errs := make(chan error, 100)
		for range 100 {
			all.Go(func() {
				c, err := net.DialTimeout("tcp", args[0], 20*time.Second)
				if err != nil {
					errs <- err
					return
				}
				defer c.Close()
				if err := echoes(c); err != nil {
					errs <- err
				}
			})
		}
		all.Wait()
		close(errs)
		for err := range errs {
			return err
		}
	}
	return nil
}

// probeListen sends back what it gets on an address, of each connection, until it is
// killed.
func probeListen(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listens")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// probeWaits passes stdin on to what sends it back, and prints that, until both have
// ended.
func probeWaits(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], probeTime)
	if err != nil {
		return err
	}
	go func() {
		io.Copy(c, os.Stdin)
		c.(*net.TCPConn).CloseWrite()
	}()
	b := make([]byte, 100)
	for {
		n, err := c.Read(b)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		os.Stdout.Write(b[:n])
	}
}

// probeThreads connects on many threads, whose ids are not their process's, and with
// the sockets of IPv6 that are for both kinds of addresses.
func probeThreads(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				at := netip.MustParseAddrPort(args[0])
				err = unix.Connect(fd, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		select {
		case err := <-errs:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// probeGone connects, waits for the end of that, and tries once more.
func probeGone(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], probeTime)
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	fmt.Println("connected")
	if _, err := c.Read(b); err == nil || os.IsTimeout(err) {
		return fmt.Errorf("it goes on: %v", err)
	}
	if c, err = net.DialTimeout("tcp", args[0], probeTime); err == nil {
		return fmt.Errorf("connected to %v", c.RemoteAddr())
	}
	fmt.Println("nothing goes")
	return nil
}
