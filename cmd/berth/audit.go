package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

func newAudit(a *app) *cobra.Command {
	var (
		f              home.AuditFilter
		since, outcome string
		follow, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "audit [NAME] [--since 24h] [--action A] [--client C] [--tool T] [--outcome O] [-f] [--json]",
		Short: "Show the audit trail: what was done to servers, and what they did",
		Long: `Show the audit trail, oldest record first: starts, stops, exits, restarts,
refusals, calls of tools, changes of settings, clients of a proxy. Each record
carries the hash of the one before; berth audit verify checks them.

The record of a call says what the client calls itself and whose connection it
came by, the tool, how it ended and how long that took, and with --json the hash
of its arguments; berth.audit-arguments=text keeps their text. It is written
before the answer is sent, and is on the disk within 100 ms; with
berth.audit=strict before the answer.

--since takes a time span such as 90m, 24h or 7d, or a time such as
2026-01-31T12:00:00Z. --action takes one action: ` + strings.Join(auditActions(), ", ") + `.
A server that was removed keeps its records. A line that is no record is
reported, and the exit code is 1; of what a crash cut off there is a note.

--client, --tool and --outcome choose records of calls, those of calls that were
denied among them. --client takes the name that Berth knows the client by: that
of its token, or of berth proxy --as. For a call of a client that has none it is
what the client calls itself, up to the first blank, such as claude-ai, which
nobody has checked; where it says nothing, who it is, such as uid:1000. --tool
takes a name, or a pattern in which * is any text without a slash, ? one
character, and [a-z] one of these. --outcome takes one of
` + strings.Join(auditOutcomes(), ", ") + `;
refused shows callers that were not let in, too, for want of a token that works.
Of these the first is on record at once, and how many followed within a minute
after that.

-f prints what there is, and then each record as it is written, until Ctrl-C.

--json prints an array of records, and with -f one record a line.

Files: audit/audit.jsonl, and audit/audit-NUMBER.jsonl, which are older.

Exit codes: 0 printed, also if there is nothing, 1 a line is no record.`,
		Example: `  berth audit
  berth audit everything --since 24h --action exit
  berth audit --client laptop --tool 'write_*' --outcome failed
  berth audit -f --since 10m
  berth audit --json`,
		Args:              names(1),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Server = args[0]
			}
			if since != "" {
				var err error
				if f.Since, err = parseSince(since, time.Now()); err != nil {
					return err
				}
			}
			if outcome != "" && !slices.Contains(auditOutcomes(), outcome) {
				return usagef("--outcome: %q is none of %s", outcome, strings.Join(auditOutcomes(), ", "))
			}
			f.Outcome = berth.CallOutcome(outcome)
			if _, err := path.Match(f.Tool, ""); err != nil {
				return usagef("--tool: %q is no pattern: %v", f.Tool, err)
			}
			if follow {
				return a.auditFollow(cmd.Context(), f, asJSON)
			}
			return a.audit(f, asJSON)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&since, "since", "", "only what is younger than a `span`, or later than a time")
	fl.StringVar(&f.Action, "action", "", "only records of this `action`")
	fl.StringVar(&f.Client, "client", "", "only calls of the client of this `name`")
	fl.StringVar(&f.Tool, "tool", "", "only calls of tools that match this `pattern`")
	fl.StringVar(&outcome, "outcome", "", "only calls that ended with this `outcome`")
	fl.BoolVarP(&follow, "follow", "f", false, "go on with what is added")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	for _, free := range []string{"client", "tool"} {
		_ = cmd.RegisterFlagCompletionFunc(free, cobra.NoFileCompletions)
	}
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(auditOutcomes(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(auditActions(), cobra.ShellCompDirectiveNoFileComp))
	verify := newAuditVerify(a)
	verify.DisableFlagsInUseLine = true
	cmd.AddCommand(verify)
	return cmd
}

func auditActions() []string {
	return []string{
		berth.ActionStart, berth.ActionStop, berth.ActionRestart, berth.ActionExit, berth.ActionAutoRestart,
		berth.ActionPolicyDenied, berth.ActionAdd, berth.ActionRemove, berth.ActionConfig, berth.ActionPermissions, berth.ActionPolicy, berth.ActionLogin, berth.ActionLogout, berth.ActionLink, berth.ActionUnlink, berth.ActionToolCall, berth.ActionToolCallDenied, berth.ActionResourceRenamed,
		berth.ActionProxyStart, berth.ActionProxyEnd, berth.ActionProxyError, berth.ActionRenew, berth.ActionHung, berth.ActionUpgrade,
		berth.ActionServiceInstall, berth.ActionServiceUninstall, berth.ActionTokenCreate, berth.ActionTokenRevoke, berth.ActionCallerRefused, berth.ActionAuditRepaired, berth.ActionAuditGap,
	}
}

func auditOutcomes() []string {
	return []string{
		string(berth.CallDone), string(berth.CallFailed), string(berth.CallError), string(berth.CallAsks),
		string(berth.CallRefused), string(berth.CallCancelled), string(berth.CallTimeout), string(berth.CallLost),
	}
}

// parseSince reads a span or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if at, ok := spanOrTime(text, now, -1); ok {
		return at, nil
	}
	return time.Time{}, usagef("--since: %q is neither a span such as 24h or 7d nor a time such as 2026-01-31T12:00:00Z", text)
}

func (a *app) audit(f home.AuditFilter, asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	show, end := auditTable(a.ui)
	if asJSON {
		show, end = auditJSON(a.ui)
	}
	bad, shown := 0, 0
	for rec, err := range s.home.Audit(f) {
		switch told, damage := a.auditLineTold(err); {
		case damage:
			bad++
		case told:
		case err != nil:
			return err
		default:
			shown++
			if err := show(rec); err != nil {
				return err
			}
		}
	}
	if err := end(); err != nil {
		return err
	}
	if shown == 0 && f.Server != "" && s.known(f.Server) != nil {
		a.ui.note("there is no record of %q", f.Server)
	}
	if bad > 0 {
		return berth.WithHint(fmt.Errorf("lines of the audit trail that are no records: %d", bad), "berth audit verify")
	}
	return nil
}

// auditLineTold reports a line that is no record, if that is the error, and says
// whether it was reported, and whether it is damage.
func (a *app) auditLineTold(err error) (told, damage bool) {
	var line *home.AuditLineError
	if !errors.As(err, &line) {
		return false, false
	}
	if line.Unfinished || line.Repaired {
		a.ui.note("%v", line) // a crash's, and never acknowledged
		return true, false
	}
	a.ui.warn("%v", line)
	return true, true
}

// auditFollow prints records as they come, until ctx ends: Ctrl-C is how it ends.
func (a *app) auditFollow(ctx context.Context, f home.AuditFilter, asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	show := func(rec berth.Record) error {
		line, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		return a.ui.write(line)
	}
	if !asJSON {
		// No column can be as wide as what has not come yet.
		row := func(cells ...any) error {
			return a.ui.write(fmt.Appendf(nil, "%-19s  %-16s  %-16s  %-7s  %s", cells...))
		}
		if err := row("TIME", "SERVER", "ACTION", "PID", "DETAIL"); err != nil {
			return err
		}
		show = func(rec berth.Record) error { return row(auditCells(rec)...) }
	}
	err = s.home.FollowAudit(ctx, f, func(rec berth.Record, err error) error {
		if told, _ := a.auditLineTold(err); told || err != nil {
			return nil
		}
		return show(rec)
	})
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx))):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return berth.WithHint(err, "there is nothing to follow before the first `berth add`")
	}
	return err
}

// auditJSON prints an array, one record a line: a trail may be long.
func auditJSON(u *ui) (show func(berth.Record) error, end func() error) {
	n := 0
	show = func(rec berth.Record) error {
		line, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		before := ",\n"
		if n == 0 {
			before = "[\n"
		}
		n++
		_, err = fmt.Fprintf(u.out, "%s  %s", before, line)
		return err
	}
	end = func() error {
		closing := "\n]\n"
		if n == 0 {
			closing = "[]\n"
		}
		_, err := fmt.Fprint(u.out, closing)
		return err
	}
	return show, end
}

func auditTable(u *ui) (show func(berth.Record) error, end func() error) {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tSERVER\tACTION\tPID\tDETAIL")
	show = func(rec berth.Record) error {
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", auditCells(rec)...)
		return err
	}
	return show, t.Flush
}

// auditCells are the columns of a record.
func auditCells(rec berth.Record) []any {
	at := rec.Time
	if at.IsZero() {
		at = time.Unix(rec.TimestampEpochSecs, 0)
	}
	return []any{
		at.Local().Format(time.DateTime), printable(cmp.Or(rec.Server, "-")), printable(rec.Action),
		pidText(rec.PID), printable(detailOf(rec)),
	}
}

// detailOf says in words what a record's other members tell.
func detailOf(rec berth.Record) string {
	var parts []string
	if rec.Code != nil || rec.Signal != "" {
		parts = append(parts, berth.Exit{Code: rec.Code, Signal: rec.Signal}.String())
	}
	if rec.DurationMillis > 0 {
		parts = append(parts, "after "+spanText(time.Duration(rec.DurationMillis)*time.Millisecond))
	}
	if rec.Call != nil {
		parts = append(parts, callText(*rec.Call))
	}
	if rec.Detail != "" {
		parts = append(parts, rec.Detail)
	}
	switch rec.Action {
	case berth.ActionStart, berth.ActionAdd, berth.ActionRestart:
		if rec.Command != "" {
			parts = append(parts, shellLine(append([]string{rec.Command}, rec.Args...)))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// callText says in words what became of a call, and whose it was.
func callText(c berth.Call) string {
	text := c.Tool + ": " + string(c.Outcome)
	if c.Code != 0 {
		text += fmt.Sprintf(" %d", c.Code)
	}
	micros := func(n int64) string {
		return (time.Duration(n) * time.Microsecond).Round(100 * time.Microsecond).String()
	}
	text += " in " + micros(c.QueueMicros+c.StartMicros+c.RunMicros)
	for _, wait := range []struct {
		what string
		long int64
	}{{"its turn", c.QueueMicros}, {"the start", c.StartMicros}} {
		if wait.long >= 1000 {
			text += fmt.Sprintf(", %s of it for %s", micros(wait.long), wait.what)
		}
	}
	text += fmt.Sprintf(", %d bytes in, %d out", c.BytesIn, c.BytesOut)
	who := c.Principal
	if c.Caller != "" {
		who += " as " + c.Caller
	}
	switch {
	case c.Client != "" && who != "":
		text += fmt.Sprintf(", by %s (%s)", c.Client, who)
	case c.Client+who != "":
		text += ", by " + c.Client + who
	}
	if c.Arguments != "" {
		text += ", arguments " + c.Arguments
	}
	return text
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func newAuditVerify(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [--json]",
		Short: "Check that the audit trail is what was written",
		Long: `Check the hash and the number of every record of the audit trail, and that its
end is there. It finds damage, and edits by someone who does not mend the hashes;
it does not find what an attacker with your rights did.

A write that a crash cut off was never acknowledged; it is a note, no problem.

--json prints {"ok", "records", "unnumbered", "files", "lastSeq", "problems",
"notes"}.

Exit codes: 0 it is whole, 1 it is not, or could not be read.`,
		Example: `  berth audit verify
  berth audit verify --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return a.auditVerify(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) auditVerify(asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	r, err := s.home.VerifyAudit()
	if err != nil {
		return err
	}
	if asJSON {
		err = a.ui.json(struct {
			OK bool `json:"ok"`
			home.AuditReport
		}{r.OK(), r})
		if err != nil {
			return err
		}
		if !r.OK() {
			return silent(exitFailed)
		}
		return nil
	}
	for _, n := range r.Notes {
		a.ui.note("%v", n)
	}
	for _, p := range r.Problems {
		a.ui.print("%s", printable(p.String()))
	}
	if r.MoreProblems > 0 {
		a.ui.print("and %d more", r.MoreProblems)
	}
	if !r.OK() {
		return fmt.Errorf("the audit trail is not what was written: %s in %s",
			counted(len(r.Problems)+r.MoreProblems, "problem"), counted(r.Records, "record"))
	}
	text := fmt.Sprintf("the audit trail is whole: %s in %s", counted(r.Records, "record"), counted(r.Files, "file"))
	if r.Unnumbered > 0 {
		text += fmt.Sprintf(", and %d of Berth 0.1, which carry no hash", r.Unnumbered)
	}
	a.ui.print("%s", text)
	return nil
}
