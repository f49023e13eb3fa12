package home

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// ConfigKey is a key of [config] that is Berth's own.
type ConfigKey struct {
	Key     string
	Default string // in words where there is no value
	Help    string // one line, without a full stop
}

// ConfigKeys returns Berth's own keys, in the order in which to list them.
func ConfigKeys() []ConfigKey {
	return []ConfigKey{
		{"berth.auto-restart", "false", "true or false: start the server again when it exits"},
		{"berth.max-restarts", "3", "how many automatic restarts are allowed within 10 minutes"},
		{"berth.max-memory", "no limit", "memory of the whole process tree, such as 512M (K, M, G: 1024-based)"},
		{"berth.max-processes", "no limit", "processes and threads of the whole process tree, such as 64"},
		{"berth.max-cpu", "no limit", "time of processors for the whole process tree, in percent of one, such as 50 or 200"},
		{"berth.max-file-descriptors", "no limit", "open files of each process, such as 1024"},
		{keyPort, "none", "the port, from 1024 on, at which a server with transport http listens; 127.0.0.1 leads to it, also if it is confined"},
		{"berth.eras", "auto", "auto, legacy, modern or both: which eras of MCP to speak to the server; both is a process for each"},
		{"berth.isolation", "shared", "shared or session: one process for all clients, or one for each"},
		{"berth.roots", "none", "directories that the server is told are its roots, such as /srv/a,/srv/b; a client's never are"},
		{"berth.on-crash", "keep-sessions", "keep-sessions or end-session: whether clients begin anew when the server's process has ended"},
		{"berth.allow-tools", "*", "tools that clients may call, such as get_*,@read-only; others are hidden"},
		{"berth.deny-tools", "none", "tools that no client may call, such as delete_*,@destructive; they are hidden"},
		{"berth.retry-tools", "none", "tools to call again if the process ends during a call, such as get_*,search"},
		{"berth.max-calls", "256", "how many requests of one user are at the server at once; further ones wait"},
		{"berth.max-rate", "no limit", "how many requests of one user a second are let through, such as 50 or 0.5"},
		{"berth.call-timeout", "5m", "how long a call may take without an answer or a report of progress, such as 30s; 12 times that in all"},
		{"berth.idle-timeout", "never", "stop the server when nobody has called it for so long, such as 10m, until somebody does"},
		{"berth.audit", "grouped", "grouped or strict: the record of a call is synced with others within 100 ms, or before its answer is sent"},
		{"berth.audit-arguments", "hash", "hash or text: what the record of a call holds of its arguments; secrets in the text are masked"},
		{"berth.tool-changes", "withhold", "withhold or allow: whether a tool that is new or another than was approved is hidden until `berth approve`"},
		{"berth.prefix", "its name", "what the names of its tools begin with among those of other servers: 1 to 20 of a-z, 0-9 and -"},
		{"berth.listed", "true", "true or false: whether it is among the servers of the address of all, /mcp"},
		{KeySandbox, "off", "off, standard or strict: confine the server to what it may do; basic, of Berth 0.1, is standard with all of the network"},
		{KeyNetwork, "as permitted", "inherit or deny-all: all of the network or none of it, whatever is permitted"},
		{KeyRequire, "enforce", "enforce or prefer: what a start does where the profile's guarantees cannot be given; refuse, or start and say so"},
	}
}

// ValidateConfig returns an error that wraps berth.ErrBadConfig if a key of
// [config] is empty, begins with "berth." but is none of Berth's, or is and
// cannot have the value. Any other key may have any value.
func ValidateConfig(key, value string) error {
	if key == "" {
		return fmt.Errorf("%w: the key is empty", berth.ErrBadConfig)
	}
	var c reserved
	known, err := c.set(key, value)
	if err == nil && key == "berth.max-restarts" && c.maxRestarts == 0 {
		// It can be read, but Berth 0.1 takes 1 and more, and must be able to
		// read what is written.
		return berth.WithHint(fmt.Errorf("%w: %s: at least 1", berth.ErrBadConfig, key), "berth.auto-restart=false is for no restart at all")
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", berth.ErrBadConfig, key, err)
	}
	if !known && strings.HasPrefix(key, "berth.") {
		return berth.WithHint(fmt.Errorf("%w: %s is not a key of Berth's", berth.ErrBadConfig, key),
			"the keys are "+strings.Join(configKeyNames(), ", "))
	}
	return nil
}

func configKeyNames() []string {
	var names []string
	for _, k := range ConfigKeys() {
		names = append(names, k.Key)
	}
	return names
}

// keyPort is where a server with transport http listens.
const keyPort = "berth.port"

// Port is where the server listens by itself, "" if that is not said.
func (s *Server) Port() string {
	if port := s.Config[keyPort]; port != "none" {
		return port
	}
	return ""
}

// reserved are the values of Berth's own keys.
type reserved struct {
	autoRestart    bool
	maxRestarts    int
	maxMemory      uint64
	maxDescriptors uint64
	maxProcesses   uint64
	maxCPU         uint64
	port           uint16 // 0: none
	confining      confining
	sharing        Sharing
}

// Sharing says how clients of the gateway use a server.
type Sharing struct {
	// Eras is EraAuto, or what is to be spoken to the server.
	Eras string
	// Session: each legacy session has a process of its own.
	Session bool
	// Roots are directories that the server is told of.
	Roots []string
	// EndSession: a session ends with the process that it uses.
	EndSession bool
	// AllowTools and DenyTools say which tools may be called; see
	// berth.CheckToolPattern. With none to allow, all are.
	AllowTools, DenyTools []string
	// Retry are patterns, for path.Match, of the tools that may be called again.
	Retry []string
	// Calls bounds the requests of one user that are at the server at once, Rate
	// those in a second; 0 is the default.
	Calls int
	Rate  float64
	// CallTimeout is how long a call may take without a word; 0 is the default.
	CallTimeout time.Duration
	// IdleTimeout is how long nobody calls the server before it is stopped until
	// somebody does; 0 is for ever.
	IdleTimeout time.Duration
	// AuditStrict: the record of a call is on the disk before its answer is sent.
	AuditStrict bool
	// AuditText: the record holds the arguments' text.
	AuditText bool
	// FreeTools: its tools are not compared with what was approved.
	FreeTools bool
	// Prefix begins the names of its tools among those of others; "" is the default,
	// made of its name.
	Prefix string
	// Unlisted: it is not among the servers of the address of all.
	Unlisted bool
}

// The values of berth.eras.
const (
	EraAuto   = ""
	EraLegacy = "legacy"
	EraModern = "modern"
	EraBoth   = "both"
)

// The values of berth.audit.
const (
	AuditGrouped = "grouped"
	AuditStrict  = "strict"
)

// Sharing returns how clients use the server, by its file.
func (s *Server) Sharing() (Sharing, error) {
	var c reserved
	for _, key := range slices.Sorted(maps.Keys(s.Config)) {
		if _, err := c.set(key, s.Config[key]); err != nil {
			return Sharing{}, s.bad("config", key, err.Error())
		}
	}
	return c.sharing, nil
}

// set sets one key; known is false if the key is not Berth's.
func (c *reserved) set(key, value string) (known bool, err error) {
	switch key {
	case "berth.auto-restart":
		c.autoRestart, err = oneOf(value, "true", "false")
	case "berth.max-restarts":
		var n uint64
		n, err = number(value, 0, math.MaxInt32)
		c.maxRestarts = int(n)
	case "berth.max-memory":
		c.maxMemory, err = ParseSize(value)
	case "berth.max-processes":
		c.maxProcesses, err = number(value, 1, math.MaxInt32)
	case "berth.max-cpu":
		c.maxCPU, err = number(strings.TrimSuffix(value, "%"), 1, 100*1024)
	case keyPort:
		if value != "none" {
			var n uint64
			n, err = number(value, 1024, math.MaxUint16)
			c.port = uint16(n)
		}
	case "berth.max-file-descriptors":
		c.maxDescriptors, err = number(value, 1, math.MaxInt32)
	case "berth.eras":
		switch value {
		case "auto":
		case EraLegacy, EraModern, EraBoth:
			c.sharing.Eras = value
		default:
			err = fmt.Errorf("%q is none of auto, legacy, modern and both", value)
		}
	case "berth.isolation":
		c.sharing.Session, err = oneOf(value, "session", "shared")
	case "berth.roots":
		if value != "none" {
			c.sharing.Roots, err = directories(value)
		}
	case "berth.on-crash":
		c.sharing.EndSession, err = oneOf(value, "end-session", "keep-sessions")
	case "berth.allow-tools":
		c.sharing.AllowTools, err = toolPatterns(value)
	case "berth.deny-tools":
		c.sharing.DenyTools, err = toolPatterns(value)
	case "berth.retry-tools":
		c.sharing.Retry, err = patterns(value)
	case "berth.max-calls":
		var n uint64
		n, err = number(value, 1, 100000)
		c.sharing.Calls = int(n)
	case "berth.max-rate":
		c.sharing.Rate, err = rate(value)
	case "berth.call-timeout":
		c.sharing.CallTimeout, err = span(value, time.Second, 24*time.Hour)
	case "berth.idle-timeout":
		if value != "never" {
			c.sharing.IdleTimeout, err = span(value, time.Second, 30*24*time.Hour)
		}
	case "berth.audit":
		c.sharing.AuditStrict, err = oneOf(value, AuditStrict, AuditGrouped)
	case "berth.audit-arguments":
		c.sharing.AuditText, err = oneOf(value, "text", "hash")
	case "berth.tool-changes":
		c.sharing.FreeTools, err = oneOf(value, ToolChangesAllow, ToolChangesWithhold)
	case "berth.prefix":
		c.sharing.Prefix, err = value, berth.CheckPrefix(value)
	case "berth.listed":
		c.sharing.Unlisted, err = oneOf(value, "false", "true")
	case KeySandbox:
		err = c.confining.setProfile(value)
	case KeyNetwork:
		err = c.confining.setNetwork(value)
	case KeyRequire:
		err = c.confining.setRequire(value)
	default:
		return false, nil
	}
	return true, err
}

// oneOf reports whether value is the first of two words; another word is an
// error.
func oneOf(value, yes, no string) (bool, error) {
	if value != yes && value != no {
		return false, fmt.Errorf("%q is neither %s nor %s", value, yes, no)
	}
	return value == yes, nil
}

// patterns reads a list with commas.
func patterns(value string) (list []string, err error) {
	for pattern := range strings.SplitSeq(value, ",") {
		if pattern = strings.TrimSpace(pattern); pattern == "" {
			continue
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("%q is no pattern: %w", pattern, err)
		}
		list = append(list, pattern)
	}
	return list, nil
}

// toolPatterns reads a list with commas of tools that are allowed or denied. A
// list without an entry is refused: whether it means all or none is not said.
func toolPatterns(value string) (list []string, err error) {
	for pattern := range strings.SplitSeq(value, ",") {
		pattern = strings.TrimSpace(pattern)
		if err := berth.CheckToolPattern(pattern); err != nil {
			return nil, withoutKind(err)
		}
		list = append(list, pattern)
	}
	return list, nil
}

// withoutKind is an error for a message that says already that it is one of
// configuration. It keeps its hint.
func withoutKind(err error) error {
	plain := errors.New(strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": "))
	if hinted := new(berth.Hinted); errors.As(err, &hinted) {
		return berth.WithHint(plain, hinted.Hint)
	}
	return plain
}

// directories reads a list with commas of absolute paths.
func directories(value string) (list []string, err error) {
	for dir := range strings.SplitSeq(value, ",") {
		if dir = strings.TrimSpace(dir); dir == "" {
			continue
		}
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("%q is not an absolute path", dir)
		}
		list = append(list, filepath.Clean(dir))
	}
	return list, nil
}

func number(value string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a whole number between %d and %d", value, least, most)
	}
	return n, nil
}

// rate reads how often a second something may happen.
func rate(value string) (float64, error) {
	r, err := strconv.ParseFloat(value, 64)
	if err != nil || !(r >= 0.001 && r <= 1e6) {
		return 0, fmt.Errorf("%q is not a number between 0.001 and 1000000", value)
	}
	return r, nil
}

// span reads a duration.
func span(value string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%q is not a duration such as 30s or 5m, between %v and %v", value, least, most)
	}
	return d, nil
}

// ParseSize reads a number of bytes with K, M or G (1024-based) or without.
func ParseSize(text string) (uint64, error) {
	digits, unit := text, uint64(1)
	if n := len(text) - 1; n >= 0 {
		switch text[n] {
		case 'K', 'k':
			digits, unit = text[:n], 1<<10
		case 'M', 'm':
			digits, unit = text[:n], 1<<20
		case 'G', 'g':
			digits, unit = text[:n], 1<<30
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size such as 512M or 2G", text)
	}
	return n * unit, nil
}

// SetConfig sets a key of a server's [config].
func (h *Home) SetConfig(name, key, value string) error {
	if err := ValidateConfig(key, value); err != nil {
		return err
	}
	return h.UpdateServer(name, func(s *Server) error {
		if s.Config == nil {
			s.Config = map[string]string{}
		}
		s.Config[key] = value
		return nil
	})
}

// UnsetConfig removes a key of a server's [config], and reports whether it was
// there. Any key may be removed, also one that SetConfig would refuse.
func (h *Home) UnsetConfig(name, key string) (found bool, err error) {
	err = h.UpdateServer(name, func(s *Server) error {
		_, found = s.Config[key]
		delete(s.Config, key)
		return nil
	})
	return found, err
}
