package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// splice is what a proxy has to know of a conversation to carry it on with
// another gateway: the client's handshake and wishes, which that must hear, and
// the requests that the old one took with it. It does no I/O and changes no line;
// what it cannot read it lets pass.
type splice struct {
	server string

	initialize  []byte // the client's request, nil before it
	handshake   state
	fingerprint string            // of the answer to it
	session     string            // what the next gateway may know the conversation by
	process     string            // the one that it may not outlive, "" if any will do
	initialized []byte            // its notification that it is ready, nil before it
	level       []byte            // its last logging/setLevel
	subscribed  map[string][]byte // its resources/subscribe, by URI

	inFlight []sent         // the client's requests, oldest first
	asked    map[string]int // the server's requests to the client
	stale    map[string]int // those that came by a gateway that is gone

	moved bool // what has no answer was not begun by the last gateway

	// landed, if it is not nil, is told each request that is not needed any more.
	landed func(line []byte)

	replays int
	replay  []byte          // id of the replayed initialize, nil when none is under way
	quiet   map[string]bool // ids of other requests of ours: the client hears no answer
}

// sent is a request of the client's that has no answer yet.
type sent struct {
	id, line []byte
	harmless bool // it may be made twice
	unbegun  bool // it was not made yet
	heard    bool // of a subscriptions/listen: the client knows that it is listened for
}

// state is how far the client's handshake is.
type state int

const (
	unasked  state = iota // no initialize yet; a client of 2026-07-28 sends none
	asking                // unanswered
	answered              // by the process of then
)

func newSplice(server string) *splice {
	return &splice{
		server: server, subscribed: map[string][]byte{}, quiet: map[string]bool{},
		asked: map[string]int{}, stale: map[string]int{},
	}
}

// what names what its client speaks to.
func (s *splice) what() string {
	if s.server == "" {
		return "what all servers are together"
	}
	return fmt.Sprintf("server %q", s.server)
}

// fromClient takes notice of a line of the client's and says whether the server
// is to have it.
func (s *splice) fromClient(line []byte) bool {
	m, err := jsonrpc.Parse(line)
	if err != nil {
		return true // the server's to judge
	}
	switch m.Kind {
	case jsonrpc.Request:
		line = bytes.Clone(line)
		s.inFlight = append(s.inFlight, sent{id: bytes.Clone(m.ID), line: line, harmless: harmless(m.Method)})
		switch m.Method {
		case "initialize":
			s.initialize, s.handshake, s.initialized = line, asking, nil
		case "logging/setLevel":
			s.level = line
		case "resources/subscribe":
			s.subscribed[string(jsonrpc.Get(m.Params, "uri"))] = line
		case "resources/unsubscribe":
			delete(s.subscribed, string(jsonrpc.Get(m.Params, "uri")))
		}
	case jsonrpc.Notification:
		switch m.Method {
		case "notifications/initialized":
			s.initialized = bytes.Clone(line)
		case "notifications/cancelled":
			s.land(jsonrpc.Get(m.Params, "requestId"))
		}
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		id := string(m.ID)
		if take(s.stale, id) {
			return false // the process that asked is gone
		}
		take(s.asked, id)
	}
	return true
}

// compares says whether what the server says next may be compared with what it said
// before, every byte of it.
func (s *splice) compares() bool { return s.handshake == asking || s.replay != nil }

// verdict is what is to be done with a line of the server's.
type verdict struct {
	forward bool
	// resumed: this was the answer to the replayed handshake; next are the lines
	// that end it, and the client may go on.
	resumed bool
	next    [][]byte
	// missed is what the client is to be told in the line's place.
	missed [][]byte
	// over is why the conversation cannot go on: the client has to begin anew.
	over error
}

// harmless says whether a request may be made a second time.
func harmless(method string) bool {
	switch method {
	case "ping", "server/discover", "subscriptions/listen", "logging/setLevel",
		"tools/list", "prompts/list", "resources/list", "resources/templates/list",
		"prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe", "completion/complete":
		return true
	}
	return false
}

// fromServer takes notice of a line of the server's.
func (s *splice) fromServer(line []byte) verdict {
	m, err := jsonrpc.Parse(line)
	if err != nil {
		return verdict{forward: true} // the client's to judge
	}
	id := string(m.ID)
	switch m.Kind {
	case jsonrpc.Request:
		s.asked[id]++
	case jsonrpc.Notification:
		return s.told(m)
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		if s.replay != nil && id == string(s.replay) {
			s.replay = nil
			if m.Kind == jsonrpc.ErrorResponse {
				return verdict{over: fmt.Errorf("server %q refuses the client's handshake now: %w", s.server, jsonrpc.DecodeError(m.Error))}
			}
			if mcp.Fingerprint(m.Result) != s.fingerprint {
				return verdict{over: fmt.Errorf("%s is not what it was when its client shook hands with it", s.what())}
			}
			return verdict{resumed: true, next: s.restored()}
		}
		if s.quiet[id] {
			delete(s.quiet, id)
			return verdict{}
		}
		first := s.handshake == asking && s.isInitialize(m.ID)
		s.land(m.ID)
		if first && m.Kind == jsonrpc.Response {
			s.handshake, s.fingerprint = answered, mcp.Fingerprint(m.Result)
		}
	}
	return verdict{forward: true}
}

// told takes notice of a notification; some are for the proxy alone.
func (s *splice) told(m jsonrpc.Message) verdict {
	switch m.Method {
	case gateway.LinesEnded:
		reason, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "reason"))
		return verdict{over: fmt.Errorf("server %q: %s", s.server, reason)}
	case gateway.LinesMoved:
		s.moved = true
		return verdict{}
	case gateway.LinesSession:
		s.session, _ = jsonrpc.Text(jsonrpc.Get(m.Params, "id"))
		return verdict{}
	case gateway.LinesProcess:
		process, _ := jsonrpc.Text(jsonrpc.Get(m.Params, "process"))
		if s.process != "" && s.process != process {
			return verdict{over: fmt.Errorf("%s: its process has ended, and the state that it had for its client with it", s.what())}
		}
		s.process = process
		return verdict{}
	case "notifications/subscriptions/acknowledged":
		id := jsonrpc.Get(m.Params, "_meta", "io.modelcontextprotocol/subscriptionId")
		if i := slices.IndexFunc(s.inFlight, func(r sent) bool { return bytes.Equal(r.id, id) }); i >= 0 {
			if s.inFlight[i].heard {
				// The last gateway has said so already. What happened since that one
				// ended, nobody has told.
				return verdict{missed: missed(m.Params, id)}
			}
			s.inFlight[i].heard = true
		}
	}
	return verdict{forward: true}
}

// missed is news of all that a subscription, by what was acknowledged of it, is about:
// it may have happened while nobody listened.
func missed(acknowledged, subscription []byte) (news [][]byte) {
	meta := append(append([]byte(`"_meta":{"io.modelcontextprotocol/subscriptionId":`), subscription...), '}')
	tell := func(method string, params []byte) {
		if line, err := jsonrpc.NewNotification(method, params); err == nil {
			news = append(news, line)
		}
	}
	wanted := jsonrpc.Get(acknowledged, "notifications")
	for _, kind := range []string{"tools", "prompts", "resources"} {
		if string(jsonrpc.Get(wanted, kind+"ListChanged")) == "true" {
			tell("notifications/"+kind+"/list_changed", fmt.Appendf(nil, "{%s}", meta))
		}
	}
	for uri := range jsonrpc.Elements(jsonrpc.Get(wanted, "resourceSubscriptions")) {
		tell("notifications/resources/updated", fmt.Appendf(nil, `{"uri":%s,%s}`, uri, meta))
	}
	return news
}

// replaced takes notice that another gateway goes on. known says that it knows the
// session; otherwise it knows nothing of the conversation. It returns what the
// client is to be told, and what that gateway must hear at once. resumed says
// that the client may go on.
func (s *splice) replaced(why string, known bool) (answers, tell [][]byte, resumed bool) {
	if s.moved {
		s.moved = false
		for i := range s.inFlight {
			s.inFlight[i].unbegun = true
		}
	}
	answers = s.abandon(why)
	for id, n := range s.asked {
		s.stale[id] += n
	}
	clear(s.asked)
	clear(s.quiet)
	s.replay = nil
	switch {
	case known:
	case s.handshake == asking:
		// The client still waits for its answer: this gateway gives it.
		return answers, append([][]byte{s.initialize}, s.again()...), true
	case s.handshake == answered:
		id, line := s.ours(s.initialize)
		s.replay = id
		return answers, [][]byte{line}, false
	}
	return answers, s.again(), true
}

// ours is a request of the client's with an id of our own.
func (s *splice) ours(line []byte) (id, renamed []byte) {
	s.replays++
	id = jsonrpc.StringID(fmt.Sprintf("berth-replay-%d", s.replays))
	m, err := jsonrpc.Parse(line)
	if err == nil {
		renamed, err = m.Rewrite(jsonrpc.Rewrite{ID: id})
	}
	if err != nil {
		panic("proxy: a line that was parsed is none") // cannot happen
	}
	return id, renamed
}

// restored is what follows a replayed handshake: what the client said to the last
// gateway, and what that had not answered.
func (s *splice) restored() [][]byte {
	var lines [][]byte
	if s.initialized != nil {
		lines = append(lines, s.initialized)
	}
	again := make([][]byte, 0, 1+len(s.subscribed))
	if s.level != nil {
		again = append(again, s.level)
	}
	for _, uri := range slices.Sorted(maps.Keys(s.subscribed)) {
		again = append(again, s.subscribed[uri])
	}
	for _, line := range again {
		id, line := s.ours(line)
		s.quiet[string(id)] = true
		lines = append(lines, line)
	}
	return append(lines, s.again()...)
}

// again are the requests in flight that may be made now.
func (s *splice) again() [][]byte {
	var lines [][]byte
	for i, r := range s.inFlight {
		if r.harmless || r.unbegun {
			lines = append(lines, r.line)
			s.inFlight[i].unbegun = false
		}
	}
	return lines
}

// abandon answers the client's requests in flight, but for those that are made
// again.
func (s *splice) abandon(why string) (answers [][]byte) {
	kept := s.inFlight[:0]
	for _, r := range s.inFlight {
		if r.harmless || r.unbegun || s.handshake == asking && s.isInitialize(r.id) {
			kept = append(kept, r)
			continue
		}
		line, err := jsonrpc.NewError(r.id, &jsonrpc.Error{
			Code:    jsonrpc.CodeInternalError,
			Message: fmt.Sprintf("the gateway of server %q %s; whether the request was carried out is not known", s.server, why),
		})
		if err == nil { // the id was parsed
			answers = append(answers, line)
		}
		s.drop(r)
	}
	s.inFlight = kept
	return answers
}

func (s *splice) isInitialize(id []byte) bool {
	m, err := jsonrpc.Parse(s.initialize)
	return err == nil && bytes.Equal(m.ID, id)
}

// land takes a request out of those in flight.
func (s *splice) land(id []byte) {
	if i := slices.IndexFunc(s.inFlight, func(r sent) bool { return bytes.Equal(r.id, id) }); i >= 0 {
		s.drop(s.inFlight[i])
		s.inFlight = slices.Delete(s.inFlight, i, i+1)
	}
}

func (s *splice) drop(r sent) {
	if s.landed != nil {
		s.landed(r.line)
	}
}

// keeps says whether a line of the client's is remembered until its answer comes.
func (s *splice) keeps(line []byte) bool {
	m, err := jsonrpc.Parse(line)
	return err == nil && m.Kind == jsonrpc.Request
}

// take lowers a count and says whether there was any.
func take(counts map[string]int, id string) bool {
	n := counts[id]
	if n <= 1 {
		delete(counts, id)
	} else {
		counts[id] = n - 1
	}
	return n > 0
}
