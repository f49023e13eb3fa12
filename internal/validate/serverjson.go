package validate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The schema that documents are checked against, and those of before.
const (
	schemaURL = "https://static.modelcontextprotocol.io/schemas/%s/server.schema.json"
	schemaNow = "2025-12-11"
)

// ServerJSON finds the faults of a server.json by the schema of 2025-12-11, and by what the
// official registry refuses besides (registry v1.8.8, internal/validators).
func ServerJSON(file string, doc []byte) []Fault {
	c := &check{file: file, doc: doc}
	root := c.parse()
	if root == nil {
		return c.done()
	}
	o := c.object(root, known{"$schema": true, "name": true, "title": true, "description": true, "version": true, "repository": true, "websiteUrl": true,
		"icons": true, "packages": true, "remotes": true, "_meta": true}, Warning)
	if o == nil {
		return c.done()
	}
	if schema, ok := c.text(root, o, "$schema", true, matches(`^https://static\.modelcontextprotocol\.io/schemas/\d{4}-\d\d-\d\d/server\.schema\.json$`,
		"the URL of a schema of server.json, such as "+fmt.Sprintf(schemaURL, schemaNow))); ok && schema != fmt.Sprintf(schemaURL, schemaNow) {
		c.warnf(o.get("$schema"), "it is not the schema that this is checked by, which is of %s", schemaNow)
	}
	c.text(root, o, "name", true, length(3, 200), matches(`^[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]/[a-zA-Z0-9][a-zA-Z0-9._-]*[a-zA-Z0-9]$`,
		"of the form NAMESPACE/SERVER, such as io.github.someone/server"))
	c.text(root, o, "title", false, length(1, 100), notBlank)
	c.text(root, o, "description", true, length(1, 100))
	c.text(root, o, "version", true, length(1, 255), exactVersion)
	c.text(root, o, "websiteUrl", false, absolute("https"))
	if n := o.get("repository"); n != nil {
		c.repository(n)
	}
	for _, n := range c.list(o, "icons") {
		c.icon(n)
	}
	packages, remotes := c.list(o, "packages"), c.list(o, "remotes")
	for _, n := range packages {
		c.pkg(n)
	}
	for _, n := range remotes {
		c.transport(n, nil, true)
	}
	if len(packages)+len(remotes) == 0 {
		c.warnf(root, "it has neither packages nor remotes, so nobody can install it")
	}
	if n := o.get("_meta"); n != nil {
		c.object(n, known{"io.modelcontextprotocol.registry/publisher-provided": true}, Warning)
	}
	return c.done()
}

func notBlank(text string) string {
	if strings.TrimSpace(text) == "" {
		return "it is blank"
	}
	return ""
}

func (c *check) repository(n *node) {
	o := c.object(n, known{"url": true, "source": true, "id": true, "subfolder": true}, Warning)
	if o == nil {
		return
	}
	source, _ := c.text(n, o, "source", true, length(1, 100))
	form := map[string]rule{
		"github": matches(`^https?://(www\.)?github\.com/[\w.-]+/[\w.-]+/?$`, "the address of a repository on github.com"),
		"gitlab": matches(`^https?://(www\.)?gitlab\.com/[\w.-]+(/[\w.-]+)+/?$`, "the address of a repository on gitlab.com"),
	}[source]
	if form == nil {
		form = func(string) string { return "" }
	}
	c.text(n, o, "url", true, absolute("https", "http"), form)
	c.text(n, o, "id", false)
	c.text(n, o, "subfolder", false, func(text string) string {
		if strings.HasPrefix(text, "/") || strings.HasSuffix(text, "/") || slices.Contains(strings.Split(text, "/"), "..") || strings.ContainsAny(text, "\\ ") {
			return fmt.Sprintf("%q is no path below the repository", short(text))
		}
		return ""
	})
}

func (c *check) icon(n *node) {
	o := c.object(n, known{"src": true, "mimeType": true, "sizes": true, "theme": true}, Warning)
	if o == nil {
		return
	}
	c.text(n, o, "src", true, length(1, 255), absolute("https"))
	c.text(n, o, "mimeType", false, oneOf("image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"))
	c.texts(o, "sizes", matches(`^(\d+x\d+|any)$`, "a size, such as 48x48"))
	c.text(n, o, "theme", false, oneOf("light", "dark"))
}

// registries are those where packages of a type are.
func registries() map[string]string {
	return map[string]string{
		"npm": "https://registry.npmjs.org", "pypi": "https://pypi.org", "nuget": "https://api.nuget.org/v3/index.json", "cargo": "https://crates.io", "oci": "", "mcpb": "",
	}
}

func (c *check) pkg(n *node) {
	o := c.object(n, known{"registryType": true, "registryBaseUrl": true, "identifier": true, "version": true, "fileSha256": true, "runtimeHint": true,
		"runtimeArguments": true, "packageArguments": true, "environmentVariables": true, "transport": true}, Warning)
	if o == nil {
		return
	}
	kind, isKnown := c.text(n, o, "registryType", true, oneOf("npm", "pypi", "oci", "nuget", "cargo", "mcpb"))
	id, hasID := c.text(n, o, "identifier", true, length(1, 4096), func(text string) string {
		if strings.ContainsAny(text, " \t\n") {
			return fmt.Sprintf("%q has a blank in it", short(text))
		}
		return ""
	})
	base := registries()[kind]
	// never says which fields a type does not have.
	never := func(name, why string) {
		if field := o.get(name); field != nil {
			c.errorf(field, "a package of type %s has none: %s", kind, why)
		}
	}
	c.text(n, o, "version", isKnown && base != "", length(1, 255), exactVersion)
	c.text(n, o, "fileSha256", kind == "mcpb", matches(`^[a-f0-9]{64}$`, "a SHA-256 of 64 digits, a to f in lower case"))
	c.text(n, o, "runtimeHint", false)
	switch {
	case kind == "oci":
		never("version", "it stands in the identifier, after a colon")
		never("registryBaseUrl", "it stands in the identifier: docker.io/owner/image:1.0.0")
		never("fileSha256", "an image has a digest, in its identifier")
	case kind == "mcpb":
		never("registryBaseUrl", "the identifier is the whole URL")
		if why := absolute("https")(id); hasID && why != "" {
			c.errorf(o.get("identifier"), "%s: of a bundle it is where it is downloaded", why)
		} else if hasID && !releaseURL(id) {
			c.warnf(o.get("identifier"), "the official registry takes bundles that are files of a release on github.com or gitlab.com, with mcp in their URL")
		}
	case isKnown:
		never("fileSha256", "its registry has its own")
		c.text(n, o, "registryBaseUrl", false, func(text string) string {
			if strings.TrimSuffix(text, "/") == base {
				return ""
			}
			return fmt.Sprintf("packages of type %s are at %s", kind, base)
		})
	}
	variables := map[string]bool{}
	for _, list := range []string{"runtimeArguments", "packageArguments"} {
		for _, a := range c.list(o, list) {
			c.argument(a, variables)
		}
	}
	seen := map[string]bool{}
	for _, v := range c.list(o, "environmentVariables") {
		c.keyValue(v, seen, variables, matches(`^[A-Za-z_][A-Za-z0-9_]*$`, "the name of a variable"))
	}
	if t := o.get("transport"); t != nil {
		c.transport(t, variables, false)
	} else {
		c.add(Error, n.at, join(n.path, "transport"), "it is required")
	}
}

// releaseURL is what the official registry takes for a bundle's.
func releaseURL(at string) bool {
	low := strings.ToLower(at)
	return strings.Contains(low, "mcp") && (regexp.MustCompile(`^https://(www\.)?github\.com/[^/]+/[^/]+/releases/download/[^/]+/[^/]+$`).MatchString(low) ||
		regexp.MustCompile(`^https://(www\.)?gitlab\.com/.+/-/(releases/[^/]+/downloads/[^/]+|package_files/\d+/download)$`).MatchString(low))
}

// inputFields are those of every input.
func inputFields(more ...string) known {
	k := known{"description": true, "isRequired": true, "format": true, "value": true, "isSecret": true, "default": true, "placeholder": true, "choices": true}
	for _, name := range more {
		k[name] = true
	}
	return k
}

// input looks at what every input has, and returns the variables of its value.
func (c *check) input(n *node, o *object) {
	c.text(n, o, "description", false)
	c.text(n, o, "placeholder", false)
	format, _ := c.text(n, o, "format", false, oneOf("string", "number", "boolean", "filepath"))
	value, fixed := c.text(n, o, "value", false)
	preset, hasPreset := c.text(n, o, "default", false)
	required, secret := c.bool(o, "isRequired"), c.bool(o, "isSecret")
	choices := c.texts(o, "choices")
	if hasPreset && len(choices) > 0 && !slices.Contains(choices, preset) {
		c.errorf(o.get("default"), "%q is not one of its choices", short(preset))
	}
	if hasPreset && format == "number" && !regexp.MustCompile(`^-?\d+(\.\d+)?([eE][-+]?\d+)?$`).MatchString(preset) {
		c.errorf(o.get("default"), "%q is no number", short(preset))
	}
	if hasPreset && format == "boolean" && preset != "true" && preset != "false" {
		c.errorf(o.get("default"), `%q is neither "true" nor "false"`, short(preset))
	}
	switch {
	case secret && hasPreset && preset != "":
		c.warnf(o.get("default"), "a secret that everybody can read here is none")
	case fixed && hasPreset:
		c.warnf(o.get("default"), "it has no effect: value says what it is")
	case required && hasPreset:
		c.warnf(o.get("isRequired"), "it has a default, so nobody must give it")
	}
	declared := map[string]bool{}
	if v := o.get("variables"); v != nil {
		if vars := c.object(v, nil, ""); vars != nil {
			for _, m := range vars.members {
				declared[m.name] = true
				if inner := c.object(m.node, inputFields(), Warning); inner != nil {
					c.input(m.node, inner)
				}
				if !strings.Contains(value, "{"+m.name+"}") {
					c.add(Warning, m.at, m.node.path, "value has no {%s} in it", short(m.name))
				}
			}
		}
	}
	for _, name := range braces(value) {
		if !declared[name] {
			c.warnf(o.get("value"), "{%s} is not among its variables, so it stays as it is", short(name))
		}
	}
	if secret && fixed && len(braces(value)) == 0 {
		c.warnf(o.get("value"), "a secret that everybody can read here is none")
	}
}

// braces are the names in curly braces.
func braces(text string) (names []string) {
	for _, m := range regexp.MustCompile(`\{([^{}]+)\}`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

func (c *check) argument(n *node, variables map[string]bool) {
	o := c.object(n, inputFields("type", "name", "valueHint", "isRepeated", "variables"), Warning)
	if o == nil {
		return
	}
	c.input(n, o)
	c.bool(o, "isRepeated")
	hint, _ := c.text(n, o, "valueHint", false)
	kind, _ := c.text(n, o, "type", true, oneOf("positional", "named"))
	switch kind {
	case "named":
		name, ok := c.text(n, o, "name", true, length(1, 1024), matches(`^[^<>$\s]+$`, "a name alone, such as --port, without its value"))
		variables[name] = true
		for _, field := range []string{"value", "default"} {
			if text, is := c.valueOf(o, field); ok && is && strings.HasPrefix(text, name) {
				c.errorf(o.get(field), "it begins with the name %s, which stands before it anyway", short(name))
			}
		}
	case "positional":
		if o.get("value") == nil && o.get("valueHint") == nil {
			c.errorf(n, "it must have a value, or a valueHint that says what it is")
		}
		if name := o.get("name"); name != nil {
			c.warnf(name, "a positional argument has none")
		}
	}
	variables[hint] = true
	if secret := o.get("isSecret"); secret != nil && secret.value == true {
		c.warnf(secret, "an argument is seen by every user of the machine: make it a variable of the environment")
	}
}

func (c *check) valueOf(o *object, name string) (string, bool) {
	if n := o.get(name); n != nil {
		text, ok := n.value.(string)
		return text, ok && text != ""
	}
	return "", false
}

// keyValue looks at a variable of the environment, or a header.
func (c *check) keyValue(n *node, seen, variables map[string]bool, form rule) {
	o := c.object(n, inputFields("name", "variables"), Warning)
	if o == nil {
		return
	}
	c.input(n, o)
	name, ok := c.text(n, o, "name", true, length(1, 256), form)
	if ok && seen[name] {
		c.errorf(o.get("name"), "%s is there twice", short(name))
	}
	seen[name] = true
	if variables != nil {
		variables[name] = true
	}
}

// transport looks at that of a package, which may be stdio, or at a remote.
func (c *check) transport(n *node, variables map[string]bool, remote bool) {
	names := known{"type": true, "url": true, "headers": true}
	types := []string{"streamable-http", "sse"}
	if remote {
		names["variables"] = true
	} else {
		types = append([]string{"stdio"}, types...)
	}
	o := c.object(n, names, Warning)
	if o == nil {
		return
	}
	kind, ok := c.text(n, o, "type", true, oneOf(types...))
	if kind == "stdio" && !remote {
		for _, name := range []string{"url", "headers"} {
			if field := o.get(name); field != nil && field.value != "" {
				c.errorf(field, "stdio has none")
			}
		}
		return
	}
	at, hasURL := c.text(n, o, "url", ok, matches(`^https?://[^\s]+$`, "a URL that begins with https:// or http://"))
	if kind == "sse" {
		c.warnf(o.get("type"), "HTTP with SSE is deprecated: streamable-http took its place")
	}
	if remote && hasURL && strings.HasPrefix(at, "http://") {
		c.warnf(o.get("url"), "what is sent there, and who answers, is not protected: use https")
	}
	declared := variables
	if remote {
		declared = map[string]bool{}
		if v := o.get("variables"); v != nil {
			if vars := c.object(v, nil, ""); vars != nil {
				for _, m := range vars.members {
					declared[m.name] = true
					if inner := c.object(m.node, inputFields(), Warning); inner != nil {
						c.input(m.node, inner)
					}
					if hasURL && !strings.Contains(at, "{"+m.name+"}") {
						c.add(Warning, m.at, m.node.path, "the URL has no {%s} in it", short(m.name))
					}
				}
			}
		}
	}
	for _, name := range braces(at) {
		if hasURL && !declared[name] {
			c.errorf(o.get("url"), "{%s} is not declared", short(name))
		}
	}
	seen := map[string]bool{}
	for _, h := range c.list(o, "headers") {
		c.keyValue(h, seen, nil, matches("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "the name of a header"))
	}
}
