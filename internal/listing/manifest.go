package listing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Machine is what a bundle's manifest depends on.
type Machine struct {
	// OS is one of Go's words for it, Home the home directory of the user.
	OS, Home string
}

// manifest is a manifest.json, as far as it is read, of versions 0.1 to 0.4
// (github.com/modelcontextprotocol/mcpb, MANIFEST.md).
type manifest struct {
	Version     string `json:"manifest_version"`
	DXTVersion  string `json:"dxt_version"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Of          string `json:"version"`
	Description string `json:"description"`
	License     string `json:"license"`
	Repository  *struct {
		URL string `json:"url"`
	} `json:"repository"`
	Keywords []string `json:"keywords"`
	Server   struct {
		Type   string          `json:"type"`
		Entry  string          `json:"entry_point"`
		Config manifestCommand `json:"mcp_config"`
	} `json:"server"`
	Compatibility struct {
		Platforms []string          `json:"platforms"`
		Runtimes  map[string]string `json:"runtimes"`
	} `json:"compatibility"`
	UserConfig map[string]manifestOption `json:"user_config"`
}

type manifestCommand struct {
	Command   string                     `json:"command"`
	Args      []string                   `json:"args"`
	Env       map[string]string          `json:"env"`
	Platforms map[string]manifestCommand `json:"platform_overrides"`
}

type manifestOption struct {
	Type        string          `json:"type"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Required    bool            `json:"required"`
	Default     json.RawMessage `json:"default"`
	Multiple    bool            `json:"multiple"`
	Sensitive   bool            `json:"sensitive"`
	Min         *float64        `json:"min"`
	Max         *float64        `json:"max"`
}

// ManifestVersions are those of manifests that are known.
func ManifestVersions() []string { return []string{"0.1", "0.2", "0.3", "0.4"} }

// ParseManifest reads the manifest of a bundle. One that cannot be installed on the machine
// says why; where it is from, and which hash it has, is its caller's to add.
func ParseManifest(doc []byte, m Machine) (Entry, error) {
	var in manifest
	if !utf8.Valid(doc) {
		return Entry{}, errors.New("manifest.json: it is not UTF-8")
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(string(doc), "\ufeff")), &in); err != nil {
		return Entry{}, fmt.Errorf("manifest.json: %v", err)
	}
	version := in.Version
	if version == "" {
		version = in.DXTVersion
	}
	switch {
	case version == "":
		return Entry{}, errors.New("manifest.json: it has no manifest_version")
	case !slices.Contains(ManifestVersions(), version):
		return Entry{}, fmt.Errorf("manifest.json: its manifest_version %.40q is not known: those from 0.1 to 0.4 are", version)
	case in.Name == "" || in.Of == "":
		return Entry{}, errors.New("manifest.json: it has no name or no version")
	}
	e := Entry{
		Name: nameOf(in.Name), Title: shown(in.DisplayName), About: shown(in.Description), Version: in.Of, Licence: Shown(in.License, 80),
		Kind: MCPB, Runtimes: in.Compatibility.Runtimes,
	}
	if in.Repository != nil {
		e.Repository = shown(in.Repository.URL)
	}
	for _, word := range in.Keywords {
		e.Tags = append(e.Tags, Shown(word, 80))
	}
	r := reading{manifest: &in, machine: m, entry: &e, keys: map[string]string{}}
	e.Unusable = r.read()
	return e, nil
}

// nameOf makes a name that an entry can have of one that a manifest has.
func nameOf(name string) string {
	name = strings.Trim(keyChars(name[strings.LastIndexByte(name, '/')+1:]), "-.")
	if len(name) > 200 {
		name = name[:200]
	}
	return name
}

// reading is a manifest that is made an entry.
type reading struct {
	*manifest
	machine Machine
	entry   *Entry
	keys    map[string]string // of a user_config, the key of its setting
}

// read says why the bundle cannot be installed, or "".
func (r *reading) read() string {
	if own := platformOf(r.machine.OS); len(r.Compatibility.Platforms) > 0 && !slices.Contains(r.Compatibility.Platforms, own) {
		return fmt.Sprintf("it is for %s, and this is %s", Shown(strings.Join(r.Compatibility.Platforms, ", "), 80), own)
	}
	if !slices.Contains([]string{"node", "python", "binary", "uv"}, r.Server.Type) {
		return fmt.Sprintf("its server is of type %.40q, which is not known", r.Server.Type)
	}
	c := r.Server.Config
	if own, there := c.Platforms[platformOf(r.machine.OS)]; there {
		if own.Command != "" {
			c.Command = own.Command
		}
		if own.Args != nil {
			c.Args = own.Args
		}
		if own.Env != nil {
			c.Env = own.Env
		}
	}
	if r.Server.Type == "uv" {
		return "it is of type uv: what it needs is chosen when it starts, which Berth does not do; a bundle of type python has it all"
	}
	if c.Command == "" {
		return "its mcp_config has no command"
	}
	if why := r.settings(c); why != "" {
		return why
	}
	return r.command(c)
}

// platformOf is what Node.js calls a system.
func platformOf(os string) string {
	if os == "windows" {
		return "win32"
	}
	return os
}

// command puts what is run into the entry.
func (r *reading) command(c manifestCommand) string {
	e := r.entry
	var why string
	if e.Program, why = r.text(c.Command); why != "" {
		return why
	}
	if strings.Contains(e.Program, "{") && strings.Contains(strings.ReplaceAll(e.Program, Dirname, ""), "{") {
		return "its command depends on a setting"
	}
	if r.Server.Type == "binary" && !strings.Contains(e.Program, Dirname) && !strings.ContainsAny(e.Program, `/\`) && e.Program == path.Base(r.Server.Entry) {
		// The program is the bundle's own, named as it would be in its directory.
		e.Program = Dirname + "/" + r.Server.Entry
	}
	for _, arg := range c.Args {
		text, why := r.text(arg)
		if why != "" {
			return why
		}
		e.Args = append(e.Args, text)
	}
	e.Env = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(c.Env)) {
		if e.Env[key], why = r.text(c.Env[key]); why != "" {
			return why
		}
	}
	return ""
}

// text replaces the variables of a manifest by what stands for them in an entry.
func (r *reading) text(in string) (out, why string) {
	var b strings.Builder
	for rest := in; ; {
		before, after, open := strings.Cut(rest, "${")
		// What is in plain braces is no variable of a manifest, but could be one of an entry.
		for _, key := range append(slices.Collect(maps.Values(r.keys)), "data") {
			if strings.Contains(before, "{"+key+"}") {
				return "", fmt.Sprintf("%.80q has {%s} in it, which Berth cannot tell from a setting", in, key)
			}
		}
		b.WriteString(before)
		if !open {
			return b.String(), ""
		}
		name, left, closed := strings.Cut(after, "}")
		if !closed {
			return "", fmt.Sprintf("%.80q has no end of a variable", in)
		}
		key, isConfig := strings.CutPrefix(name, "user_config.")
		if isConfig {
			setting, known := r.keys[key]
			if !known {
				return "", fmt.Sprintf("%.80q asks for the setting %.80q, which is not declared", in, key)
			}
			b.WriteString("{" + setting + "}")
		} else if value, known := r.machine.variable(name); known {
			b.WriteString(value)
		} else {
			return "", fmt.Sprintf("%.80q has the variable %.80q, which is not known", in, name)
		}
		rest = left
	}
}

// variable is the value of a variable that is no setting.
func (m Machine) variable(name string) (string, bool) {
	separator := "/"
	if m.OS == "windows" {
		separator = `\`
	}
	switch name {
	case "__dirname":
		return Dirname, true
	case "/", "pathSeparator":
		return separator, true
	case "HOME":
		return m.Home, true
	case "DESKTOP":
		return m.Home + separator + "Desktop", true
	case "DOCUMENTS":
		return m.Home + separator + "Documents", true
	case "DOWNLOADS":
		return m.Home + separator + "Downloads", true
	}
	return "", false
}

// settings makes a setting of each user_config.
func (r *reading) settings(c manifestCommand) string {
	for _, name := range slices.Sorted(maps.Keys(r.UserConfig)) {
		o := r.UserConfig[name]
		key := strings.Trim(keyChars(name), "-.")
		if key == "data" || strings.HasPrefix(key, "berth.") {
			key = "config-" + key // it means something here
		}
		for _, taken := r.entry.Setting(key); taken; _, taken = r.entry.Setting(key) {
			key += "-2"
		}
		r.keys[name] = key
		s := Setting{
			Key: key, About: Shown(strings.TrimSpace(o.Title+": "+o.Description), 500), Type: o.Type, Required: o.Required, Secret: o.Sensitive,
			Repeated: o.Multiple && (o.Type == "directory" || o.Type == "file" || o.Type == "string"), Min: o.Min, Max: o.Max,
		}
		if s.About = strings.Trim(s.About, ": "); o.Type == "string" {
			s.Type = ""
		}
		// A bundle does not say what it does with what it is given. A directory is given to
		// be worked in, a file to be read.
		switch o.Type {
		case "directory":
			s.Access = "write"
		case "file":
			s.Access = "read"
		case "string", "number", "boolean":
		default:
			return fmt.Sprintf("its setting %.80q is of type %.40q, which is not known", name, o.Type)
		}
		if s.Repeated && !slices.Contains(c.Args, "${user_config."+name+"}") {
			s.Repeated = false // several values have a place only as arguments of their own
		}
		var why string
		if s.Default, why = r.defaultOf(name, o, s.Repeated, !c.mentions("${user_config."+name+"}")); why != "" {
			return why
		}
		r.entry.Settings = append(r.entry.Settings, s)
	}
	return ""
}

// mentions says whether a text is in what a program is given.
func (c manifestCommand) mentions(text string) bool {
	return strings.Contains(strings.Join(append(slices.Collect(maps.Values(c.Env)), c.Args...), "\n"), text)
}

// defaultOf is the default of a user_config as a text; several are lines. Of what is idle
// on this system one is enough.
func (r *reading) defaultOf(name string, o manifestOption, repeated, idle bool) (text, why string) {
	var value any
	if len(o.Default) > 0 && json.Unmarshal(o.Default, &value) != nil {
		return "", fmt.Sprintf("its setting %.80q: the default is not known", name)
	}
	var list []string
	switch v := value.(type) {
	case nil:
		return "", ""
	case string:
		list = []string{v}
	case float64, bool:
		list = []string{string(o.Default)}
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return "", fmt.Sprintf("its setting %.80q: a default is no text", name)
			}
			list = append(list, s)
		}
	default:
		return "", fmt.Sprintf("its setting %.80q: the default is not known", name)
	}
	if len(list) > 1 && idle {
		list = list[:1]
	}
	if len(list) > 1 && !repeated {
		return "", fmt.Sprintf("its setting %.80q has several defaults, and a place for one value", name)
	}
	for i, one := range list {
		if strings.ContainsAny(one, "\n\r\x00") {
			return "", fmt.Sprintf("its setting %.80q: the default has several lines", name)
		}
		for _, variable := range []string{"HOME", "DESKTOP", "DOCUMENTS", "DOWNLOADS", "/", "pathSeparator"} {
			value, _ := r.machine.variable(variable)
			one = strings.ReplaceAll(one, "${"+variable+"}", value)
		}
		list[i] = one
	}
	return strings.Join(list, "\n"), ""
}
