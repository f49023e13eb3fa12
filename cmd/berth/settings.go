package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/berth-run/berth/internal/listing"
)

// answers are what a user said to the settings of an entry.
type answers struct {
	values listing.Values
	// kept are secrets that stay as they are in the store.
	kept map[string]bool
}

// settings gets the values of an entry's settings: from the flags, from the environment,
// from whoever sits at the terminal.
func (a *app) settings(e listing.Entry, o installOptions) (answers, error) {
	v := answers{values: listing.Values{}, kept: map[string]bool{}}
	if err := a.flagSettings(e, o, &v); err != nil {
		return v, err
	}
	environ := os.Environ()
	for _, set := range e.Settings {
		if len(v.values[set.Key]) > 0 || !set.Required && !o.ask {
			continue
		}
		if value := valueOf(environ, set.Env); set.Env != "" && value != "" {
			a.ui.note("%s: the value is that of %s in your environment", set.Key, set.Env)
			if err := v.add(set, value); err != nil {
				return v, err
			}
			continue
		}
		if set.Default != "" && !o.ask || !isTerminal(a.stdin) || !a.ui.errTerm {
			continue // Fill says what is missing
		}
		if err := a.askSetting(set, &v); err != nil {
			return v, err
		}
	}
	return v, nil
}

// add checks a value and keeps it.
func (v *answers) add(set listing.Setting, text string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	value, err := set.Read(text, cwd)
	if err != nil {
		return err
	}
	v.values[set.Key] = append(v.values[set.Key], value)
	return nil
}

// flagSettings reads --set and --secret.
func (a *app) flagSettings(e listing.Entry, o installOptions, v *answers) error {
	find := func(flag, key string) (listing.Setting, error) {
		set, known := e.Setting(key)
		if !known {
			var keys []string
			for _, set := range e.Settings {
				keys = append(keys, set.Key)
			}
			return set, usagef("%s: there is no setting %s", flag, printable(cut(key, 80))).hint("it has %s", orNone(keys, "none"))
		}
		return set, nil
	}
	for _, entry := range o.set {
		key, text, ok := strings.Cut(entry, "=")
		set, err := find("--set", key)
		switch {
		case err != nil:
			return err
		case set.Secret:
			return usagef("--set %s: it is a secret, and every user of this machine sees the arguments of a process", set.Key).
				hint("--secret %s asks for it, or takes it from a variable or a file", set.Key)
		case !ok:
			return usagef("--set %s: no value", set.Key).hint("write --set %s=VALUE", set.Key)
		}
		if err := v.add(set, text); err != nil {
			return usagef("--set: %v", err)
		}
	}
	for _, entry := range o.secrets {
		key, from, ok := strings.Cut(entry, "=")
		set, err := find("--secret", key)
		if err != nil {
			return err
		}
		text, err := a.secretSetting(set, from, ok)
		if err != nil {
			return err
		}
		if err := v.add(set, text); err != nil {
			return usagef("--secret: %v", err)
		}
	}
	return nil
}

// secretSetting gets a value from where no list of processes has it.
func (a *app) secretSetting(set listing.Setting, from string, given bool) (string, error) {
	if !given {
		if value := os.Getenv(set.Env); set.Env != "" && value != "" {
			return value, nil
		}
		value, err := a.askFor("value of " + set.Key)
		if err != nil {
			return "", usagef("--secret %s: %v", set.Key, err)
		}
		return value, nil
	}
	if name, ok := strings.CutPrefix(from, "env:"); ok {
		value := os.Getenv(name)
		if value == "" {
			return "", usagef("--secret %s: the variable %s is not set", set.Key, printable(name))
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(from, "file:"); ok {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("--secret %s: %w", set.Key, err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		if !lines.Scan() || strings.TrimSpace(lines.Text()) == "" {
			return "", errors.Join(fmt.Errorf("--secret %s: the first line of %s is empty", set.Key, path), lines.Err())
		}
		return strings.TrimSpace(lines.Text()), nil
	}
	// What stands there may be the secret itself: it is not shown.
	return "", usagef("--secret %s=…: a value here would be seen by every user of this machine", set.Key).
		hint("--secret %s asks for it; %[1]s=env:VARIABLE and %[1]s=file:PATH take it from there", set.Key)
}

// askSetting asks for a setting until the answer can be one. An empty answer is the
// default, or for one that may be left out, none.
func (a *app) askSetting(set listing.Setting, v *answers) error {
	what := set.Key
	if set.About != "" {
		what += ", " + set.About
	}
	if len(set.Choices) > 0 {
		what += " (" + strings.Join(set.Choices, ", ") + ")"
	}
	if set.Default != "" {
		what += " [" + set.Default + "]"
	}
	for tries := 0; ; tries++ {
		text, err := a.askLine(what, set.Secret)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", set.Key, err)
		case text == "" && (set.Default != "" || !set.Required || len(v.values[set.Key]) > 0):
			return nil
		case text == "":
			err = errors.New("it is needed")
		default:
			err = v.add(set, text)
		}
		if err != nil {
			if tries == 2 {
				return &exitError{code: exitUsage, err: err}
			}
			a.ui.say("%v", err)
			continue
		}
		if !set.Repeated {
			return nil
		}
		what = set.Key + ", another one, or nothing"
	}
}

// askLine asks at the terminal; the answer is shown unless it is a secret.
func (a *app) askLine(what string, hidden bool) (string, error) {
	if hidden {
		return a.askFor(what)
	}
	fmt.Fprintf(a.ui.err, "%s: ", printable(what))
	line, err := a.readLine()
	if line = strings.TrimSpace(line); line == "" && err != nil {
		return "", err
	}
	return line, nil
}

// values of an installed server's settings, as its file has them.
func settingsOf(e listing.Entry, config map[string]string) listing.Values {
	v := listing.Values{}
	for _, set := range e.Settings {
		if text, there := config[set.Key]; there && !set.Secret {
			v[set.Key] = strings.Split(text, "\n")
		}
	}
	return v
}
