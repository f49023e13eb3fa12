package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// Lost is the end of a session that the server has forgotten: another handshake,
// which another process makes, begins the next.
type Lost struct {
	URL  string
	What string
}

func (e *Lost) Error() string { return e.URL + ": " + e.What }

// Unreachable is a handshake that failed.
type Unreachable struct {
	URL string
	Err error
	// Status is that of HTTP which was the answer, 0 if there was none.
	Status int
}

func (e *Unreachable) Error() string { return e.URL + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *Unreachable) Unwrap() error { return e.Err }

// lose ends the run since the session is gone.
func (r *remote) lose(l *Lost) {
	l.URL = guard.Show(r.url)
	r.fatal(l)
}

// fail answers a request that has none from the server, or ends the run where that
// is of no use: the supervisor starts another, after a while that grows, and who
// asked is told what may be told. A request that may be made twice and that was in
// flight when a session ended is left to that, too.
func (r *remote) fail(c *call, err error) {
	if c.ctx.Err() != nil {
		return // nobody wants to know, or this is the end
	}
	var (
		lost   *Lost
		status *statusError
		unsent *sendError
	)
	switch {
	case errors.As(err, &lost):
		if !c.shakes() && !bridge.Harmless(c.m.Method) {
			r.refuse(c, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the server has ended the session; the request was not carried out"})
		}
		r.lose(lost)
		return
	case c.shakes():
		e := &Unreachable{URL: guard.Show(r.url), Err: errors.New(r.o.Mask(err.Error()))}
		if errors.As(err, &status) {
			e.Status = status.code
		}
		r.fatal(e)
		return
	}
	e := &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: fmt.Sprintf("%s: %v", r.url.Host, err)}
	switch {
	case errors.As(err, &unsent) && !unsent.sent, errors.As(err, &status) && status.code/100 == 4:
		e.Message += "; the request was not carried out"
	case !bridge.Harmless(c.m.Method):
		e.Message += "; whether the request was carried out is not known"
	}
	r.refuse(c, e)
}

// explain says in a few words why a connection failed.
func explain(err error) string {
	var (
		refused   *guard.RefusedError
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		slow      net.Error
	)
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("there is no host %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s cannot be resolved now", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no way to the network it is in"
	case errors.As(err, &authority):
		return "TLS: its certificate is of an authority that is not known here (SSL_CERT_FILE names others)"
	case errors.As(err, &host):
		return "TLS: its certificate is of another host"
	case errors.As(err, &invalid):
		return "TLS: its certificate is not valid: " + invalid.Error()
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.As(err, &alert):
		return "TLS: it refused: " + alert.Error()
	case errors.Is(err, errSlow):
		return errSlow.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "no connection in time"
	}
	return err.Error()
}
