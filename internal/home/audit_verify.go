package home

import (
	"fmt"

	"github.com/berth-run/berth"
)

// AuditReport is what VerifyAudit found.
type AuditReport struct {
	// Records counts the numbered records, Unnumbered those without a number,
	// which the reference wrote.
	Records    int `json:"records"`
	Unnumbered int `json:"unnumbered"`
	Files      int `json:"files"`
	// LastSeq is the number of the last record.
	LastSeq uint64 `json:"lastSeq"`
	// Problems say what was edited, removed or moved.
	Problems []AuditFinding `json:"problems"`
	// Notes say what crashes and full disks have left, and was accounted for.
	Notes []AuditFinding `json:"notes"`
	// MoreProblems counts those that are not listed.
	MoreProblems int `json:"moreProblems,omitzero"`
}

// OK says whether the trail is what was written.
func (r AuditReport) OK() bool { return len(r.Problems) == 0 }

// AuditFinding is one finding, at a line of a file.
type AuditFinding struct {
	File string `json:"file"` // its path
	Line int    `json:"line,omitzero"`
	What string `json:"what"`
}

// String returns the finding as "file:line: what".
func (f AuditFinding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.What
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What)
}

// auditMaxFindings bounds a report on a trail that is something else.
const auditMaxFindings = 1000

// VerifyAudit checks the hashes and the numbers of the whole trail, and its end
// against the head file. It detects damage and casual edits, not an attacker
// with the user's rights, who can write all of it anew. The error is that of
// reading; what is wrong with the trail is in the report.
func (h *Home) VerifyAudit() (AuditReport, error) {
	report, err := h.trail().verify()
	if err != nil {
		return report, fmt.Errorf("verify the audit trail: %w", err)
	}
	return report, nil
}

func (t trail) verify() (AuditReport, error) {
	// The head first: what is acknowledged later cannot be missed then.
	head, err := t.head()
	if err != nil {
		return AuditReport{}, err
	}
	v := auditVerifier{trail: t, head: head}
	v.report.Problems, v.report.Notes = []AuditFinding{}, []AuditFinding{} // in JSON an empty list, never null
	if err := t.each(AuditFilter{}, func(name string, l auditLine) bool { v.line(name, l); return true }); err != nil {
		return v.report, err
	}
	v.end()
	return v.report, nil
}

type auditVerifier struct {
	trail  trail
	head   auditHead
	report AuditReport

	chain  auditChain
	latest auditSpot   // the line before
	last   auditSpot   // the last numbered line
	since  auditSpot   // the first line after that
	bad    []auditSpot // those since that are no records
	edited bool        // the last numbered line is not what the head knows
}

type auditSpot struct {
	file string
	line int // 0 for none
	err  error
}

func (s auditSpot) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

func (v *auditVerifier) line(name string, l auditLine) {
	here := auditSpot{name, l.number, l.err}
	if name != v.latest.file {
		v.fileEnded()
		v.report.Files++
	}
	if !l.numbered() {
		v.chain.add(l)
		if v.latest = here; v.since.line == 0 {
			v.since = here
		}
		if l.err == nil {
			v.report.Unnumbered++
		} else if l.finished && len(v.bad) < auditMaxFindings {
			v.bad = append(v.bad, here)
		}
		return
	}
	v.report.Records++
	v.badLines(l.rec.Action == berth.ActionAuditRepaired)
	v.follows(here, l.rec)
	switch l.rec.Action {
	case berth.ActionAuditRepaired, berth.ActionAuditGap:
		v.note(here, "%s: %s", l.rec.Action, l.rec.Detail)
	}
	v.edited = l.rec.Seq == v.head.Seq && l.sum != v.head.Hash
	v.chain.add(l)
	v.last, v.latest, v.since = here, here, auditSpot{}
}

// follows checks that the record follows what is before it.
func (v *auditVerifier) follows(here auditSpot, rec berth.Record) {
	whole := rec.Prev == v.chain.sum
	switch want := v.chain.seq + 1; {
	case rec.Seq > want && whole:
		v.problem(here, "%s missing before record %d, which was appended after they were gone", auditRange(want, rec.Seq-1), rec.Seq)
	case rec.Seq > want:
		v.problem(here, "%s missing before record %d: lines were removed or moved", auditRange(want, rec.Seq-1), rec.Seq)
	case rec.Seq < want:
		v.problem(here, "record %d comes after record %d: lines were repeated or moved", rec.Seq, v.chain.seq)
	case whole:
	case v.since.line > 0:
		first := v.since
		if v.last.line > 0 {
			first = v.last
		}
		v.problem(first, "not as record %d (%s) knows it: a line from here to %s was edited, added or removed", rec.Seq, here, v.latest)
	case v.last.line > 0:
		v.problem(v.last, "not as record %d (%s) knows it: record %d was edited", rec.Seq, here, v.chain.seq)
	default:
		v.problem(here, "record %d knows of lines before it, and there are none: they were removed", rec.Seq)
	}
}

// badLines reports the lines since the last numbered one that are no records.
// Those before a repair are what it is about.
func (v *auditVerifier) badLines(repaired bool) {
	for _, s := range v.bad {
		if repaired {
			v.note(s, "the rest of a write that was cut off (%v)", s.err)
		} else {
			v.problem(s, "not an audit record: %v", s.err)
		}
	}
	v.bad = nil
}

// fileEnded checks that the file of the line before, if it is an older one,
// ends with the record that its name tells.
func (v *auditVerifier) fileEnded() {
	if seq, ok := auditRotatedSeq(v.latest.file); ok && (seq != v.chain.seq || v.since.line > 0) {
		v.problem(auditSpot{file: v.latest.file}, "it should end with record %d", seq)
	}
}

func (v *auditVerifier) end() {
	v.fileEnded()
	v.report.LastSeq = v.chain.seq
	for _, s := range v.bad {
		v.note(s, "not an audit record (%v); the next record that is appended will account for it", s.err)
	}
	if v.chain.open > 0 {
		v.note(v.latest, "the last line is unfinished")
	}
	current := auditSpot{file: auditCurrent}
	switch {
	case v.head.Seq > v.chain.seq:
		v.problem(current, "%s missing at the end: the file had %d bytes after record %d",
			auditRange(v.chain.seq+1, v.head.Seq), v.head.Size, v.head.Seq)
	case v.edited:
		v.problem(v.last, "not as the head file knows it: record %d was edited", v.chain.seq)
	case v.head.Seq == 0 && v.chain.seq > 0:
		v.note(auditSpot{file: "head"}, "there is no head file: a missing end of the trail would not be noticed")
	}
}

func auditRange(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("record %d", from)
	}
	return fmt.Sprintf("records %d to %d", from, to)
}

func (v *auditVerifier) problem(at auditSpot, format string, args ...any) {
	if len(v.report.Problems) == auditMaxFindings {
		v.report.MoreProblems++
		return
	}
	v.report.Problems = append(v.report.Problems, v.finding(at, format, args))
}

func (v *auditVerifier) note(at auditSpot, format string, args ...any) {
	if len(v.report.Notes) < auditMaxFindings {
		v.report.Notes = append(v.report.Notes, v.finding(at, format, args))
	}
}

func (v *auditVerifier) finding(at auditSpot, format string, args []any) AuditFinding {
	return AuditFinding{File: v.trail.path(at.file), Line: at.line, What: fmt.Sprintf(format, args...)}
}
