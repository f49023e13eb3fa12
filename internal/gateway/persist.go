package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/home"
)

// What a gateway that was killed leaves to the next: the sessions of its clients
// by HTTP, under a digest of their ids, so that who reads the file cannot use
// them; the tools that were seen to ask their client something; and what servers
// were asking clients, which nobody will answer any more.

// book is what is known of all that.
type book struct {
	sessions map[string]*kept      // by keyOf their id
	askers   map[string][]string   // tools, by server
	open     map[string]openAsk    // questions to clients, by openAsk.key
	tasks    map[string][]keptTask // by server
}

// kept is a session as it is written down.
type kept struct {
	Server       string   `json:"server"`
	Principal    string   `json:"principal"`
	Client       string   `json:"client,omitempty"`
	Profile      string   `json:"profile,omitempty"`
	Version      string   `json:"version"`
	Capabilities []byte   `json:"capabilities,omitempty"` // as the client wrote them
	Info         []byte   `json:"info,omitempty"`
	Lines        bool     `json:"lines,omitempty"` // its client has one connection
	Tag          string   `json:"tag,omitempty"`
	Level        string   `json:"level,omitempty"`
	Follows      []string `json:"follows,omitempty"` // URIs
	// Generation and Handshake are of the process that it last had to do with.
	Generation uint64    `json:"generation"`
	Handshake  string    `json:"handshake"`
	Used       time.Time `json:"used"`
}

// openAsk is a request of a server's process to a client.
type openAsk struct {
	Instance   string `json:"instance"`
	Generation uint64 `json:"generation"`
	Ask        []byte `json:"ask"`            // its id, as the process wrote it
	Call       string `json:"call,omitempty"` // the call that it belongs to, by the id that the process knows
}

func (o *openAsk) key() string {
	return fmt.Sprintf("%s %d %s", o.Instance, o.Generation, o.Ask)
}

// record is one change of a book, and one line of its file.
type record struct {
	Session    string    `json:"s,omitempty"`
	Began      *kept     `json:"began,omitempty"`
	Level      string    `json:"level,omitempty"`
	Follow     string    `json:"follow,omitempty"`
	Unfollow   string    `json:"unfollow,omitempty"`
	Generation uint64    `json:"generation,omitempty"`
	Handshake  string    `json:"handshake,omitempty"`
	Used       time.Time `json:"used,omitzero"`
	Over       bool      `json:"over,omitempty"`

	Server string    `json:"server,omitempty"`
	Asker  string    `json:"asker,omitempty"`
	Task   *keptTask `json:"task,omitempty"`

	Asks *openAsk `json:"asks,omitempty"`
	Done *openAsk `json:"done,omitempty"`
}

func newBook() book {
	return book{sessions: map[string]*kept{}, askers: map[string][]string{}, open: map[string]openAsk{}, tasks: map[string][]keptTask{}}
}

// keyOf is what a session is known by: nobody can tell the id from it.
func keyOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	var text [(8*sha256.Size + 5) / 6]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return string(text[:])
}

// apply takes notice of one change. One that makes no sense changes nothing.
func (b *book) apply(r record) {
	if r.Began != nil && r.Session != "" {
		b.sessions[r.Session] = r.Began
	}
	if k := b.sessions[r.Session]; k != nil {
		k.change(r)
		if r.Over {
			delete(b.sessions, r.Session)
		}
	}
	if r.Server != "" && r.Asker != "" && !slices.Contains(b.askers[r.Server], r.Asker) && len(b.askers[r.Server]) < askersMost {
		b.askers[r.Server] = append(b.askers[r.Server], r.Asker)
	}
	if r.Server != "" && r.Task != nil {
		b.tasks[r.Server] = withTask(b.tasks[r.Server], *r.Task)
	}
	if r.Asks != nil && len(b.open) < openMost {
		b.open[r.Asks.key()] = *r.Asks
	}
	if r.Done != nil {
		delete(b.open, r.Done.key())
	}
}

// Bounds on what is remembered of one server's tools, and of open questions.
const (
	askersMost = 256
	openMost   = 4096
)

func (k *kept) change(r record) {
	if r.Level != "" {
		k.Level = r.Level
	}
	if r.Follow != "" && !slices.Contains(k.Follows, r.Follow) {
		k.Follows = append(k.Follows, r.Follow)
	}
	if r.Unfollow != "" {
		k.Follows = slices.DeleteFunc(k.Follows, func(uri string) bool { return uri == r.Unfollow })
	}
	if r.Generation != 0 {
		k.Generation = r.Generation
	}
	if r.Handshake != "" {
		k.Handshake = r.Handshake
	}
	if r.Used.After(k.Used) {
		k.Used = r.Used
	}
}

// records are the changes by which an empty book becomes this one.
func (b *book) records() []record {
	var all []record
	for _, key := range slices.Sorted(maps.Keys(b.sessions)) {
		all = append(all, record{Session: key, Began: b.sessions[key]})
	}
	for _, server := range slices.Sorted(maps.Keys(b.askers)) {
		for _, tool := range b.askers[server] {
			all = append(all, record{Server: server, Asker: tool})
		}
	}
	for _, server := range slices.Sorted(maps.Keys(b.tasks)) {
		for _, k := range b.tasks[server] {
			all = append(all, record{Server: server, Task: &k})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.open)) {
		o := b.open[key]
		all = append(all, record{Asks: &o})
	}
	return all
}

// forget drops what is of no use any more.
func (b *book) forget(now time.Time) {
	maps.DeleteFunc(b.sessions, func(_ string, k *kept) bool { return now.Sub(k.Used) > sessionIdle })
}

// ledger is a book and the file that it is in.
type ledger struct {
	log *slog.Logger

	mu      sync.Mutex // guards the fields below
	book    book
	left    map[string]openAsk // questions of the gateways before this one
	journal *home.Journal      // nil: it could not be opened
	full    int64              // the size at which the file is written anew
	behind  bool               // the file does not say all that the book does
	// shared: another gateway adds to the file as well, so that it only grows.
	shared bool
	asked  map[string]bool // questions of this gateway that are open
}

const (
	// ledgerLeast is the size up to which the file only grows, in bytes.
	ledgerLeast = 1 << 20
	// ledgerMost is the size from which on no session is taken in.
	ledgerMost = 64 << 20
	// declaredMost bounds what a client declared: one that says more is not kept.
	declaredMost = 64 << 10
)

// openLedger reads what the gateway before this one left. Where that cannot be
// done, nothing is kept: clients are served all the same.
//
// An heir shares the file with a gateway that lives, until inherit is called.
func openLedger(h *home.Home, log *slog.Logger, isHeir bool) *ledger {
	l := &ledger{log: log, book: newBook(), asked: map[string]bool{}, shared: isHeir}
	journal, lines, err := h.OpenJournal("gateway")
	if err != nil {
		log.Warn("sessions will not outlive this gateway", "error", err)
		return l
	}
	l.journal = journal
	l.book = readBook(lines)
	if !isHeir {
		l.takeUp()
	}
	return l
}

func readBook(lines [][]byte) book {
	b := newBook()
	for _, line := range lines {
		var r record
		if json.Unmarshal(line, &r) == nil { // one that was cut short is none
			b.apply(r)
		}
	}
	return b
}

// takeUp is where this gateway becomes the only one that writes. The caller holds
// the mutex, or is the only one who knows the ledger.
func (l *ledger) takeUp() {
	l.shared = false
	l.book.forget(time.Now())
	l.left = maps.Clone(l.book.open)
	maps.DeleteFunc(l.left, func(key string, _ openAsk) bool { return l.asked[key] })
	l.rewrite()
}

// share has another gateway add to the file, too, until inherit is called.
func (l *ledger) share() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.behind && l.journal != nil {
		l.rewrite() // the other one reads it
	}
	l.shared = true
}

// reload reads what the other gateway has written.
func (l *ledger) reload() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reread()
}

// reread is reload for who holds the mutex.
func (l *ledger) reread() {
	if l.journal == nil {
		return
	}
	lines, err := l.journal.Lines()
	if err != nil {
		l.log.Warn("sessions of the gateway before this one are not known", "error", err)
		return
	}
	l.book = readBook(lines)
}

// inherit has this gateway be the only one that writes, and know what the other
// one knew.
func (l *ledger) inherit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.journal != nil {
		l.reread()
		l.takeUp()
	}
}

// note takes notice of a change and writes it down.
func (l *ledger) note(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.apply(r)
	if r.Asks != nil {
		l.asked[r.Asks.key()] = true
	}
	if r.Done != nil {
		delete(l.asked, r.Done.key())
	}
	if l.journal == nil {
		return
	}
	line, err := json.Marshal(r)
	if err != nil {
		return // cannot happen
	}
	if !l.shared && (l.behind || l.journal.Size()+int64(len(line)) > l.full) {
		l.rewrite()
		return
	}
	if err := l.journal.Append(line); err != nil {
		l.fail(err)
	}
}

// keep takes a session in, and says whether it did.
func (l *ledger) keep(key string, k *kept) bool {
	if len(k.Capabilities)+len(k.Info)+len(k.Principal)+len(k.Client)+len(k.Profile) > declaredMost {
		return false
	}
	l.mu.Lock()
	fits := l.journal != nil && l.journal.Size() < ledgerMost
	l.mu.Unlock()
	if fits {
		l.note(record{Session: key, Began: k})
	}
	return fits
}

// rewrite has the file say no more than the book. The caller holds the mutex, or
// is the only one who knows the ledger.
func (l *ledger) rewrite() {
	var lines [][]byte
	for _, r := range l.book.records() {
		if line, err := json.Marshal(r); err == nil {
			lines = append(lines, line)
		}
	}
	if err := l.journal.Replace(lines); err != nil {
		l.fail(err)
		return
	}
	l.full, l.behind = max(ledgerLeast, 2*l.journal.Size()), false
}

// fail notes that a change could not be written down: the next one writes all.
func (l *ledger) fail(err error) {
	if !l.behind {
		l.log.Warn("what changes now may not outlive this gateway", "error", err)
	}
	l.behind = true
}

func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.journal != nil {
		l.journal.Close()
		l.journal = nil
	}
}

// servers are those that have sessions.
func (l *ledger) servers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := map[string]bool{}
	for _, k := range l.book.sessions {
		names[k.Server] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// of returns what is known of a server: its sessions, its tools that ask, and its
// tasks.
func (l *ledger) of(server string) (sessions map[string]kept, askers []string, tasks []keptTask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sessions = map[string]kept{}
	for key, k := range l.book.sessions {
		if k.Server == server {
			copied := *k
			copied.Follows = slices.Clone(k.Follows)
			sessions[key] = copied
		}
	}
	return sessions, slices.Clone(l.book.askers[server]), slices.Clone(l.book.tasks[server])
}

// drop forgets a server that is no more.
func (l *ledger) drop(server string) {
	sessions, _, _ := l.of(server)
	for key := range sessions {
		l.note(record{Session: key, Over: true})
	}
}

// abandoned returns what a process is asking clients of a gateway before this
// one, and forgets that and what processes before it asked. What it asks clients
// of this one, it may have asked already: that is not abandoned.
func (l *ledger) abandoned(instance string, generation uint64) (open []openAsk) {
	l.mu.Lock()
	var done []openAsk
	for key, o := range l.left {
		if o.Instance == instance {
			done = append(done, o)
			delete(l.left, key)
		}
	}
	l.mu.Unlock()
	for _, o := range done {
		l.note(record{Done: &o})
		if o.Generation == generation {
			open = append(open, o)
		}
	}
	return open
}
