package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/localca"
)

// certificate is what the gateway shows to who connects by TLS. It is renewed while
// the gateway runs.
type certificate struct {
	hosts []string // that it is for, and that the gateway answers to
	renew func(now time.Time) (*tls.Certificate, error)
	// stale says whether it is to be renewed.
	stale func(shown *tls.Certificate, now time.Time) bool
	// source is what it is made from, nil if that never changes.
	source func() source
	log    *slog.Logger

	mu    sync.Mutex // guards the fields below
	shown *tls.Certificate
	tried time.Time // when it could not be renewed; zero if it could
	of    source    // at that time
}

// certificateOf returns the certificate of a door, nil if it is without TLS.
func (s *site) certificateOf(d door, log *slog.Logger) (*certificate, error) {
	var c *certificate
	var err error
	switch {
	case d.tlsCert != "":
		c = certificateOfFiles(d.tlsCert, d.tlsKey)
	case d.tls:
		c, err = s.certificateOfHome(d)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.log = log
	if c.shown, err = c.renew(time.Now()); err != nil {
		return nil, err
	}
	if c.hosts == nil {
		c.hosts = c.shown.Leaf.DNSNames
	}
	return c, nil
}

// certificateOfHome is made by the home's own CA.
func (s *site) certificateOfHome(d door) (*certificate, error) {
	machine, err := os.Hostname()
	if err != nil {
		machine = "this machine"
	}
	cert, key, err := s.home.CA(func() ([]byte, []byte, error) { return localca.New("Berth of "+machine, time.Now()) })
	if err != nil {
		return nil, err
	}
	ca, err := localca.Open(cert, key, time.Now())
	if err != nil {
		return nil, berth.WithHint(fmt.Errorf("the CA %s with %s: %w", s.home.CAPath(), s.home.CAKeyPath(), err),
			"remove both files and start again: another CA is made, which clients have to be given")
	}
	hosts := hostsOf(d)
	return &certificate{
		hosts: hosts,
		renew: func(now time.Time) (*tls.Certificate, error) { return ca.Leaf(hosts, now) },
		stale: func(shown *tls.Certificate, now time.Time) bool {
			return shown.Leaf.NotAfter.Sub(now) < localca.LeafLives/2
		},
	}, nil
}

// hostsOf are the names and addresses that clients may reach a door by.
func hostsOf(d door) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	add := func(name string) {
		for _, known := range hosts {
			if known == name {
				return
			}
		}
		hosts = append(hosts, name)
	}
	if machine, err := os.Hostname(); err == nil && machine != "" {
		add(machine)
	}
	for _, name := range d.hosts {
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		add(name)
	}
	host, _, _ := net.SplitHostPort(d.listen) // door.check has
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		add(host)
		return hosts
	}
	addresses, _ := net.InterfaceAddrs() // without them there are the names
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			add(n.IP.String())
		}
	}
	return hosts
}

// certificateOfFiles is the user's own. It is read again once its files are others.
func certificateOfFiles(cert, key string) *certificate {
	var read source // of what is shown
	now := func() source { return source{writtenAs(cert), writtenAs(key)} }
	return &certificate{
		renew: func(time.Time) (*tls.Certificate, error) {
			of := now()
			c, err := readCertificate(cert, key)
			if err == nil {
				read = of
			}
			return c, err
		},
		stale:  func(*tls.Certificate, time.Time) bool { return now() != read },
		source: now,
	}
}

// source is what tells the files of a certificate from those that were there before.
type source [2]written

// written is that of one file; zero if there is none.
type written struct {
	at   int64 // nanoseconds since 1970
	size int64
	mode fs.FileMode
}

func writtenAs(path string) written {
	info, err := os.Stat(path)
	if err != nil {
		return written{}
	}
	return written{info.ModTime().UnixNano(), info.Size(), info.Mode()}
}

func readCertificate(cert, key string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	keyPEM, err := readKey(key)
	if err != nil {
		return nil, fmt.Errorf("--tls-key: %w", err)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, berth.WithHint(fmt.Errorf("--tls-cert %s with --tls-key %s: %w", cert, key, err),
			"the first is a certificate, with those that it was signed by, and the second its key, both as PEM")
	}
	if now := time.Now(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("--tls-cert %s: it expired at %s", cert, c.Leaf.NotAfter.Format(time.RFC3339))
	}
	return &c, nil
}

// readKey reads the key of a certificate, unless others may: whoever has it is this
// gateway to its clients, and gets their tokens.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := keptFromOthers(info); err != nil {
		return nil, berth.WithHint(fmt.Errorf("%s: %w", path, err), "chmod 600 "+shellLine([]string{path})+", and if others have read it, another key")
	}
	return io.ReadAll(f)
}

// renewEvery is how often a renewal is tried that failed, from the same files.
const renewEvery = time.Minute

// show is tls.Config.GetCertificate. What cannot be renewed is shown as long as it is
// good for anything: whether it is, is the client's to judge.
func (c *certificate) show(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.stale(c.shown, now) && (now.Sub(c.tried) > renewEvery || c.changed()) {
		var of source
		if c.source != nil {
			of = c.source() // before they are read, or a change meanwhile is not seen
		}
		fresh, err := c.renew(now)
		if err == nil {
			c.shown, c.tried = fresh, time.Time{}
		} else {
			c.tried, c.of = now, of
			c.log.Error("the certificate is not renewed", "error", err)
		}
	}
	if c.shown == nil {
		return nil, errors.New("there is no certificate") // cannot happen
	}
	return c.shown, nil
}

// changed says whether what it is made from is other than when it could not be
// renewed.
func (c *certificate) changed() bool { return c.source != nil && c.source() != c.of }

// config is how connections are made with it.
func (c *certificate) config() *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.show, NextProtos: []string{"http/1.1"}}
}
