package berth

import (
	"runtime"
	"strings"
)

// AllowedEnv returns the variables of environ ("K=V" each) that every server
// receives: what programs need to find themselves, their user, their language,
// the network's proxies and certificates, and their package runner's settings.
// Everything else, tokens above all, must be named in ProcessSpec.Env.
func AllowedEnv(environ []string) []string {
	var kept []string
	for _, kv := range environ {
		key, _, ok := strings.Cut(kv, "=")
		if ok && allowed(key, runtime.GOOS == "windows") {
			kept = append(kept, kv)
		}
	}
	return kept
}

func allowed(key string, windows bool) bool {
	switch strings.ToUpper(key) {
	case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY":
		return true
	}
	if windows {
		// Windows treats names without regard to case.
		key = strings.ToUpper(key)
		switch key {
		case "SYSTEMROOT", "COMSPEC", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "USERPROFILE":
			return true
		}
		if strings.HasPrefix(key, "PROGRAMFILES") {
			return true
		}
	}
	switch key {
	case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM", "TMPDIR",
		"NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE":
		return true
	}
	for _, prefix := range []string{"LC_", "SSL_CERT_", "npm_config_", "UV_", "NPM_CONFIG_"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return strings.HasPrefix(key, "XDG_") && strings.HasSuffix(key, "_HOME")
}
