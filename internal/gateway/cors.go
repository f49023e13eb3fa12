package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// cors lets web pages of the origins that the user named read what is answered,
// each by its own name. It has answered if it returns true: the question of a
// browser whether a page may ask.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(g.o.Origins, origin) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", headerSession+", Retry-After")
	h.Add("Vary", "Origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	if names := pageHeaders(r.Header.Values("Access-Control-Request-Headers")); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// pageHeaders are those of the headers that a page wants to send which MCP has.
func pageHeaders(values []string) string {
	var names []string
	for name := range strings.SplitSeq(strings.ToLower(strings.Join(values, ",")), ",") {
		switch name = strings.TrimSpace(name); name {
		case "accept", "authorization", "content-type", "last-event-id":
		default:
			if !strings.HasPrefix(name, "mcp-") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				continue
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
