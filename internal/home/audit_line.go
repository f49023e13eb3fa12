package home

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-run/berth"
)

const (
	// auditMaxLine bounds a line that is written: a record that would be longer
	// is shortened, and says so.
	auditMaxLine = 1 << 20
	// auditMaxRead bounds a line that is read: a longer one is no record.
	auditMaxRead = 8 << 20
	// auditMaxSeq is the largest number that every reader of JSON takes exactly.
	auditMaxSeq = 1<<53 - 1
)

// auditEncode returns the line of a record, with its newline, and the record as
// a reader will see it: one line of valid UTF-8, of bounded length.
func auditEncode(rec berth.Record) ([]byte, berth.Record, error) {
	rec = auditText(rec)
	line, err := auditJSON(rec)
	for budget := auditMaxLine / 2; err == nil && len(line) > auditMaxLine; budget /= 2 {
		rec = auditShorten(rec, budget)
		line, err = auditJSON(rec)
	}
	return line, rec, err
}

// auditJSON writes a record as encoding/json does, in a fraction of the time: a
// record is on the way of every call's answer.
func auditJSON(rec berth.Record) ([]byte, error) {
	w := auditMembers{line: make([]byte, 0, 640)}
	w.line = append(w.line, '{')
	w.number("timestampEpochSecs", rec.TimestampEpochSecs)
	w.text("server", rec.Server)
	w.text("action", rec.Action)
	w.known("pid", int64(rec.PID))
	w.says("command", rec.Command)
	for i, arg := range rec.Args {
		if i == 0 {
			w.key("args")
			w.line = append(w.line, '[')
		} else {
			w.line = append(w.line, ',')
		}
		w.string(arg)
	}
	if len(rec.Args) > 0 {
		w.line = append(w.line, ']')
	}
	if !rec.Time.IsZero() {
		w.key("time")
		at, err := rec.Time.AppendText(append(w.line, '"'))
		w.line, w.err = append(at, '"'), errors.Join(w.err, err)
	}
	if rec.Seq != 0 {
		w.key("seq")
		w.line = strconv.AppendUint(w.line, rec.Seq, 10)
	}
	if rec.Code != nil {
		w.number("code", int64(*rec.Code))
	}
	w.says("signal", rec.Signal)
	w.known("durationMs", rec.DurationMillis)
	w.says("detail", rec.Detail)
	if rec.Call != nil {
		w.key("call")
		w.call(*rec.Call)
	}
	w.says("prev", rec.Prev)
	if w.err != nil {
		return nil, fmt.Errorf("encode an audit record: %w", w.err)
	}
	return append(w.line, '}', '\n'), nil
}

// auditMembers writes the members of an object.
type auditMembers struct {
	line []byte
	err  error
}

func (w *auditMembers) call(c berth.Call) {
	w.line = append(w.line, '{')
	w.text("tool", c.Tool)
	w.says("principal", c.Principal)
	w.says("caller", c.Caller)
	w.says("client", c.Client)
	w.text("outcome", string(c.Outcome))
	w.known("code", c.Code)
	w.number("bytesIn", int64(c.BytesIn))
	w.number("bytesOut", int64(c.BytesOut))
	w.number("queueMicros", c.QueueMicros)
	w.number("startMicros", c.StartMicros)
	w.number("runMicros", c.RunMicros)
	w.number("restarts", int64(c.Restarts))
	w.says("argumentsSha256", c.ArgumentsSHA256)
	w.says("arguments", c.Arguments)
	w.line = append(w.line, '}')
}

func (w *auditMembers) key(name string) {
	if w.line[len(w.line)-1] != '{' {
		w.line = append(w.line, ',')
	}
	w.line = append(append(append(w.line, '"'), name...), '"', ':')
}

func (w *auditMembers) number(name string, n int64) {
	w.key(name)
	w.line = strconv.AppendInt(w.line, n, 10)
}

func (w *auditMembers) text(name, value string) {
	w.key(name)
	w.string(value)
}

// known and says leave out what is not known.
func (w *auditMembers) known(name string, n int64) {
	if n != 0 {
		w.number(name, n)
	}
}

func (w *auditMembers) says(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *auditMembers) string(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			w.err = errors.Join(w.err, e.Encode(s))
			w.line = append(w.line, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
			return
		}
	}
	w.line = append(append(append(w.line, '"'), s...), '"')
}

// auditText returns the record with each byte that is not UTF-8 written as
// \xNN: JSON has no bytes, and which they were may matter.
func auditText(rec berth.Record) berth.Record {
	if !auditIsText(&rec) {
		rec = auditMadeText(rec)
	}
	return rec
}

func auditMadeText(rec berth.Record) berth.Record {
	for _, s := range auditStrings(&rec) {
		*s = auditUTF8(*s)
	}
	var args []string
	for i, a := range rec.Args {
		clean := auditUTF8(a)
		if clean != a && args == nil {
			args = append([]string(nil), rec.Args...) // the caller's stay as they are
		}
		if args != nil {
			args[i] = clean
		}
	}
	if args != nil {
		rec.Args = args
	}
	return rec
}

// auditIsText says whether all of it is UTF-8 already, as it is nearly always.
func auditIsText(rec *berth.Record) bool {
	for _, s := range [...]string{rec.Server, rec.Action, rec.Command, rec.Signal, rec.Detail} {
		if !utf8.ValidString(s) {
			return false
		}
	}
	if c := rec.Call; c != nil {
		for _, s := range [...]string{c.Tool, c.Principal, c.Caller, c.Client, c.Arguments} {
			if !utf8.ValidString(s) {
				return false
			}
		}
	}
	return !slices.ContainsFunc(rec.Args, func(s string) bool { return !utf8.ValidString(s) })
}

// auditStrings are the texts of a record that may be anything, and that may be
// changed: what the record shares with its maker is copied.
func auditStrings(rec *berth.Record) []*string {
	all := []*string{&rec.Server, &rec.Action, &rec.Command, &rec.Signal, &rec.Detail}
	if rec.Call != nil {
		c := *rec.Call
		rec.Call = &c
		all = append(all, &c.Tool, &c.Principal, &c.Caller, &c.Client, &c.Arguments)
	}
	return all
}

func auditUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// auditShorten cuts what a record says to about budget bytes.
func auditShorten(rec berth.Record, budget int) berth.Record {
	for _, s := range auditStrings(&rec) {
		if most := budget / 16; len(*s) > most {
			*s = fmt.Sprintf("%s [… %d bytes left out]", strings.ToValidUTF8((*s)[:most], ""), len(*s)-most)
		}
	}
	size := 0
	for i, a := range rec.Args {
		if size += len(a); size <= budget/2 {
			continue
		}
		for _, more := range rec.Args[i+1:] {
			size += len(more)
		}
		kept := append([]string(nil), rec.Args[:i]...)
		rec.Args = append(kept, fmt.Sprintf("[… %d arguments left out, %d bytes in all]", len(rec.Args)-i, size))
		break
	}
	return rec
}

// auditParse returns the record in a line.
func auditParse(line []byte) (berth.Record, error) {
	var rec berth.Record
	if text := bytes.TrimLeft(line, " \t\r"); len(text) == 0 || text[0] != '{' {
		return rec, errors.New("not a JSON object")
	}
	if err := json.Unmarshal(line, &rec); err != nil {
		return berth.Record{}, err
	}
	if strings.TrimSpace(rec.Action) == "" {
		return berth.Record{}, errors.New("no action")
	}
	if rec.Seq > auditMaxSeq {
		return berth.Record{}, errors.New("its number is out of range")
	}
	return rec, nil
}

// auditTime returns when the record says that it happened. The reference tells
// the second only.
func auditTime(rec berth.Record) time.Time {
	if rec.Time.IsZero() {
		return time.Unix(rec.TimestampEpochSecs, 0)
	}
	return rec.Time
}

// auditLine is one line of the trail.
type auditLine struct {
	number   int // in its file, from 1
	bytes    int64
	finished bool // it has its newline
	sum      string
	rec      berth.Record
	err      error // it is no record
}

// numbered says whether the line is a record of ours, which has a number and
// the hash of what was before it. All other lines have none: those that the
// reference wrote, and rests of writes that were cut off.
func (l auditLine) numbered() bool { return l.err == nil && l.rec.Seq > 0 }

// auditLines reads the lines of one file.
type auditLines struct {
	lines  tailLines
	number int
}

func newAuditLines(r io.Reader) *auditLines {
	return &auditLines{lines: tailLines{in: bufio.NewReaderSize(r, tailBlock), max: auditMaxRead, sum: sha256.New()}}
}

// next returns the next line, or io.EOF. The last line may be unfinished; a
// further call goes on with it if the file has grown meanwhile.
func (a *auditLines) next() (auditLine, error) {
	err := a.lines.next()
	if err != nil && (err != io.EOF || !a.lines.unfinished()) {
		return auditLine{}, err
	}
	l := auditLine{
		number:   a.number + 1,
		bytes:    int64(len(a.lines.line)) + a.lines.extra,
		finished: a.lines.ended,
		sum:      hex.EncodeToString(a.lines.sum.Sum(nil)),
	}
	if l.finished {
		a.number++
	}
	if a.lines.extra > 0 {
		l.err = fmt.Errorf("a line of %d bytes", l.bytes)
	} else {
		l.rec, l.err = auditParse(a.lines.line)
	}
	return l, nil
}

// auditChain is what the next record has to say of all lines before it.
type auditChain struct {
	seq uint64 // of the last numbered line
	sum string // covers every line so far; empty before the first

	// Since the last numbered line:
	others   int // lines
	bad      int // those of them that are finished and no records
	badBytes int64
	open     int64 // bytes of the unfinished line, which is the last
}

// add adds a line. A numbered line vouches for those before it, so its own hash
// covers them all. Any other line is covered together with what was before it.
func (c *auditChain) add(l auditLine) {
	if l.numbered() {
		*c = auditChain{seq: l.rec.Seq, sum: l.sum}
	} else {
		c.others++
		if c.sum = auditCover(c.sum, l.sum); l.err != nil && l.finished {
			c.bad++
			c.badBytes += l.bytes
		}
	}
	if !l.finished {
		c.open = l.bytes
	}
}

// auditCover returns the hash that covers what before covers and, after it, a
// line without a number.
func auditCover(before, line string) string {
	if before == "" {
		return line
	}
	sum := sha256.Sum256([]byte(before + "\n" + line))
	return hex.EncodeToString(sum[:])
}
