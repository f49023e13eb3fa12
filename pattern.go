package berth

import (
	"fmt"
	"path"
	"strings"
)

// The words of a list of tools that speak of what a server says a tool does.
const (
	// ToolsReadOnly are tools whose readOnlyHint is true.
	ToolsReadOnly = "@read-only"
	// ToolsDestructive are tools that are not read-only and whose destructiveHint
	// is not false: the specification's default is that a tool may destroy.
	ToolsDestructive = "@destructive"
)

// CheckToolPattern returns nil if pattern may stand in a list of tools that are
// allowed or denied:
//
//	TOOL, SERVER/TOOL               names, in which * is any text, ? a letter, [a-z] one of these
//	@read-only, SERVER/@read-only   what the server says of the tool; also @destructive
//
// Otherwise it returns an error that wraps ErrBadConfig and says what is wrong.
func CheckToolPattern(pattern string) error {
	server, tool, split := strings.Cut(pattern, "/")
	if !split {
		server, tool = "*", pattern
	}
	wrong := func(why string) error {
		return fmt.Errorf("%w: %s is no pattern of tools: %s", ErrBadConfig, quoteShort(pattern), why)
	}
	switch {
	case server == "" || tool == "":
		return wrong("it is empty, before or after the /")
	case strings.HasPrefix(server, "@"):
		return wrong("a word with an @ stands for tools, not for servers")
	case strings.TrimSpace(pattern) != pattern:
		return wrong("it begins or ends with a space")
	case tool[0] == '@' && tool != ToolsReadOnly && tool != ToolsDestructive:
		return WithHint(wrong("what an @ begins is not known"),
			"the words are "+ToolsReadOnly+" and "+ToolsDestructive+`; a name that begins with an @ is written [@]name`)
	}
	for _, part := range [...]string{server, tool} {
		if _, err := path.Match(part, ""); err != nil {
			return wrong("a [ is not closed, or a \\ ends it")
		}
	}
	return nil
}
