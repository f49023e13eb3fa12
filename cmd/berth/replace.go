package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
)

// heirSockets is what the sockets are called that a gateway takes the place of
// another by, beside that of the gateway.
const heirSockets = "heir-*"

// replaceGateway makes this the gateway of the home in the place of the one that
// runs; errNoGateway if none does, and errStays if that is not to be replaced.
func (s *site) replaceGateway(ctx context.Context, d door) (*opened, error) {
	c, err := s.dialHandover(ctx, d.replace)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.close)
	o, err := s.succeedBy(c, d)
	if !stop() && err == nil {
		err = context.Cause(ctx)
		o.close()
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("take the place of the gateway that runs: %w", err)
	}
	return o, nil
}

func (s *site) succeedBy(c *handoverConn, d door) (*opened, error) {
	path, err := s.home.ReadSocketPath(home.GatewaySocket)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(filepath.Dir(path), fmt.Sprintf("heir-%d", os.Getpid()))
	l, err := listenAt(own)
	if err != nil {
		return nil, err
	}
	// What is asked before this gateway is there waits.
	if err := c.send(handoverMessage{Socket: own}); err != nil {
		l.Close()
		os.Remove(own)
		return nil, err
	}
	hello, err := c.receive()
	if err == nil && hello.Door == nil {
		err = errors.New("it does not say where it listens")
	}
	if err == nil && d.same {
		d.listen, d.noAuth, d.origins, d.hosts = hello.Door.Listen, hello.Door.NoAuth, hello.Door.Origins, hello.Door.Hosts
		d.tls, d.tlsCert, d.tlsKey = hello.Door.TLS, hello.Door.TLSCert, hello.Door.TLSKey
	}
	var o *opened
	if err == nil {
		o, err = s.newGateway(d, true)
	}
	if err != nil {
		l.Close()
		os.Remove(own)
		return nil, err
	}
	o.heirSocket = own
	o.servePassed(l)
	if err = s.adoptAll(c, o, path, d); err != nil {
		o.close()
		return nil, err
	}
	release := o.gateway.Hold()
	o.before = make(chan struct{})
	go func() {
		defer close(o.before)
		// Until the other one has ended, it passes on what still comes to it.
		_, _ = c.receive()
		c.close()
		release()
	}()
	return o, nil
}

// adoptAll takes the servers, the lock of the keeper and the sockets from the
// gateway that runs. If that is killed meanwhile, it does what a gateway does after
// any that was killed.
func (s *site) adoptAll(c *handoverConn, o *opened, path string, d door) error {
	for {
		m, err := c.receive()
		if err != nil {
			if o.lock, err = s.beKeeper(); err != nil {
				return fmt.Errorf("%w any more: %w", errNoGateway, err) // but another that was faster
			}
			if err := o.gateway.Inherit(); err != nil {
				return err
			}
			return o.listen(s, d)
		}
		switch {
		case m.Adopt != "":
			err = o.gateway.Adopt(m.Adopt)
		case m.End:
			err = s.inherit(c, o, m.Files, path, d)
		default:
			err = errors.New("this is not known here")
		}
		if err != nil {
			_ = c.send(handoverMessage{Error: err.Error()}) // the other one goes on
			return err
		}
		// If the other one is gone by now, the next read says so; after the last
		// message that is no matter.
		if _ = c.send(handoverMessage{}); m.End {
			return nil
		}
	}
}

// inherit takes what the other gateway passes on. With an error all of it is the
// other one's still: the lock is not freed, only let go of.
func (s *site) inherit(c *handoverConn, o *opened, names []string, path string, d door) (err error) {
	var lock *home.Lock
	defer func() {
		if err == nil {
			o.lock, o.socket = lock, path
			signLock(lock)
		} else if lock != nil {
			lock.Close()
		}
	}()
	for _, name := range names {
		f, err := c.take()
		if err != nil {
			return err
		}
		if name == lockFile {
			if lock, err = home.InheritLock(f, s.home.RunLock("keeper")); err != nil {
				return err
			}
			continue
		}
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("take over a socket: %w", err)
		}
		switch l := l.(type) {
		case *net.UnixListener:
			o.addUnix(l)
		case *net.TCPListener:
			if !listensAt(l, d.listen) {
				l.Close() // the other one still has it
				continue
			}
			o.addTCP(s, l, d)
		default:
			l.Close()
			return fmt.Errorf("take over a socket of the kind %T", l)
		}
	}
	switch {
	case lock == nil: // nothing can be passed on here
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if lock, err = home.WaitLock(ctx, s.home.RunLock("keeper")); err != nil {
			return err
		}
		if err := o.listen(s, d); err != nil {
			return err
		}
	case d.listen != "" && o.door.Listen == "": // the other one has none, or another
		if err := o.listenTCP(s, d); err != nil {
			return err
		}
	}
	clearHeirs(filepath.Dir(path))
	return o.gateway.Inherit()
}

// listensAt says whether a listener is the one that an address stands for.
func listensAt(l net.Listener, address string) bool {
	wanted, err := net.ResolveTCPAddr("tcp", address)
	return err == nil && wanted.String() == l.Addr().String()
}

// servePassed serves what comes by the gateway that this one takes the place of.
func (o *opened) servePassed(l *net.UnixListener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.gateway.ServePassed(ctx, l, gateway.Door{Who: ownUser, Own: true}); err != nil {
			o.log.Warn("what comes to the gateway before this one is not served", "error", err)
		}
	}()
	o.endPassed = func() {
		cancel()
		<-done
		os.Remove(o.heirSocket)
	}
}

// clearHeirs removes the sockets that gateways left which were killed. The caller is
// the keeper.
func clearHeirs(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, heirSockets))
	if err != nil {
		return // it is a pattern
	}
	for _, path := range left {
		conn, err := net.Dial("unix", path)
		if err != nil {
			os.Remove(path)
			continue
		}
		conn.Close()
	}
}

// ownUser is who connects to a socket in the home.
func ownUser(c net.Conn) (gateway.Caller, error) {
	if err := shim.CheckPeer(c.(*net.UnixConn)); err != nil {
		return gateway.Caller{}, err
	}
	return gateway.Caller{Principal: ownPrincipal()}, nil
}
