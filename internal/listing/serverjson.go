package listing

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// server is a server.json, as far as it is read: see the schema of 2025-12-11.
type server struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Version     string `json:"version"`
	Repository  *struct {
		URL string `json:"url"`
	} `json:"repository"`
	WebsiteURL string       `json:"websiteUrl"`
	Packages   []jsonPkg    `json:"packages"`
	Remotes    []jsonRemote `json:"remotes"`
}

type jsonPkg struct {
	Type        string         `json:"registryType"`
	BaseURL     string         `json:"registryBaseUrl"`
	Identifier  string         `json:"identifier"`
	Version     string         `json:"version"`
	SHA256      string         `json:"fileSha256"`
	RuntimeHint string         `json:"runtimeHint"`
	RuntimeArgs []jsonArgument `json:"runtimeArguments"`
	Args        []jsonArgument `json:"packageArguments"`
	Env         []jsonInput    `json:"environmentVariables"`
	Transport   struct {
		Type string `json:"type"`
	} `json:"transport"`
}

type jsonRemote struct {
	Type      string               `json:"type"`
	URL       string               `json:"url"`
	Headers   []jsonInput          `json:"headers"`
	Variables map[string]jsonInput `json:"variables"`
}

type jsonInput struct {
	Name        string               `json:"name"`
	Description string               `json:"description"`
	Required    bool                 `json:"isRequired"`
	Format      string               `json:"format"`
	Value       string               `json:"value"`
	Secret      bool                 `json:"isSecret"`
	Default     string               `json:"default"`
	Choices     []string             `json:"choices"`
	Variables   map[string]jsonInput `json:"variables"`
}

type jsonArgument struct {
	jsonInput
	Type     string `json:"type"`
	Hint     string `json:"valueHint"`
	Repeated bool   `json:"isRepeated"`
}

// MaxServerJSON bounds a server.json.
const MaxServerJSON = 1 << 20

// ParseServerJSON reads a server.json: one entry for each way in which the server can be
// had, those that Berth can install first. An entry that Berth cannot install says why.
func ParseServerJSON(doc []byte) ([]Entry, error) {
	if len(doc) > MaxServerJSON {
		return nil, fmt.Errorf("a server.json of %d bytes is too long", len(doc))
	}
	var s server
	if err := json.Unmarshal(doc, &s); err != nil {
		return nil, fmt.Errorf("it is no server.json: %v", err)
	}
	if !utf8.Valid(doc) {
		return nil, errors.New("it is not UTF-8")
	}
	if !RegistryName(s.Name) {
		return nil, fmt.Errorf("name: %.80q is not of the form NAMESPACE/SERVER", s.Name)
	}
	base := Entry{Name: s.Name, Title: shown(s.Title), About: shown(s.Description), Version: s.Version}
	if s.Repository != nil {
		base.Repository = shown(s.Repository.URL)
	}
	var list []Entry
	for _, p := range s.Packages {
		list = append(list, base.ofPackage(p))
	}
	for _, r := range s.Remotes {
		list = append(list, base.ofRemote(r))
	}
	if len(list) == 0 {
		return nil, errors.New("it has neither packages nor remotes")
	}
	for i := range list {
		if e := &list[i]; e.Unusable == "" {
			if err := e.Check(); err != nil {
				e.Unusable = strings.ReplaceAll(err.Error(), "\n", "; ")
			}
		}
	}
	// What needs no container engine comes before what does.
	rank := func(e Entry) int {
		switch {
		case e.Unusable != "":
			return 2
		case e.Kind == OCI:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return rank(a) - rank(b) })
	return list, nil
}

// RegistryName says whether a text can be the name of a server in a registry.
func RegistryName(name string) bool { return entryName(name) && strings.Contains(name, "/") }

// shown is Shown of a text of any length that is reasonable.
func shown(text string) string { return Shown(text, mostText) }

// Shown is a text for people as one line of at most so many bytes, without what would do
// something to a terminal.
func Shown(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	text = strings.ToValidUTF8(text, "�")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r < 0xa0 || r == 0x200b || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
	}), " ")
}

func (e Entry) ofPackage(p jsonPkg) Entry {
	e.Kind, e.Package = Kind(p.Type), p.Identifier
	if p.Version != "" {
		e.Version = p.Version
	}
	if p.Transport.Type != "" && p.Transport.Type != "stdio" {
		e.Transport = p.Transport.Type
	}
	switch {
	case e.Kind == OCI:
		e.image(p)
	case e.Kind == MCPB:
		e.Unusable = p.unusableFile()
	case e.Kind != NPM && e.Kind != PyPI:
		e.Unusable = fmt.Sprintf("packages of kind %.40q are not installed by this version of Berth", p.Type)
	case e.Transport != "":
		e.Unusable = fmt.Sprintf("it speaks %.40q and not stdio", e.Transport)
	case e.Version == "" || e.Version == "latest":
		e.Unusable = "it names no exact version"
	case p.BaseURL != "" && !slices.Contains([]string{"https://registry.npmjs.org", "https://pypi.org"}, strings.TrimSuffix(p.BaseURL, "/")):
		e.Unusable = fmt.Sprintf("it is in the registry %.80q, which nobody here knows", p.BaseURL)
	case p.SHA256 != "" && e.Kind == NPM:
		e.Unusable = "it gives a hash of a kind that npm does not check"
	case slices.ContainsFunc(p.RuntimeArgs, func(a jsonArgument) bool { return a.Name != "-y" && a.Value != "-y" && a.Name != "--yes" }):
		e.Unusable = "it has arguments for its runner, which Berth does not use"
	}
	if p.SHA256 != "" && e.Kind != OCI {
		e.Hashes = []string{"sha256:" + p.SHA256}
	}
	for _, a := range p.Args {
		e.argument(a)
	}
	e.Env = map[string]string{}
	for _, v := range p.Env {
		if v.Value == "" {
			e.setting(v.Name, v, func(s *Setting) { s.Env = v.Name })
			continue
		}
		e.field(v, e.Env)
	}
	return e
}

// image reads a package that is an image. Its tag may stand in its identifier, or be its
// version.
func (e *Entry) image(p jsonPkg) {
	name := p.Identifier
	if _, host, ok := strings.Cut(strings.TrimSuffix(p.BaseURL, "/"), "://"); ok && host != "" && wholeImage(name) != name {
		name = host + "/" + name
	}
	r, err := ofImage(name)
	switch {
	case err != nil:
		e.Unusable = err.Error()
	case e.Transport != "":
		e.Unusable = fmt.Sprintf("it speaks %.40q and not stdio", e.Transport)
	case len(p.RuntimeArgs) > 0:
		e.Unusable = "it has arguments for its container engine, which Berth does not pass on"
	}
	e.Package = r.Package
	if r.Version == "" && r.Digest == "" {
		r.Version = p.Version
	}
	e.Version = r.Version
	if r.Digest != "" {
		e.Hashes = []string{r.Digest}
	}
}

func (e Entry) ofRemote(r jsonRemote) Entry {
	e.Kind, e.URL, e.Transport = Remote, r.URL, r.Type
	if r.Type != "streamable-http" && r.Type != "sse" {
		e.Unusable = fmt.Sprintf("it speaks %.40q, which is not known", r.Type)
	}
	e.Headers = map[string]string{}
	e.variables(r.Variables)
	for _, h := range r.Headers {
		e.field(h, e.Headers)
	}
	return e
}

// field adds a variable or a header: one that has a value has it, another is a setting.
func (e *Entry) field(in jsonInput, to map[string]string) {
	if in.Value != "" {
		to[in.Name] = in.Value
		e.variables(in.Variables)
		return
	}
	key := e.setting(in.Name, in, nil)
	to[in.Name] = "{" + key + "}"
}

func (e *Entry) argument(a jsonArgument) {
	name := a.Name
	if a.Type != "named" {
		name = ""
	}
	if a.Value != "" {
		if name != "" {
			e.Args = append(e.Args, name)
		}
		e.Args = append(e.Args, a.Value)
		e.variables(a.Variables)
		return
	}
	if name == "" {
		hint := a.Hint
		if hint == "" {
			hint = fmt.Sprintf("argument%d", len(e.Args)+1)
		}
		e.Args = append(e.Args, "{"+e.setting(hint, a.jsonInput, func(s *Setting) { s.Repeated, s.Arg = a.Repeated, []string{"{}"} })+"}")
		return
	}
	if a.Format == "boolean" || a.Format == "" && a.Default == "" && len(a.Choices) == 0 && !a.Secret && a.Description == "" && a.Required {
		// A flag that stands alone.
		if a.Format == "" {
			e.Args = append(e.Args, name)
			return
		}
	}
	// The schema has --name={value}, and the programs that there are take two words.
	words := []string{name, "{}"}
	if strings.HasSuffix(name, "=") {
		words = []string{name + "{}"}
	}
	if a.Format == "boolean" {
		words = []string{name}
	}
	key := e.setting(strings.Trim(name, "-="), a.jsonInput, func(s *Setting) { s.Repeated, s.Arg = a.Repeated, words })
	e.Args = append(e.Args, "{"+key+"}")
}

// setting adds what its user decides, and returns its key.
func (e *Entry) setting(name string, in jsonInput, also func(*Setting)) string {
	key := strings.Trim(keyChars(name), "-.")
	if have, twice := e.Setting(key); twice && have.Key == key {
		key += fmt.Sprintf("-%d", len(e.Settings)+1)
	}
	s := Setting{
		Key: key, About: shown(in.Description), Required: in.Required, Secret: in.Secret, Default: in.Default, Choices: in.Choices,
		Type: map[string]string{"number": "number", "boolean": "boolean"}[in.Format],
	}
	if also != nil {
		also(&s)
	}
	e.Settings = append(e.Settings, s)
	return key
}

// variables adds what stands in braces in a value.
func (e *Entry) variables(of map[string]jsonInput) {
	for _, name := range sortedKeys(of) {
		if _, there := e.Setting(name); there {
			continue
		}
		if in := of[name]; in.Value == "" && keyName().MatchString(name) {
			e.setting(name, in, nil)
		}
	}
}

func keyChars(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
}
