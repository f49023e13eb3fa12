package validate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Manifest finds the faults of a manifest.json, by the schemas of its versions 0.1 to 0.4
// (@anthropic-ai/mcpb 2.1.2) and by what is run of it. Files are those of its bundle; nil
// if it is looked at without one.
func Manifest(file string, doc []byte, files []string) []Fault {
	c := &check{file: file, doc: doc}
	root := c.parse()
	if root == nil {
		return c.done()
	}
	m := &manifest{check: c, files: files}
	m.look(root)
	return c.done()
}

// manifest is one that is looked at.
type manifest struct {
	*check
	files   []string
	version string
	options map[string]bool // user_config; true once it is asked for
	secrets map[string]bool // those that are sensitive
}

// since says whether the manifest is of a version or a later one.
func (m *manifest) since(version string) bool { return m.version >= version }

func (m *manifest) look(root *node) {
	names := known{"$schema": true, "dxt_version": true, "manifest_version": true, "name": true, "display_name": true, "version": true, "description": true,
		"long_description": true, "author": true, "repository": true, "homepage": true, "documentation": true, "support": true, "icon": true, "screenshots": true,
		"server": true, "tools": true, "tools_generated": true, "prompts": true, "prompts_generated": true, "keywords": true, "license": true,
		"compatibility": true, "user_config": true}
	o := m.object(root, nil, "")
	if o == nil {
		return
	}
	m.readVersion(root, o)
	for name, since := range map[string]string{"privacy_policies": "0.2", "icons": "0.3", "localization": "0.3", "_meta": "0.3"} {
		names[name] = m.since(since)
		if n := o.get(name); n != nil && !m.since(since) {
			m.errorf(n, "it is of version %s of the manifest, and this is %s", since, m.version)
			names[name] = true // one fault is enough
		}
	}
	_ = m.object(root, names, Error)
	if name, ok := m.text(root, o, "name", true, length(1, 200)); ok && !regexp.MustCompile(`^[A-Za-z0-9._@/-]+$`).MatchString(name) {
		m.warnf(o.get("name"), "%q has characters that names of servers cannot have: display_name is for people", short(name))
	}
	m.text(root, o, "display_name", false)
	if v, ok := m.text(root, o, "version", true, length(1, 255), exactVersion); ok && !regexp.MustCompile(`^\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$`).MatchString(v) {
		m.warnf(o.get("version"), "%q is no version of the form 1.2.3", short(v))
	}
	m.text(root, o, "description", true, length(1, 100_000))
	m.text(root, o, "long_description", false)
	m.text(root, o, "license", false)
	m.texts(o, "keywords")
	for _, name := range []string{"homepage", "documentation", "support"} {
		m.text(root, o, name, false, absolute("https", "http"))
	}
	m.texts(o, "privacy_policies", absolute("https", "http"))
	m.bool(o, "tools_generated")
	m.bool(o, "prompts_generated")
	m.people(root, o)
	m.pictures(root, o)
	m.lists(o)
	m.compatibility(o)
	m.userConfig(o)
	if n := o.get("server"); n != nil {
		m.server(n)
	} else {
		m.add(Error, root.at, "server", "it is required")
	}
	if n := o.get("user_config"); n != nil {
		if options, ok := n.value.(*object); ok {
			for _, option := range options.members {
				if used, there := m.options[option.name]; there && !used {
					m.add(Warning, option.at, option.node.path, "nothing asks for it: ${user_config.%s} is neither in args nor in env", short(option.name))
				}
			}
		}
	}
}

func (m *manifest) readVersion(root *node, o *object) {
	versions := oneOf("0.1", "0.2", "0.3", "0.4")
	now, hasNow := m.text(root, o, "manifest_version", false, versions)
	old, hasOld := m.text(root, o, "dxt_version", false, versions)
	switch {
	case o.get("manifest_version") == nil && o.get("dxt_version") == nil:
		m.add(Error, root.at, "manifest_version", "it is required")
	case hasNow:
		m.version = now
	case hasOld:
		m.version = old
	}
	if n := o.get("dxt_version"); n != nil {
		m.warnf(n, "it is deprecated: manifest_version took its place")
		if hasOld && hasNow && old != now {
			m.errorf(n, "it is %s, and manifest_version is %s", old, now)
		}
	}
	if m.version == "" {
		m.version = "0.4" // what is wrong with it is said
	}
}

func (m *manifest) people(root *node, o *object) {
	if n := o.get("author"); n == nil {
		m.add(Error, root.at, "author", "it is required")
	} else if author := m.object(n, known{"name": true, "email": true, "url": true}, Error); author != nil {
		m.text(n, author, "name", true, length(1, 1000))
		m.text(n, author, "email", false, matches(`^[^@\s]+@[^@\s]+\.[^@\s]+$`, "an address of mail"))
		m.text(n, author, "url", false, absolute("https", "http"))
	}
	if n := o.get("repository"); n != nil {
		if repository := m.object(n, known{"type": true, "url": true}, Error); repository != nil {
			m.text(n, repository, "type", true)
			m.text(n, repository, "url", true, absolute("https", "http", "git", "ssh", "git+https", "git+ssh"))
		}
	}
}

// inBundle warns of a file that is not in the bundle.
func (m *manifest) inBundle(n *node, name string) {
	if m.files == nil || n == nil || strings.Contains(name, "://") {
		return
	}
	if !slices.Contains(m.files, path.Clean(strings.ReplaceAll(name, `\`, "/"))) {
		m.errorf(n, "the bundle has no file %q", short(name))
	}
}

func (m *manifest) pictures(root *node, o *object) {
	if name, ok := m.text(root, o, "icon", false); ok {
		m.inBundle(o.get("icon"), name)
	}
	m.texts(o, "screenshots")
	for _, n := range m.list(o, "icons") {
		icon := m.object(n, known{"src": true, "size": true, "theme": true}, Error)
		if icon == nil {
			continue
		}
		if name, ok := m.text(n, icon, "src", true); ok {
			m.inBundle(icon.get("src"), name)
		}
		m.text(n, icon, "size", true, matches(`^\d+x\d+$`, "a size, such as 16x16"))
		m.text(n, icon, "theme", false, length(1, 100))
	}
	if n := o.get("localization"); n != nil {
		if l := m.object(n, known{"resources": true, "default_locale": true}, Error); l != nil {
			m.text(n, l, "resources", true, matches(`(?i)\$\{locale\}`, "a path with ${locale} in it"))
			m.text(n, l, "default_locale", true, matches(`^[A-Za-z0-9]{2,8}(-[A-Za-z0-9]{1,8})*$`, "a locale of BCP 47, such as en-US"))
		}
	}
}

func (m *manifest) lists(o *object) {
	for _, n := range m.list(o, "tools") {
		if tool := m.object(n, known{"name": true, "description": true}, Error); tool != nil {
			m.text(n, tool, "name", true, length(1, 128))
			m.text(n, tool, "description", false)
		}
	}
	for _, n := range m.list(o, "prompts") {
		if prompt := m.object(n, known{"name": true, "description": true, "arguments": true, "text": true}, Error); prompt != nil {
			m.text(n, prompt, "name", true, length(1, 128))
			m.text(n, prompt, "description", false)
			m.texts(prompt, "arguments")
			m.text(n, prompt, "text", true)
		}
	}
}

func (m *manifest) compatibility(o *object) {
	n := o.get("compatibility")
	if n == nil {
		return
	}
	// Which clients it works with is said by their names, whatever these are.
	with := m.object(n, nil, "")
	if with == nil {
		return
	}
	m.text(n, with, "claude_desktop", false)
	m.texts(with, "platforms", oneOf("darwin", "win32", "linux"))
	if r := with.get("runtimes"); r != nil {
		if runtimes := m.object(r, known{"python": true, "node": true}, Error); runtimes != nil {
			m.text(r, runtimes, "python", false)
			m.text(r, runtimes, "node", false)
		}
	}
}

func (m *manifest) userConfig(o *object) {
	m.options, m.secrets = map[string]bool{}, map[string]bool{}
	n := o.get("user_config")
	if n == nil {
		return
	}
	options := m.object(n, nil, "")
	if options == nil {
		return
	}
	for _, option := range options.members {
		m.options[option.name] = false
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`).MatchString(option.name) {
			m.add(Warning, option.at, option.node.path, "%q is no name that all clients know how to replace", short(option.name))
		}
		if inner, ok := option.node.value.(*object); ok {
			s := inner.get("sensitive")
			m.secrets[option.name] = s != nil && s.value == true
		}
		m.option(option.node)
	}
}

func (m *manifest) option(n *node) {
	o := m.object(n, known{"type": true, "title": true, "description": true, "required": true, "default": true, "multiple": true, "sensitive": true, "min": true, "max": true}, Error)
	if o == nil {
		return
	}
	kind, _ := m.text(n, o, "type", true, oneOf("string", "number", "boolean", "directory", "file"))
	m.text(n, o, "title", true, length(1, 1000))
	m.text(n, o, "description", true)
	m.bool(o, "required")
	multiple, sensitive := m.bool(o, "multiple"), m.bool(o, "sensitive")
	low, high := m.number(o, "min"), m.number(o, "max")
	if low != nil && high != nil && *low > *high {
		m.errorf(o.get("min"), "it is more than max")
	}
	for _, name := range []string{"min", "max"} {
		if bound := o.get(name); bound != nil && kind != "number" {
			m.warnf(bound, "it is for numbers")
		}
	}
	if multiple && kind != "directory" && kind != "file" {
		m.warnf(o.get("multiple"), "it is for directories and files")
	}
	if sensitive && kind != "string" {
		m.warnf(o.get("sensitive"), "it is for texts")
	}
	preset := o.get("default")
	if preset == nil {
		return
	}
	if sensitive {
		m.warnf(preset, "a secret that everybody can read here is none")
	}
	m.preset(preset, kind, multiple, low, high)
}

// preset looks at the default of an option.
func (m *manifest) preset(n *node, kind string, multiple bool, low, high *float64) {
	switch value := n.value.(type) {
	case []*node:
		if !multiple {
			m.errorf(n, "it is a list, and the option is not multiple")
		}
		for _, item := range value {
			if _, ok := item.value.(string); !ok {
				m.errorf(item, "it must be a text")
			}
		}
	case string:
		if kind == "number" || kind == "boolean" {
			m.errorf(n, "it must be a %s", kind)
		}
	case bool:
		if kind != "boolean" {
			m.errorf(n, "it must be of type %s", kind)
		}
	default:
		if _, isNumber := n.value.(fmt.Stringer); !isNumber {
			m.errorf(n, "it must be a text, a number, true or false, or a list of texts")
		} else if kind != "number" {
			m.errorf(n, "it must be of type %s", kind)
		} else if f := m.number(&object{members: []member{{name: "default", node: n}}}, "default"); f != nil && (low != nil && *f < *low || high != nil && *f > *high) {
			m.errorf(n, "it is not between min and max")
		}
	}
}

func (m *manifest) server(n *node) {
	o := m.object(n, known{"type": true, "entry_point": true, "mcp_config": true}, Error)
	if o == nil {
		return
	}
	types := []string{"python", "node", "binary"}
	if m.since("0.4") {
		types = append(types, "uv")
	}
	kind, _ := m.text(n, o, "type", true, oneOf(types...))
	if entry, ok := m.text(n, o, "entry_point", true, length(1, 1024), func(text string) string {
		if strings.HasPrefix(text, "/") || slices.Contains(strings.Split(strings.ReplaceAll(text, `\`, "/"), "/"), "..") {
			return fmt.Sprintf("%q is no path within the bundle", short(text))
		}
		return ""
	}); ok {
		m.inBundle(o.get("entry_point"), entry)
	}
	config := o.get("mcp_config")
	if config == nil {
		m.add(Error, n.at, join(n.path, "mcp_config"), "it is required")
		return
	}
	m.command(config, true)
	if kind == "uv" && m.files != nil && !slices.Contains(m.files, "pyproject.toml") {
		m.errorf(o.get("type"), "a bundle of type uv has a pyproject.toml")
	}
}

// command looks at an mcp_config, or at what is another on one platform.
func (m *manifest) command(n *node, whole bool) {
	names := known{"command": true, "args": true, "env": true}
	if whole {
		names["platform_overrides"] = true
	}
	o := m.object(n, names, Error)
	if o == nil {
		return
	}
	if command, ok := m.text(n, o, "command", whole, length(1, 4096)); ok {
		at := o.get("command")
		m.variables(at, command, "")
		if strings.Contains(command, "${user_config.") {
			m.warnf(at, "what is run depends on what its user says")
		}
		if rest, own := strings.CutPrefix(command, "${__dirname}/"); own && !strings.Contains(rest, "${") {
			m.inBundle(at, rest)
		}
		if strings.ContainsAny(command, " \t") && !strings.Contains(command, "${__dirname}") {
			m.warnf(at, "%q is taken for the name of one program, with its blanks", short(command))
		}
	}
	for _, arg := range m.list(o, "args") {
		text, ok := arg.value.(string)
		if !ok {
			m.errorf(arg, "it must be a text")
			continue
		}
		m.variables(arg, text, "an argument")
		if rest, own := strings.CutPrefix(text, "${__dirname}/"); own && !strings.Contains(rest, "${") && strings.Contains(path.Base(rest), ".") {
			m.inBundle(arg, rest)
		}
	}
	if env := o.get("env"); env != nil {
		if vars := m.object(env, nil, ""); vars != nil {
			for _, v := range vars.members {
				text, ok := v.node.value.(string)
				if !ok {
					m.errorf(v.node, "it must be a text")
					continue
				}
				m.variables(v.node, text, "")
			}
		}
	}
	if over := o.get("platform_overrides"); whole && over != nil {
		if platforms := m.object(over, known{"win32": true, "darwin": true, "linux": true}, Warning); platforms != nil {
			for _, p := range platforms.members {
				m.command(p.node, false)
			}
		}
	}
}

// variables looks at the variables of a text.
func (m *manifest) variables(n *node, text, what string) {
	fixed := []string{"__dirname", "HOME", "DESKTOP", "DOCUMENTS", "DOWNLOADS", "/", "pathSeparator"}
	for _, found := range regexp.MustCompile(`\$\{([^}]*)\}?`).FindAllStringSubmatch(text, -1) {
		name, isOption := strings.CutPrefix(found[1], "user_config.")
		_, declared := m.options[name]
		switch {
		case !strings.HasSuffix(found[0], "}"):
			m.errorf(n, "the variable %q has no end", short(found[0]))
		case isOption && !declared:
			m.errorf(n, "user_config has no %q", short(name))
		case isOption:
			m.options[name] = true
			if what != "" && m.secrets[name] {
				m.warnf(n, "%s is seen by every user of the machine: a secret belongs into env", what)
			}
		case !slices.Contains(fixed, found[1]):
			m.errorf(n, "the variable %q is not known: there are %s and user_config.NAME", short(found[1]), strings.Join(fixed, ", "))
		}
	}
}
