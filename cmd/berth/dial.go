package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
)

// lines is a connection to the home's gateway for one server: MCP, one message a
// line, both ways. It is an mcp.Conn.
type lines struct {
	conn net.Conn
	in   *jsonrpc.Reader
	// goesOn: the gateway knows the session that was named.
	goesOn bool

	mu sync.Mutex // held while a line is written
}

// errNoGateway: no gateway of this home is running.
var errNoGateway = errors.New("no gateway is running")

// errand is what a connection to the gateway is for.
type errand struct {
	server  string // "" is all of them as one
	profile string // of all of them those, and held to it; "" is none
	as      string // the name of the client, "" if it has none
	session string // to go on with, "" is none
	// patient is who rather waits for the server than be told what may not be so.
	patient bool
}

// path is where the gateway serves that.
func (e errand) path() string {
	switch {
	case e.server != "":
		return "/servers/" + e.server + "/lines"
	case e.profile != "":
		return "/profiles/" + e.profile + "/lines"
	}
	return "/lines"
}

// dialGateway connects to the gateway of the home; errNoGateway if none runs.
func (s *site) dialGateway(ctx context.Context, e errand) (*lines, error) {
	path, err := s.home.ReadSocketPath(home.GatewaySocket)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	l, err := upgrade(ctx, conn, e)
	if err == nil {
		return l, nil
	}
	conn.Close()
	var moved *movedError
	if !errors.As(err, &moved) {
		return nil, err
	}
	// It is being replaced.
	if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", moved.socket); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	if l, err = upgrade(ctx, conn, e); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// movedError: another gateway serves the server, at a socket of its own for now.
type movedError struct{ socket string }

func (*movedError) Error() string { return "another gateway serves the server" }

// sessionHeader names a session to the gateway.
const sessionHeader = "Mcp-Session-Id"

// refusedBy is what a gateway says that lets nobody in.
func refusedBy(answer *http.Response) error {
	why := answer.Status
	if body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10)); err == nil {
		if m, err := jsonrpc.Parse(body); err == nil && m.Kind == jsonrpc.ErrorResponse {
			why = jsonrpc.DecodeError(m.Error).Message
		}
	}
	err := fmt.Errorf("the gateway refused the connection: %s", why)
	if answer.StatusCode == http.StatusForbidden {
		return &exitError{code: exitRefused, err: berth.WithHint(err, "`berth client show CLIENT` and `berth profile show PROFILE` say what may be used")}
	}
	return err
}

// upgrade makes a connection one of lines.
func upgrade(ctx context.Context, conn net.Conn, e errand) (*lines, error) {
	if err := shim.CheckPeer(conn.(*net.UnixConn)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ask := "GET " + e.path() + " HTTP/1.1\r\nHost: berth\r\nConnection: Upgrade\r\nUpgrade: " + gateway.LinesProtocol + "\r\n"
	if e.session != "" {
		ask += sessionHeader + ": " + e.session + "\r\n"
	}
	if e.as != "" {
		ask += gateway.ClientHeader + ": " + e.as + "\r\n"
	}
	if e.patient {
		ask += gateway.PatientHeader + ": 1\r\n"
	}
	ask += "\r\n"
	if _, err := conn.Write([]byte(ask)); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", errNoGateway, err) // it ended just now
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		defer answer.Body.Close()
		if socket := answer.Header.Get(gateway.HeirHeader); answer.StatusCode == http.StatusMisdirectedRequest && socket != "" {
			return nil, &movedError{socket}
		}
		return nil, refusedBy(answer)
	}
	return &lines{conn: conn, in: jsonrpc.NewReader(r, shim.MaxLine), goesOn: answer.Header.Get(sessionHeader) != ""}, nil
}

// Read returns the next line; io.EOF is the gateway's end.
func (l *lines) Read(ctx context.Context) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := l.in.Next()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return append([]byte(nil), line...), err
}

// Write sends one line. There is no note: the gateway makes the handshake.
func (l *lines) Write(_ context.Context, line, _ []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	bufs := net.Buffers{line, []byte{'\n'}}
	_, err := bufs.WriteTo(l.conn)
	return err
}

// writeLong sends the line that one with marks stands for.
func (l *lines) writeLong(store *spool.Store, line []byte) error {
	parts, err := store.Parts(line)
	if err != nil {
		return err
	}
	defer parts.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err = parts.WriteLine(l.conn); err == nil {
		_, err = l.conn.Write([]byte{'\n'})
	}
	return err
}

// SetNote does nothing: whether the server is ready is the gateway's to say.
func (l *lines) SetNote(context.Context, []byte, *berth.MCPInfo) error { return nil }

// Note is empty: a client of the gateway begins anew.
func (l *lines) Note() []byte { return nil }

// Epoch is the only one: ids are this connection's own.
func (l *lines) Epoch() uint64 { return 1 }

// End says that nothing more will be written.
func (l *lines) End() error {
	if c, ok := l.conn.(*net.UnixConn); ok {
		return c.CloseWrite()
	}
	return nil
}

func (l *lines) Close() error { return l.conn.Close() }

// gatewayPatience is how long a gateway may take to come up.
const gatewayPatience = 20 * time.Second

// reachGateway connects to the gateway of the home, which it starts in the
// background where none runs. Of many that do so at once one remains.
func (s *site) reachGateway(ctx context.Context, e errand) (*lines, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gatewayPatience, fmt.Errorf("no gateway came up within %v", gatewayPatience))
	defer cancel()
	started := time.Time{}
	for {
		l, err := s.dialGateway(ctx, e)
		if !errors.Is(err, errNoGateway) {
			return l, err
		}
		if time.Since(started) > 2*time.Second { // it lost to another that has ended since, or was killed
			if err := s.startGateway(); err != nil {
				return nil, err
			}
			started = time.Now()
		}
		// Nothing tells when a socket is there.
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// startGateway starts a gateway that outlives this command and ends when nobody
// uses it.
func (s *site) startGateway() error {
	cmd := exec.Command(home.OwnProgram(), "--home", s.Dir(), "up", "--background")
	cmd.Args[0] = "berth" // for who looks at the list of processes
	cmd.Dir = string(os.PathSeparator)
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	go cmd.Wait() // afterwards init does
	return nil
}
