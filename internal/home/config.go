package home

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/berth-run/berth"
)

// Config is berth.toml: what holds for all servers. A key that is not set is
// the zero value, or nil where that would say something.
type Config struct {
	Registry struct {
		URL      string
		CacheTTL time.Duration
		// Index is the path or URL of an index of Berth 0.1; "" is none.
		Index string
	}
	Runtime struct {
		// AutoRestart is the default of berth.auto-restart.
		AutoRestart *bool
		// MaxServers is how many servers may run at once; 0 is no limit.
		MaxServers int
	}
	Security struct {
		// Audit is the default of berth.audit.
		Audit string
		// SecretBackend is where the key of the secret store is to be.
		SecretBackend string
		// ToolChanges is one of ToolChanges….
		ToolChanges string
	}
	Gateway struct {
		// NameMost is how long names of tools may be where servers share an address;
		// 0 is the default.
		NameMost int
	}
	Telemetry struct {
		// OTLPEndpoint is the URL of a collector that calls are told to; "" is none.
		OTLPEndpoint string
	}
}

// The bounds of name_max. The longer is that of the revision of 2025-11-25 of MCP on
// names of tools; in the shorter a prefix has its place, and what tells names apart.
const (
	nameLeast   = 32
	nameLongest = 128
)

// The values of tool_changes, and of berth.tool-changes.
const (
	// ToolChangesWithhold: a tool that is not what was approved is not listed, and its
	// calls are refused, until it is.
	ToolChangesWithhold = "withhold"
	// ToolChangesAllow: what a server lists is not compared.
	ToolChangesAllow = "allow"
)

// configFile is the form of berth.toml.
type configFile struct {
	Registry struct {
		URL      string `toml:"url"`
		CacheTTL any    `toml:"cache_ttl"`
		Index    string `toml:"index"`
	} `toml:"registry"`
	Runtime struct {
		AutoRestart         *bool  `toml:"auto_restart"`
		HealthCheckInterval any    `toml:"health_check_interval"`
		LogLevel            string `toml:"log_level"`
		MaxServers          uint32 `toml:"max_servers"`
	} `toml:"runtime"`
	Security struct {
		DefaultTrustLevel string `toml:"default_trust_level"`
		AuditEnabled      *bool  `toml:"audit_enabled"`
		SandboxEnabled    *bool  `toml:"sandbox_enabled"`
		Audit             string `toml:"audit"`
		SecretBackend     string `toml:"secret_backend"`
		ToolChanges       string `toml:"tool_changes"`
	} `toml:"security"`
	Clients struct {
		AutoLink *bool `toml:"auto_link"`
	} `toml:"clients"`
	Gateway struct {
		NameMost *int `toml:"name_max"`
	} `toml:"gateway"`
	Telemetry struct {
		OTLPEndpoint string `toml:"otlp_endpoint"`
	} `toml:"telemetry"`
}

// ConfigPath returns the path of berth.toml.
func (h *Home) ConfigPath() string { return h.path("berth.toml") }

// ReadConfig returns what berth.toml says, nothing if there is none, and a
// warning with its line for each key that nobody knows, or that promises what is not
// so.
func (h *Home) ReadConfig() (c Config, warnings []string, err error) {
	path := h.ConfigPath()
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil, nil
	}
	if err != nil {
		return Config{}, nil, fmt.Errorf("read the configuration: %w", err)
	}
	return decodeConfig(path, doc)
}

func decodeConfig(file string, doc []byte) (c Config, warnings []string, err error) {
	var f configFile
	if err := decodeUsersTOML(file, doc, &f); err != nil {
		return Config{}, nil, err
	}
	var unused time.Duration
	for _, d := range []struct {
		table, key string
		value      any
		into       *time.Duration
	}{
		{"registry", "cache_ttl", f.Registry.CacheTTL, &c.Registry.CacheTTL},
		{"runtime", "health_check_interval", f.Runtime.HealthCheckInterval, &unused},
	} {
		var ok bool
		if *d.into, ok = duration(d.value); !ok {
			return Config{}, nil, fmt.Errorf("%w: %s: [%s] %s is neither a number of seconds nor a duration such as \"1h\"",
				berth.ErrBadConfig, atLine(file, lineOf(doc, d.table, d.key)), d.table, d.key)
		}
	}
	c.Registry.URL, c.Registry.Index = f.Registry.URL, f.Registry.Index
	c.Runtime.AutoRestart = f.Runtime.AutoRestart
	c.Runtime.MaxServers = int(f.Runtime.MaxServers)
	c.Telemetry.OTLPEndpoint = f.Telemetry.OTLPEndpoint
	switch c.Security.Audit = f.Security.Audit; c.Security.Audit {
	case "", AuditGrouped, AuditStrict:
	default:
		return Config{}, nil, fmt.Errorf("%w: %s: [security] audit is neither %s nor %s",
			berth.ErrBadConfig, atLine(file, lineOf(doc, "security", "audit")), AuditGrouped, AuditStrict)
	}
	c.Security.SecretBackend = f.Security.SecretBackend
	switch c.Security.ToolChanges = f.Security.ToolChanges; c.Security.ToolChanges {
	case "", ToolChangesWithhold, ToolChangesAllow:
	default:
		return Config{}, nil, fmt.Errorf("%w: %s: [security] tool_changes is neither %s nor %s",
			berth.ErrBadConfig, atLine(file, lineOf(doc, "security", "tool_changes")), ToolChangesWithhold, ToolChangesAllow)
	}
	if most := f.Gateway.NameMost; most != nil {
		if *most < nameLeast || *most > nameLongest {
			return Config{}, nil, fmt.Errorf("%w: %s: [gateway] name_max is not between %d and %d",
				berth.ErrBadConfig, atLine(file, lineOf(doc, "gateway", "name_max")), nameLeast, nameLongest)
		}
		c.Gateway.NameMost = *most
	}
	return c, append(unknownKeys(file, doc, &f), f.idle(file, doc)...), nil
}

// idle warns of keys that Berth 0.1 wrote and nobody obeys: whoever set one believes that
// it does something.
func (f *configFile) idle(file string, doc []byte) (warnings []string) {
	no, yes := f.Security.AuditEnabled, f.Clients.AutoLink
	for _, d := range []struct {
		set              bool
		table, key, text string
	}{
		{f.Runtime.HealthCheckInterval != nil, "runtime", "health_check_interval", "the end of a server is noticed when it happens"},
		{f.Runtime.LogLevel != "", "runtime", "log_level", "a server's log has all that it prints"},
		{f.Security.DefaultTrustLevel != "", "security", "default_trust_level", "what a server may do are its permissions: berth permissions NAME"},
		{f.Security.SandboxEnabled != nil, "security", "sandbox_enabled",
			"whether a server is confined is its own berth.sandbox: `berth permissions NAME --apply`, or `berth config NAME --set berth.sandbox=off`"},
		{no != nil && !*no, "security", "audit_enabled", "the audit trail is always written"},
		{yes != nil && *yes, "clients", "auto_link", "clients are linked by berth link CLIENT"},
	} {
		if d.set {
			warnings = append(warnings, fmt.Sprintf("%s: [%s] %s has no effect: %s", atLine(file, lineOf(doc, d.table, d.key)), d.table, d.key, d.text))
		}
	}
	return warnings
}

// duration reads seconds as a number, also in quotes, or a duration such as
// "1h"; nil is 0.
func duration(value any) (time.Duration, bool) {
	const most = int64(1<<63-1) / int64(time.Second)
	var d time.Duration
	switch v := value.(type) {
	case nil:
		return 0, true
	case int64:
		if v > most {
			return 0, false
		}
		d = time.Duration(v) * time.Second
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return duration(n)
		}
		parsed, err := time.ParseDuration(v)
		if err != nil {
			return 0, false
		}
		d = parsed
	default:
		return 0, false
	}
	return d, d >= 0
}
