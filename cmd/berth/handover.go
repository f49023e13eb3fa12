package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
)

// What a gateway and the one that goes on in its place say to each other: one JSON
// object a line, by turns, the new one first. The last that the old one says brings
// the lock of the keeper and the sockets that it listens on, so that at no moment
// nobody listens, and nobody else can be the keeper. It keeps the connection until
// its process ends.

// handoverMessage is one of these.
type handoverMessage struct {
	// Socket is where the new one takes what still comes to the old one: its first
	// word.
	Socket string `json:"socket,omitempty"`
	// Door is what the old one answers to that.
	Door *doorSaid `json:"door,omitempty"`
	// Adopt is a server that the new one is to serve.
	Adopt string `json:"adopt,omitempty"`
	// End is that there is none left; with it comes what is inherited, in this order.
	End   bool     `json:"end,omitempty"`
	Files []string `json:"files,omitempty"`
	// Error is why the new one cannot do what it was told.
	Error string `json:"error,omitempty"`
}

// doorSaid is a door as the old gateway has it.
type doorSaid struct {
	Listen  string   `json:"listen,omitempty"`
	NoAuth  bool     `json:"no_auth,omitempty"`
	Origins []string `json:"origins,omitempty"`
	Hosts   []string `json:"hosts,omitempty"`
	// TLS is that the home's own CA makes the certificate; TLSCert and TLSKey are the
	// paths of the user's own.
	TLS     bool   `json:"tls,omitempty"`
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`
}

// The names of what is inherited.
const (
	lockFile = "lock"
	unixFile = "unix"
	tcpFile  = "tcp"
)

// handoverLine bounds a message, in bytes.
const handoverLine = 64 << 10

// handoverConn carries these messages.
type handoverConn struct {
	conn  *net.UnixConn
	in    []byte
	files []*os.File // that came, and nobody took yet
}

func (c *handoverConn) send(m handoverMessage, pass ...passable) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := sendFiles(c.conn, append(line, '\n'), pass); err != nil {
		return fmt.Errorf("%w any more: %w", errNoGateway, err)
	}
	return nil
}

func (c *handoverConn) receive() (m handoverMessage, err error) {
	for {
		if line, rest, ok := bytes.Cut(c.in, []byte{'\n'}); ok {
			c.in = rest
			if err := json.Unmarshal(line, &m); err != nil {
				return m, fmt.Errorf("the other gateway said what makes no sense: %w", err)
			}
			return m, nil
		}
		if len(c.in) > handoverLine {
			return m, errors.New("the other gateway said more than makes sense")
		}
		if err := c.fill(); err != nil {
			return m, fmt.Errorf("%w any more: %w", errNoGateway, err)
		}
	}
}

// take returns the next file that came.
func (c *handoverConn) take() (*os.File, error) {
	if len(c.files) == 0 {
		return nil, errors.New("the other gateway passed too little on")
	}
	f := c.files[0]
	c.files = c.files[1:]
	return f, nil
}

func (c *handoverConn) close() {
	for _, f := range c.files {
		f.Close()
	}
	c.files = nil
	c.conn.Close()
}

// handOver is where another gateway goes on in the place of this one.
func (o *opened) handOver(conn net.Conn) {
	c := &handoverConn{conn: conn.(*net.UnixConn)}
	if err := o.handOverBy(c); err != nil {
		o.log.Warn("another gateway was to go on in the place of this one, which stays", "error", err)
		c.close()
		return
	}
	o.heir = c
	close(o.passed)
	for _, l := range o.listeners {
		l.Close() // the connections are served on
	}
}

func (o *opened) handOverBy(c *handoverConn) error {
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	hello, err := c.receive()
	if err == nil && hello.Socket == "" {
		err = errors.New("the other gateway names no socket")
	}
	if err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	if err := c.send(handoverMessage{Door: &o.door}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	answers := make(chan handoverMessage)
	go func() {
		for {
			m, err := c.receive()
			if err != nil {
				cancel(fmt.Errorf("the other gateway has ended: %w", err))
				return
			}
			select {
			case answers <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	var turn sync.Mutex // held from a message to its answer
	tell := func(ctx context.Context, m handoverMessage, pass ...passable) error {
		turn.Lock()
		defer turn.Unlock()
		if err := c.send(m, pass...); err != nil {
			return err
		}
		select {
		case answer := <-answers:
			if answer.Error != "" {
				return errors.New(answer.Error)
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return o.gateway.HandOver(ctx, gateway.Heir{
		Socket: hello.Socket,
		Adopt:  func(ctx context.Context, name string) error { return tell(ctx, handoverMessage{Adopt: name}) },
		Inherit: func(ctx context.Context) error {
			names, pass := o.inheritance()
			return tell(ctx, handoverMessage{End: true, Files: names}, pass...)
		},
	})
}

// inheritance is what the other gateway gets. Where the system cannot pass it on,
// this one lets go of it, for a moment in which nobody has it.
func (o *opened) inheritance() (names []string, pass []passable) {
	if !canPass {
		for _, l := range o.listeners {
			l.Close()
		}
		_ = o.lock.Unlock()
		return nil, nil
	}
	names, pass = []string{lockFile}, []passable{o.lock.File()}
	for _, l := range o.listeners {
		switch l := l.(type) {
		case *net.UnixListener:
			names, pass = append(names, unixFile), append(pass, l)
		case *net.TCPListener:
			names, pass = append(names, tcpFile), append(pass, l)
		}
	}
	return names, pass
}

// errStays: the gateway that runs is not to be replaced.
var errStays = errors.New("the gateway that runs stays")

// dialHandover asks the gateway that runs to hand over.
func (s *site) dialHandover(ctx context.Context, explicit bool) (*handoverConn, error) {
	path, err := s.home.ReadSocketPath(home.GatewaySocket)
	if err != nil {
		return nil, err
	}
	dialed, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	conn := dialed.(*net.UnixConn)
	if err := askHandover(ctx, conn, explicit); err != nil {
		conn.Close()
		return nil, err
	}
	return &handoverConn{conn: conn}, nil
}

func askHandover(ctx context.Context, conn *net.UnixConn, explicit bool) error {
	if err := shim.CheckPeer(conn); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ask := "GET /handover HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: " + gateway.HandoverProtocol + "\r\n"
	if explicit {
		ask += gateway.ExplicitHeader + ": 1\r\n"
	}
	if _, err := conn.Write([]byte(ask + "\r\n")); err != nil {
		return fmt.Errorf("%w: %w", errNoGateway, err)
	}
	// Nothing follows the answer until something is said: the reader takes no more.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoGateway, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("%w: it answers %s", errStays, answer.Status)
	}
	return nil
}
