package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/otlp"
	"github.com/berth-run/berth/internal/policy"
	"github.com/berth-run/berth/internal/shim"
)

// door says where clients reach the gateway besides its Unix socket.
type door struct {
	listen         string // an address of TCP; "" is none
	noAuth         bool   // whoever can connect may use it
	origins, hosts []string
	// tls has it use a certificate that the home's own CA makes, tlsCert and tlsKey
	// those of the user.
	tls             bool
	tlsCert, tlsKey string
	background      bool // it ends when nobody uses it, or for a gateway that does not
	// replace has it take the place of a gateway that its user started, and same at
	// the address and with the rules of that one.
	replace, same bool
	// given is a socket that listens already, at listen; nil: there is none.
	given *os.File
}

// defaultListen is where clients expect Berth.
const defaultListen = "127.0.0.1:7077"

// check says whether the door may be opened like that.
func (d *door) check() error {
	files := d.tlsCert != "" || d.tlsKey != ""
	switch {
	case files && d.tls:
		return usagef("--tls makes a certificate, --tls-cert and --tls-key name another: not both")
	case files && (d.tlsCert == "" || d.tlsKey == ""):
		return usagef("--tls-cert and --tls-key need each other")
	case d.listen == "" && (d.noAuth || d.tls || files):
		d.listen = defaultListen
	case d.listen == "":
		return nil
	}
	if files { // who goes on in the place of this gateway may be elsewhere
		var err error
		if d.tlsCert, err = filepath.Abs(d.tlsCert); err == nil {
			d.tlsKey, err = filepath.Abs(d.tlsKey)
		}
		if err != nil {
			return err
		}
	}
	host, _, err := net.SplitHostPort(d.listen)
	if err != nil {
		return usagef("--listen %s: %w", d.listen, err)
	}
	ip := net.ParseIP(host)
	switch here := host == "localhost" || ip != nil && ip.IsLoopback(); {
	case here:
	case d.noAuth:
		return berth.WithHint(usagef("--listen %s: without authentication only an address of this machine may be listened on", d.listen),
			"use 127.0.0.1 or [::1]")
	case !d.tls && !files:
		return berth.WithHint(usagef("--listen %s: tokens that leave this machine need TLS", d.listen),
			"--tls makes a certificate, --tls-cert and --tls-key name yours; 127.0.0.1 and [::1] need none")
	}
	return nil
}

// opened is a gateway that serves.
type opened struct {
	home      *home.Home
	gateway   *gateway.Gateway
	log       *slog.Logger
	door      doorSaid
	lock      *home.Lock // of the keeper
	listeners []net.Listener
	doors     []gateway.Door
	shows     *certificate // by TLS; nil: the port is without
	calls     *otlp.Calls  // what is told of calls; nil: nobody is
	socket    string

	// Of one that took the place of another: where that one reaches it, and what
	// ends that.
	heirSocket string
	endPassed  func()
	before     chan struct{} // closed when that one has ended

	passed chan struct{} // closed when another gateway goes on in its place
	heir   *handoverConn // to that one; set before
}

// shareProcessors has the gateway use half of the processors. What it does for a
// call is short and between two other programs: threads that look for more work
// take the time from these. GOMAXPROCS in the environment says otherwise.
func shareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// openGateway opens the sockets of the home's gateway. The caller is its keeper by
// the lock, which close frees.
func (s *site) openGateway(d door, lock *home.Lock) (*opened, error) {
	o, err := s.newGateway(d, false)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	o.lock = lock
	if err := o.listen(s, d); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// newGateway makes a gateway that listens nowhere. An heir serves what another one
// lets go of.
func (s *site) newGateway(d door, isHeir bool) (*opened, error) {
	shareProcessors()
	key, err := s.home.SealKey()
	if err != nil {
		return nil, err
	}
	rules, book := s.home.Rules(), newRulebook(s.home)
	o := &opened{home: s.home, log: newGatewayLog(s.ui), passed: make(chan struct{})}
	o.door = doorSaid{NoAuth: d.noAuth, Origins: d.origins, Hosts: d.hosts, TLS: d.tls, TLSCert: d.tlsCert, TLSKey: d.tlsKey}
	hosts := d.hosts
	if o.shows, err = s.certificateOf(d, o.log); err != nil {
		return nil, err
	}
	if o.shows != nil {
		hosts = slices.Concat(hosts, o.shows.hosts)
	}
	if o.calls, err = s.collector(o.log); err != nil {
		return nil, err
	}
	o.gateway, err = gateway.New(gateway.Options{
		Home: s.home, Manager: s.Manager, Key: key, Origins: d.origins, Hosts: hosts, Heir: isHeir,
		Replace: func(explicit bool) (func(net.Conn), bool) { return o.handOver, explicit || d.background },
		Up:      s.upForClient, Log: o.log, Members: s.members, Called: toCollector(o.calls),
		Reach: func(who gateway.Caller, profile string) (gateway.Reach, error) {
			return reachFor(rules, book, who, profile)
		},
		Permit: book.server, Pins: book.pins,
		Settings: func(name string) (gateway.Settings, error) {
			server, err := s.home.ReadServer(name)
			if err != nil {
				return gateway.Settings{}, err
			}
			return s.settingsOf(server)
		},
	})
	return o, err
}

// settingsOf joins what a server's file says to the gateway with what berth.toml
// says for all.
func (s *site) settingsOf(server home.Server) (gateway.Settings, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return gateway.Settings{}, err
	}
	if _, own := server.Config["berth.audit"]; !own && config.Security.Audit != "" {
		server.Config = with(server.Config, "berth.audit", config.Security.Audit)
	}
	sharing, err := server.Sharing()
	set := gateway.Settings{
		Both: sharing.Eras == home.EraBoth, PerSession: sharing.Session, Roots: sharing.Roots,
		Tools:      policy.Tools{Allow: sharing.AllowTools, Deny: sharing.DenyTools},
		EndOnCrash: sharing.EndSession, RetryTools: sharing.Retry,
		Calls: sharing.Calls, Rate: sharing.Rate, CallTimeout: sharing.CallTimeout,
		Strict: sharing.AuditStrict, Arguments: sharing.AuditText,
	}
	set.IdleTimeout, set.Disabled = sharing.IdleTimeout, server.Settings.Disabled
	env := server.Env
	if spec, _, err := s.specOf(server, config); err == nil {
		env = spec.Env // with what it is given of our environment
	}
	set.Mask = maskerOf(env, nil).Text
	if set.Arguments {
		set.Mask = s.mask(server, env).Text // which has the secret store be opened
	}
	set.PinTools = comparesTools(s.home, server)
	if !set.Both {
		set.Era = mcp.Era(sharing.Eras)
	}
	if err == nil {
		// A file that cannot be run as it is has no manifest; a start says why.
		keys, _ := s.keysOf(server, config)
		set.Manifest, set.Spec, set.EraKey = keys.manifest, keys.spec, keys.era
	}
	return set, err
}

// upForClient has a server run that a client of the gateway wants. What its user
// stopped stays so for those who were using it.
func (s *site) upForClient(ctx context.Context, name string, fresh bool) error {
	if err := notDisabled(s.home, berth.ServerOf(name)); err != nil {
		return err
	}
	if !fresh {
		st, found, err := s.home.ReadState(name)
		if err == nil && found && st.Desired == string(berth.Stopped) && st.Status == string(berth.Stopped) {
			return fmt.Errorf("server %q was stopped; `berth start %s` starts it: %w", name, name, berth.ErrNotRunning)
		}
	}
	return s.bringUp(ctx, name, true)
}

func listenAt(path string) (*net.UnixListener, error) {
	var l *net.UnixListener
	err := shim.Place(path, func(beside string) (err error) {
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: beside, Net: "unix"}); err == nil {
			l.SetUnlinkOnClose(false)
		}
		return err
	})
	if err != nil && l != nil {
		l.Close()
	}
	return l, err
}

// ownPrincipal is the user of this process, as an audit record names who called.
func ownPrincipal() string { return "uid:" + strconv.Itoa(os.Getuid()) }

func (o *opened) listen(s *site, d door) error {
	path, err := s.home.SocketPath(home.GatewaySocket)
	if err != nil {
		return err
	}
	l, err := listenAt(path)
	if err != nil {
		if path, err = s.home.FallbackSocket(home.GatewaySocket); err == nil {
			l, err = listenAt(path)
		}
	}
	if err != nil {
		return err
	}
	o.socket = path
	o.addUnix(l)
	clearHeirs(filepath.Dir(path))
	if d.listen == "" {
		return nil
	}
	return o.listenTCP(s, d)
}

func (o *opened) listenTCP(s *site, d door) error {
	if d.given != nil {
		l, err := net.FileListener(d.given) // of a copy
		if err != nil {
			return fmt.Errorf("use the socket that systemd has opened: %w", err)
		}
		o.addTCP(s, l, d)
		return nil
	}
	tcp, err := net.Listen("tcp", d.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		err := fmt.Errorf("%s is taken%s", d.listen, holderOf(d.listen))
		return berth.WithHint(err, "end that program, or choose another address with --listen; Berth never changes it by itself")
	}
	if err != nil {
		return err
	}
	o.addTCP(s, tcp, d)
	return nil
}

func (o *opened) addUnix(l net.Listener) { o.add(l, gateway.Door{Who: ownUser, Own: true}) }

func (o *opened) addTCP(s *site, l net.Listener, d door) {
	o.door.Listen = l.Addr().String()
	scheme := "http"
	if o.shows != nil {
		scheme = "https"
	}
	s.ui.say("berth: listening on %s://%s", scheme, l.Addr())
	if d.tls {
		s.ui.say("berth: clients trust it by the CA %s", s.home.CAPath())
	}
	if d.noAuth {
		o.add(l, gateway.Door{Who: anyone, TLS: o.shows.config()})
		s.ui.warn("--no-auth: every program on this machine can use every server of this home")
		return
	}
	o.add(l, gateway.Door{Who: nobodyYet, Tokens: s.home.TokenBook(), TLS: o.shows.config()})
	switch all, err := s.home.Tokens(); {
	case err != nil:
		s.ui.warn("%v", err)
	case len(all) == 0:
		s.ui.note("nobody has a token yet; `berth token create NAME` makes one for a client")
	}
}

// nobodyYet is who connects where each request says who it is from.
func nobodyYet(net.Conn) (gateway.Caller, error) { return gateway.Caller{}, nil }

// anyone is who connects where nobody is asked.
func anyone(net.Conn) (gateway.Caller, error) { return gateway.Caller{Principal: "anyone"}, nil }

func (o *opened) add(l net.Listener, d gateway.Door) {
	o.listeners = append(o.listeners, l)
	o.doors = append(o.doors, d)
}

// serve serves until ctx ends.
func (o *opened) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if err := o.home.WatchSettings(ctx, o.gateway.MembersChanged, o.gateway.ApprovalsChanged); err != nil && ctx.Err() == nil {
			o.log.Warn("clients are not told of servers that come and go", "error", err)
		}
	}()
	ended := make(chan error, len(o.listeners))
	for i, l := range o.listeners {
		go func() { ended <- o.gateway.Serve(ctx, l, o.doors[i]) }()
	}
	var all error
	for range o.listeners {
		all = errors.Join(all, <-ended)
		cancel()
	}
	return all
}

func (o *opened) close() {
	for _, l := range o.listeners {
		l.Close()
	}
	replaced := o.isReplaced()
	if o.socket != "" && !replaced {
		os.Remove(o.socket) // the keeper's lock is still held
	}
	if o.endPassed != nil {
		o.endPassed()
	}
	o.gateway.Close()
	sendRest(o.calls)
	if o.heir != nil {
		o.heir.close()
	}
	switch {
	case o.lock == nil: // it never was the keeper
	case replaced:
		o.lock.Close() // the other one has it
	default:
		o.lock.Unlock()
	}
}

// isReplaced says whether another gateway goes on in the place of this one.
func (o *opened) isReplaced() bool {
	select {
	case <-o.passed:
		return true
	default:
		return false
	}
}
