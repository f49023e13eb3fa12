package bridge

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/berth-run/berth/internal/jsonrpc"
)

var update = flag.Bool("update", false, "write what was seen into testdata")

// TestConversations plays the conversations of testdata, one file for each pair of
// eras, with the least that can stand between a client and a server: it keeps ids
// and one call at a time, and leaves the rest to this package. The lines are
//
//	handshake JSON    what the server answered to initialize or server/discover
//	C: LINE           the client says
//	S: LINE           the server says
//
// and what comes of them
//
//	> S: LINE         the server hears
//	> C: LINE         the client hears
//	> error           what was said was a fault
func TestConversations(t *testing.T) {
	for _, client := range []string{"legacy", "modern"} {
		for _, server := range []string{"legacy", "modern"} {
			file := filepath.Join("testdata", client+"_"+server+".txtar")
			archive, err := txtar.ParseFile(file)
			if err != nil || len(archive.Files) == 0 {
				t.Fatal("no conversations", err)
			}
			for i := range archive.Files {
				f := &archive.Files[i]
				t.Run(client+"_"+server+"/"+f.Name, func(t *testing.T) {
					r := &relay{modernClient: client == "modern", modernServer: server == "modern"}
					got := r.play(t, string(f.Data))
					if *update {
						f.Data = []byte(got)
					} else if got != string(f.Data) {
						t.Errorf("this was said:\n%s\ninstead of:\n%s", got, f.Data)
					}
				})
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// relay stands between one client and one server.
type relay struct {
	modernClient, modernServer bool

	handshake []byte
	version   string // of a legacy session
	session   Client
	call      *call
	listen    []byte // the id of the subscription
	filter    Filter
	rounds    int

	out strings.Builder
}

// call is a request of the client that the server works on.
type call struct {
	id      []byte
	method  string
	params  []byte // as the server knows them
	asks    []Ask
	answers map[string][]byte
	state   []byte
	ids     map[string][]byte // of a parked legacy server's requests, by key
}

func (r *relay) play(t *testing.T, text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		r.out.WriteString(line + "\n")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
		case "handshake":
			r.handshake = []byte(rest)
		case "C:", "S:":
			m, err := jsonrpc.Parse([]byte(rest))
			if err != nil {
				t.Fatalf("%s: %v", rest, err)
			}
			if word == "C:" {
				r.fromClient(m)
			} else {
				r.fromServer(m)
			}
		default:
			t.Fatalf("%q is no direction", line)
		}
	}
	return r.out.String()
}

func (r *relay) say(to string, line []byte, err error) {
	if err != nil {
		fmt.Fprintf(&r.out, "> error %v\n", err)
		return
	}
	if _, err := jsonrpc.Parse(line); err != nil {
		fmt.Fprintf(&r.out, "> error %v\n", err)
	}
	fmt.Fprintf(&r.out, "> %s: %s\n", to, line)
}

func (r *relay) toServer(line []byte, err error) { r.say("S", line, err) }
func (r *relay) toClient(line []byte, err error) { r.say("C", line, err) }

func (r *relay) refuse(id []byte, e *jsonrpc.Error) { r.toClient(jsonrpc.NewError(id, e)) }

func (r *relay) fromClient(m jsonrpc.Message) {
	switch {
	case m.Kind == jsonrpc.Response || m.Kind == jsonrpc.ErrorResponse:
		r.answer(m)
	case m.Kind == jsonrpc.Notification:
		if r.modernClient == r.modernServer || Crosses(m.Method) {
			r.toServer(m.Rewrite(jsonrpc.Rewrite{}))
		}
	case r.modernClient:
		r.fromModern(m)
	default:
		r.fromLegacy(m)
	}
}

func notFoundError(method string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: fmt.Sprintf("no method %q", method)}
}

func (r *relay) fromModern(m jsonrpc.Message) {
	if e := CheckMeta(m.Params); e != nil {
		r.refuse(m.ID, e)
		return
	}
	r.session, _, _ = ClientOf(m.Params)
	switch {
	case r.modernServer:
		r.begin(m, m.Params)
	case m.Method == "server/discover":
		r.toClient(jsonrpc.NewResult(m.ID, DiscoverResult(r.handshake)))
	case m.Method == "subscriptions/listen":
		f, err := ParseListen(m.Params)
		if err != nil {
			r.refuse(m.ID, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: err.Error()})
			return
		}
		r.listen, r.filter = m.ID, f.Within(jsonrpc.Get(r.handshake, "capabilities"))
		r.toClient(Acknowledged(r.listen, r.filter), nil)
	case !Crosses(m.Method):
		r.refuse(m.ID, notFoundError(m.Method))
	default:
		answers, state, retry := Answers(m.Params)
		if !retry || r.call == nil || state != string(r.call.state) {
			r.begin(m, ToLegacy(m.Params))
			return
		}
		r.call.id = m.ID
		for _, a := range r.call.asks {
			if answer := answers[a.Key]; answer != nil && Answered(a.Method, answer) {
				r.toServer(jsonrpc.NewResult(r.call.ids[a.Key], answer))
				continue
			}
			r.park([]Ask{a})
		}
	}
}

func (r *relay) fromLegacy(m jsonrpc.Message) {
	switch {
	case m.Method == "initialize":
		r.session = Client{Capabilities: jsonrpc.Get(m.Params, "capabilities"), Info: jsonrpc.Get(m.Params, "clientInfo")}
		asked, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "protocolVersion"))
		r.version = Negotiate(asked)
		result := InitializeFor(r.handshake, r.version)
		if r.modernServer {
			result = InitializeResult(r.handshake, r.version)
		}
		r.toClient(jsonrpc.NewResult(m.ID, result))
	case !r.modernServer:
		r.begin(m, m.Params)
	case m.Method == "logging/setLevel":
		r.session.LogLevel = jsonrpc.Get(m.Params, "level")
		r.toClient(jsonrpc.NewResult(m.ID, []byte("{}")))
	case m.Method == "resources/subscribe":
		uri, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "uri"))
		r.toServer(jsonrpc.NewRequest([]byte(`"listen"`), "subscriptions/listen", ListenParams(Filter{URIs: []string{uri}}, r.session)))
		r.toClient(jsonrpc.NewResult(m.ID, []byte("{}")))
	case !Crosses(m.Method):
		r.refuse(m.ID, notFoundError(m.Method))
	default:
		r.begin(m, ToModern(m.Params, r.session))
	}
}

func (r *relay) begin(m jsonrpc.Message, params []byte) {
	r.call = &call{id: m.ID, method: m.Method, params: params}
	r.toServer(m.Rewrite(jsonrpc.Rewrite{Params: params}))
}

// answer is what a legacy client answers to a server's question.
func (r *relay) answer(m jsonrpc.Message) {
	if !r.modernServer {
		r.toServer(m.Rewrite(jsonrpc.Rewrite{}))
		return
	}
	if m.Kind == jsonrpc.ErrorResponse {
		r.toClient(jsonrpc.NewError(r.call.id, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the client did not answer: " + jsonrpc.DecodeError(m.Error).Message}))
		return
	}
	id, _ := m.StringID()
	r.call.answers[strings.TrimPrefix(id, "ask-")] = m.Result
	if len(r.call.answers) == len(r.call.asks) {
		r.rounds++
		r.toServer(jsonrpc.NewRequest(jsonrpc.StringID(fmt.Sprintf("retry-%d", r.rounds)), r.call.method, Retry(r.call.params, r.call.answers, r.call.state)))
	}
}

func (r *relay) fromServer(m jsonrpc.Message) {
	switch m.Kind {
	case jsonrpc.Request:
		r.question(m)
	case jsonrpc.Notification:
		r.notify(m)
	case jsonrpc.ErrorResponse:
		e := m.Error
		switch {
		case r.modernClient && !r.modernServer:
			e, _ = ErrorToModern(r.call.method, e)
		case r.modernServer && !r.modernClient:
			e = ErrorToLegacy(r.call.method, e)
		}
		r.toClient(m.Rewrite(jsonrpc.Rewrite{ID: r.call.id, Error: e}))
	case jsonrpc.Response:
		r.result(m)
	}
}

func (r *relay) result(m jsonrpc.Message) {
	if string(m.ID) == string(r.listen) {
		r.toClient(jsonrpc.NewResult(r.listen, ListenResult(r.listen, ServerOf(r.handshake))))
		return
	}
	result := m.Result
	switch {
	case r.modernClient && !r.modernServer:
		result = ResultToModern(r.call.method, result, ServerOf(r.handshake))
	case r.modernServer && !r.modernClient:
		asks, state, asked, err := ParseInputRequired(result)
		if err != nil {
			r.toClient(nil, err)
			return
		}
		if asked {
			r.askLegacy(asks, state)
			return
		}
		result = Downgrade(r.version, r.call.method, ResultToLegacy(r.call.method, result))
	case !r.modernClient:
		result = Downgrade(r.version, r.call.method, result)
	}
	r.toClient(m.Rewrite(jsonrpc.Rewrite{ID: r.call.id, Result: result}))
}

// askLegacy asks a legacy client what a modern server asks by its result.
func (r *relay) askLegacy(asks []Ask, state []byte) {
	r.call.asks, r.call.state, r.call.answers = asks, state, make(map[string][]byte)
	for _, a := range asks {
		if e := Allowed(a.Method, a.Params, r.session.Capabilities, false); e != nil {
			r.refuse(r.call.id, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: e.Message})
			return
		}
		r.toClient(jsonrpc.NewRequest(jsonrpc.StringID("ask-"+a.Key), a.Method, Downgrade(r.version, a.Method, a.Legacy("page-1"))))
	}
}

// question is a legacy server's request.
func (r *relay) question(m jsonrpc.Message) {
	if Allowed(m.Method, m.Params, r.session.Capabilities, r.modernClient) != nil {
		r.toServer(jsonrpc.NewError(m.ID, Allowed(m.Method, m.Params, r.session.Capabilities, false)))
		return
	}
	if !r.modernClient {
		r.toClient(m.Rewrite(jsonrpc.Rewrite{Params: Downgrade(r.version, m.Method, m.Params)}))
		return
	}
	key := fmt.Sprintf("q%d", len(r.call.ids)+1)
	if r.call.ids == nil {
		r.call.ids = make(map[string][]byte)
	}
	r.call.ids[key] = slices.Clone(m.ID)
	r.park([]Ask{{Key: key, Method: m.Method, Params: m.Params}})
}

// park answers a modern client's call with what it is asked.
func (r *relay) park(asks []Ask) {
	r.rounds++
	r.call.asks, r.call.state = asks, fmt.Appendf(nil, "state-%d", r.rounds)
	r.toClient(jsonrpc.NewResult(r.call.id, InputRequired(asks, string(r.call.state))))
}

func (r *relay) notify(m jsonrpc.Message) {
	params := m.Params
	switch {
	case r.modernClient == r.modernServer:
	case !Crosses(m.Method):
		return
	case r.modernServer && params != nil:
		params = Untag(params)
	case r.filter.Passes(m.Method, params):
		params = Tag(params, r.listen)
	case strings.HasSuffix(m.Method, "/list_changed"), m.Method == "notifications/resources/updated":
		return
	}
	r.toClient(m.Rewrite(jsonrpc.Rewrite{Params: params}))
}
