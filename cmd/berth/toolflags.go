package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

// toolFlags are the flags of commands that say which tools may be called.
type toolFlags struct {
	allow, deny []string
	readOnly    bool
	unset       []string
}

// toolFlagsHelp explains them, and what the lists mean.
const toolFlagsHelp = `A list of tools has names as the servers give them, TOOL or SERVER/TOOL, in which
* is any text, ? a letter and [a-z] one of these, and the words @read-only and
@destructive, which are what a server says of its tools: hints that it need not
keep to. A tool of which nothing is said counts as destructive. What is denied is
denied whatever is allowed, and whatever the case of its letters; an empty list
allows all.`

func (t *toolFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&t.allow, "allow-tool", nil, "allow the tools of a `pattern` and no others; may be repeated")
	f.StringArrayVar(&t.deny, "deny-tool", nil, "deny the tools of a `pattern`; may be repeated")
	f.BoolVar(&t.readOnly, "read-only", false, "deny tools that do not say that they only read")
	words := cobra.FixedCompletions([]string{berth.ToolsReadOnly, berth.ToolsDestructive}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("allow-tool", words)
	_ = cmd.RegisterFlagCompletionFunc("deny-tool", words)
}

// addUnset adds the flag by which a key is taken back; keys are those that there
// are.
func (t *toolFlags) addUnset(cmd *cobra.Command, keys ...string) {
	cmd.Flags().StringArrayVar(&t.unset, "unset", nil, "take back a `KEY`: "+strings.Join(keys, ", ")+"; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("unset", cobra.FixedCompletions(keys, cobra.ShellCompDirectiveNoFileComp))
}

// check finds what cannot be, before anything is opened.
func (t *toolFlags) check(keys ...string) error {
	for _, list := range []struct {
		flag    string
		entries []string
	}{{"--allow-tool", t.allow}, {"--deny-tool", t.deny}} {
		for _, entry := range list.entries {
			if err := berth.CheckToolPattern(entry); err != nil {
				return usagef("%s: %s", list.flag, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
			}
		}
	}
	for _, key := range t.unset {
		if !slices.Contains(keys, key) {
			return usagef("--unset: %q is no key", key).hint("the keys are %s", strings.Join(keys, ", "))
		}
	}
	return nil
}

// apply sets what was given, and says it in words for the audit trail.
func (t *toolFlags) apply(cmd *cobra.Command, allow, deny *[]string, readOnly *bool) (done []string) {
	for _, list := range []struct {
		flag, key string
		given     []string
		into      *[]string
	}{{"allow-tool", "allow-tools", t.allow, allow}, {"deny-tool", "deny-tools", t.deny, deny}} {
		if cmd.Flags().Changed(list.flag) {
			*list.into = list.given
			done = append(done, fmt.Sprintf("set %s=%s", list.key, strings.Join(list.given, ",")))
		}
	}
	if cmd.Flags().Changed("read-only") {
		*readOnly = t.readOnly
		done = append(done, fmt.Sprintf("set read-only=%v", t.readOnly))
	}
	for _, key := range t.unset {
		switch key {
		case "allow-tools":
			*allow = nil
		case "deny-tools":
			*deny = nil
		case "read-only":
			*readOnly = false
		}
		done = append(done, "unset "+key)
	}
	return done
}

// oneProfile is oneName for a command about a profile.
func oneProfile(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("which profile?").hint("usage: %s", cmd.UseLine())
	case 1:
		return berth.CheckNameOf("profile", args[0])
	}
	return usagef("too many arguments: %q", args[1]).hint("usage: %s", cmd.UseLine())
}

// group is a command that does nothing without one of its own commands.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		var words []string
		for _, c := range cmd.Commands() {
			words = append(words, c.Name())
		}
		return usagef("%s what?", cmd.CommandPath()).hint("one of %s; see `%s --help`", strings.Join(words, ", "), cmd.CommandPath())
	}
	for _, c := range commands {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// listText is a list for people.
func listText(list []string, none string) string {
	if len(list) == 0 {
		return "(" + none + ")"
	}
	return strings.Join(list, ", ")
}

// notNil is a list that is [] in JSON if it is empty.
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// near returns the error with what may have been meant.
func near(err error, name string, all []string, otherwise string) error {
	for _, other := range all {
		if distance(name, other) <= 2 {
			return berth.WithHint(err, fmt.Sprintf("did you mean %s?", other))
		}
	}
	return berth.WithHint(err, otherwise)
}

// readable joins an error of one file of several with those before.
func readable(u *ui, errs *error, err error) bool {
	if err != nil {
		u.fail(err)
		*errs = errors.Join(*errs, err)
	}
	return err == nil
}
