package home

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/berth-run/berth"
)

// A remote server is run like any other: its process is this very program in the
// role RemoteRole, which speaks lines here and HTTP there.
const (
	// RemoteRole is the first argument of that program. Then come the name of
	// the server and its URL without its query, for people.
	RemoteRole = "remote"
	// RemoteURL is the variable that has the URL itself.
	RemoteURL = "BERTH_REMOTE_URL"
	// RemoteHeader begins the variables with the headers, by number; the
	// argument "--header NAME" of the same place among its like has the name. It
	// is called a secret so that it is kept like one.
	RemoteHeader = "BERTH_REMOTE_SECRET_"
)

// Header is one header that a remote server is sent. Its value is stored as it is,
// or refers to another: env:VARIABLE, of whoever starts the server, or
// secret://SERVER/KEY.
type Header struct{ Name, Value string }

// NewRemote returns a server that is at a URL.
func NewRemote(name, at string, headers []Header) Server {
	s := NewServer(name, "", nil)
	s.Source.Type, s.Runtime.Type, s.Runtime.Transport = "remote", "remote", "http"
	s.Settings.URL = at
	for _, h := range headers {
		s.Settings.Headers = append(s.Settings.Headers, h.Name+"="+h.Value)
	}
	return s
}

// Remote says whether the server is at a URL.
func (s *Server) Remote() bool { return s.Settings.URL != "" }

// Lines says whether the server's process speaks MCP on its stdin and stdout.
func (s *Server) Lines() bool {
	return s.Remote() || s.Runtime.Transport == "" || s.Runtime.Transport == "stdio"
}

// ShownURL is the URL as anybody may see it: without its query.
func (s *Server) ShownURL() string {
	scheme, host, path, ok := cutURL(s.Settings.URL)
	if !ok {
		return ""
	}
	return scheme + "://" + host + path
}

// cutURL takes an absolute URL apart, without its query and fragment; ok is false
// if it is none, or if it holds a name or password. Package net/url does more than
// every shim should pay for, and who connects asks it.
func cutURL(text string) (scheme, host, path string, ok bool) {
	scheme, rest, found := strings.Cut(text, "://")
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	host = rest
	if i := strings.IndexAny(rest, "/\\"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	return scheme, host, path, found && scheme != "" && host != "" && !strings.Contains(host, "@")
}

// Headers are the headers that a remote server is sent. What cannot be one is
// berth.ErrBadConfig; the error quotes no value.
func (s *Server) Headers() ([]Header, error) {
	var list []Header
	for i, entry := range s.Settings.Headers {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, s.bad("berth", "headers", fmt.Sprintf("entry %d is not NAME=VALUE", i+1))
		}
		if err := CheckHeader(name, value); err != nil {
			return nil, s.bad("berth", "headers", fmt.Sprintf("entry %d: %v", i+1, err))
		}
		list = append(list, Header{name, value})
	}
	return list, nil
}

// CheckHeader says what is wrong with a header that a user wants to be sent: its
// name, or that it is the protocol's own. The error does not quote the value.
func CheckHeader(name, value string) error {
	for _, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return fmt.Errorf("that is no name of a header: letters, digits and - make one")
		}
	}
	switch lower := strings.ToLower(name); {
	case name == "":
		return fmt.Errorf("the header has no name")
	case strings.HasPrefix(lower, "mcp-"), strings.HasPrefix(lower, "proxy-"):
		return fmt.Errorf("%s is not the user's to set", name)
	default:
		for _, own := range []string{"accept", "accept-encoding", "connection", "content-length", "content-type", "host",
			"last-event-id", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"} {
			if lower == own {
				return fmt.Errorf("%s is not the user's to set", name)
			}
		}
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("%s: the value has a line break or another control character", name)
		}
	}
	return nil
}

// runRemote is how a remote server is run. Nothing that may be a secret is in its
// arguments.
func (s *Server) runRemote(spec *berth.ProcessSpec) error {
	if strings.TrimSpace(s.Runtime.Command) != "" {
		return s.bad("berth", "url", "a server has a command or a URL, not both")
	}
	if _, _, _, ok := cutURL(s.Settings.URL); !ok {
		return s.bad("berth", "url", "that is no URL of a server, or it holds a name or password, for which there are headers")
	}
	headers, err := s.Headers()
	if err != nil {
		return err
	}
	spec.Command, spec.Transport = OwnProgram(), "stdio"
	spec.Args = []string{RemoteRole}
	for i, h := range headers {
		spec.Args = append(spec.Args, "--header", h.Name)
		spec.Env[fmt.Sprintf("%s%d", RemoteHeader, i)] = h.Value
	}
	spec.Args = append(spec.Args, s.Name, s.ShownURL())
	spec.Env[RemoteURL] = s.Settings.URL
	// It has little to do, and there is one for each server: see the shim's.
	for key, value := range map[string]string{"GOMAXPROCS": "2", "GOGC": "25"} {
		if !hasKey(spec.Env, key) {
			spec.Env[key] = value
		}
	}
	return nil
}

// IsRemoteRole says whether a spec is one of a remote server: its process is Berth's.
func IsRemoteRole(spec *berth.ProcessSpec) bool {
	return spec.Command == OwnProgram() && len(spec.Args) > 0 && spec.Args[0] == RemoteRole
}

// OwnProgram is the path of this program, also when its file was replaced or
// removed since it was started.
func OwnProgram() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	path, err := os.Executable()
	if err != nil {
		return "berth"
	}
	return path
}
