package validate

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// rule says what is wrong with a text, "" if nothing is.
type rule func(text string) string

// known is what an object may have in it.
type known map[string]bool

// object returns the members of a value that must be an object; nil, with a fault, if it is
// none. Members that are not known are faults of a level, "" for none.
func (c *check) object(n *node, names known, unknown string) *object {
	o, ok := n.value.(*object)
	if !ok {
		c.errorf(n, "it must be an object")
		return nil
	}
	for _, m := range o.members {
		if names != nil && !names[m.name] && unknown != "" {
			c.add(unknown, m.at, m.node.path, "there is no such field%s", near(m.name, names))
		}
	}
	return o
}

// near proposes the name that was meant, where only the case or a letter is another.
func near(name string, names known) string {
	for _, other := range slices.Sorted(maps.Keys(names)) {
		if strings.EqualFold(strings.ReplaceAll(name, "_", ""), strings.ReplaceAll(other, "_", "")) || oneApart(name, other) {
			return ": " + other + " is meant?"
		}
	}
	return ""
}

// oneApart says whether one letter too many, too few or another makes a the same as b.
func oneApart(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || len(b) < 4 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}

// text returns the text of a member, and whether there is one that keeps all rules.
func (c *check) text(of *node, o *object, name string, required bool, rules ...rule) (string, bool) {
	n := o.get(name)
	if n == nil {
		if required {
			c.add(Error, of.at, join(of.path, name), "it is required")
		}
		return "", false
	}
	text, ok := n.value.(string)
	if !ok {
		c.errorf(n, "it must be a text")
		return "", false
	}
	for _, r := range rules {
		if why := r(text); why != "" {
			c.errorf(n, "%s", why)
			return text, false
		}
	}
	return text, true
}

// bool looks at a member that must be true or false, and returns it.
func (c *check) bool(o *object, name string) bool {
	n := o.get(name)
	if n == nil {
		return false
	}
	value, ok := n.value.(bool)
	if !ok {
		c.errorf(n, "it must be true or false")
	}
	return value
}

// list returns the elements of a member that must be a list.
func (c *check) list(o *object, name string) []*node {
	n := o.get(name)
	if n == nil {
		return nil
	}
	list, ok := n.value.([]*node)
	if !ok {
		c.errorf(n, "it must be a list")
	}
	return list
}

// texts returns those of a member that must be a list of them.
func (c *check) texts(o *object, name string, rules ...rule) (all []string) {
	for _, n := range c.list(o, name) {
		text, ok := n.value.(string)
		if !ok {
			c.errorf(n, "it must be a text")
			continue
		}
		all = append(all, text)
		for _, r := range rules {
			if why := r(text); why != "" {
				c.errorf(n, "%s", why)
			}
		}
	}
	return all
}

// number returns a member that must be one; nil if there is none.
func (c *check) number(o *object, name string) *float64 {
	n := o.get(name)
	if n == nil {
		return nil
	}
	if number, ok := n.value.(json.Number); ok {
		if f, err := number.Float64(); err == nil {
			return &f
		}
	}
	c.errorf(n, "it must be a number")
	return nil
}

func length(least, most int) rule {
	return func(text string) string {
		switch n := utf8.RuneCountInString(text); {
		case n < least && least == 1:
			return "it is empty"
		case n < least:
			return fmt.Sprintf("it has %d characters, and must have at least %d", n, least)
		case n > most:
			return fmt.Sprintf("it has %d characters, and may have %d", n, most)
		}
		return ""
	}
}

func oneOf(words ...string) rule {
	return func(text string) string {
		if slices.Contains(words, text) {
			return ""
		}
		return fmt.Sprintf("%q is not one of %s", short(text), strings.Join(words, ", "))
	}
}

// matches is the rule that a text is of a form, which is said in words.
func matches(pattern, form string) rule {
	return func(text string) string {
		if regexp.MustCompile(pattern).MatchString(text) {
			return ""
		}
		return fmt.Sprintf("%q is not %s", short(text), form)
	}
}

// absolute is the rule that a text is a URL with one of some schemes.
func absolute(schemes ...string) rule {
	return func(text string) string {
		u, err := url.Parse(text)
		switch {
		case err != nil || strings.ContainsAny(text, "\"'<> \t\r\n"):
			return fmt.Sprintf("%q is no URL", short(text))
		case !u.IsAbs() || u.Host == "" && u.Opaque == "":
			return fmt.Sprintf("%q is no whole URL, with its scheme", short(text))
		case !slices.Contains(schemes, u.Scheme):
			return fmt.Sprintf("%q must begin with %s://", short(text), strings.Join(schemes, ":// or "))
		}
		return ""
	}
}

// exactVersion is the rule that a version is one, and no range.
func exactVersion(text string) string {
	switch {
	case text == "latest":
		return `"latest" is reserved: name the version itself`
	case regexp.MustCompile(`^\s*(\^|~|>=|<=|>|<|=)|\|\||\s-\s`).MatchString(text),
		regexp.MustCompile(`^\s*v?(\d+|[xX*])(\.(\d+|[xX*])){0,2}\s*$`).MatchString(text) && strings.ContainsAny(text, "xX*"):
		return fmt.Sprintf("%q is a range: name one version", short(text))
	}
	return ""
}
