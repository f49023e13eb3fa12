package berth

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestAllowed holds the list against the one that is documented, on each kind
// of system: a variable more is a token that leaks, one less a runner that does
// not find itself.
func TestAllowed(t *testing.T) {
	const (
		never = iota
		onUnix
		onWindows
		always
	)
	for where, keys := range map[int][]string{
		always: {
			"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM", "TMPDIR",
			"LC_ALL", "LC_CTYPE", "LC_", "LC_ANYTHING",
			"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_BIN_HOME",
			"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "Http_Proxy",
			"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
			"npm_config_registry", "npm_config_cache", "npm_config_//registry.npmjs.org/:_authToken", "NPM_CONFIG_REGISTRY",
			"UV_CACHE_DIR", "UV_INDEX_URL", "UV_",
		},
		onWindows: {
			"SystemRoot", "SYSTEMROOT", "systemroot", "ComSpec", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "UserProfile",
			"ProgramFiles", "ProgramFiles(x86)", "ProgramFilesArm", "PROGRAMFILES",
			// Names have no case there.
			"Path", "path", "Home", "lc_all", "Tz", "uv_cache_dir", "Npm_Config_Registry", "ssl_cert_file", "xdg_cache_home", "Node_Extra_CA_Certs",
		},
		never: {
			"", "GITHUB_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "SSH_AUTH_SOCK", "NPM_TOKEN", "NODE_AUTH_TOKEN",
			"BERTH_HOME", "BERTH_INCARNATION", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "PYTHONPATH", "GODEBUG",
			"PWD", "OLDPWD", "SHLVL", "_", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_SESSION_ID", "XDG_HOMES", "HOME_XDG",
			// What only begins or ends like one that is.
			"PATHS", "PATH2", "MYPATH", "HOMEDRIVE", "USERNAME", "LANGUAGE", "LC", "TERMINFO", "TZDIR", "TMPDIR2", "SSL_CERT", "UV", "npm_config",
			"npm_package_name", "SSLKEYLOGFILE", "MY_HTTP_PROXY", "HTTP_PROXY_PASSWORD", "XDG_CONFIG_HOME_TOKEN", "NODE_EXTRA_CA_CERTS2", "REQUESTS_CA",
			"PROGRAMDATA", "PROGRAM", "ALLUSERSPROFILE", "TEMPLATE",
		},
		onUnix: {},
	} {
		for _, key := range keys {
			if got, want := allowed(key, false), where == always || where == onUnix; got != want {
				t.Errorf("elsewhere: %q is allowed: %v, want %v", key, got, want)
			}
			if got, want := allowed(key, true), where == always || where == onWindows; got != want {
				t.Errorf("on Windows: %q is allowed: %v, want %v", key, got, want)
			}
		}
	}
}

func TestAllowedEnv(t *testing.T) {
	environ := []string{
		"PATH=/bin", "GITHUB_TOKEN=secret", "LANG=C", "HOME", "=C:=C:\\", "", "TZ=", "LC_ALL=a=b", "LC_X=two\nlines", "PATH=/second", "=", "X=PATH=/bin",
	}
	want := []string{"PATH=/bin", "LANG=C", "TZ=", "LC_ALL=a=b", "LC_X=two\nlines", "PATH=/second"}
	before := slices.Clone(environ)
	if got := AllowedEnv(environ); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !slices.Equal(environ, before) {
		t.Errorf("the argument became %q", environ)
	}
	if got := AllowedEnv(nil); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}

// FuzzAllowedEnv: whatever is kept was there, in this order, and is kept again;
// what Windows refuses nobody else gets by another case.
func FuzzAllowedEnv(f *testing.F) {
	f.Add("PATH=/bin\nGITHUB_TOKEN=x\nlc_all=C\nXDG_A_HOME=/\n=x\nhttp_PROXY=y")
	f.Add("ſSL_CERT_FILE=x\nPATH\x00=x\nUV_\xff=y")
	f.Fuzz(func(t *testing.T, lines string) {
		environ := strings.Split(lines, "\n")
		kept := AllowedEnv(environ)
		rest := environ
		for _, kv := range kept {
			at := slices.Index(rest, kv)
			if at < 0 {
				t.Fatalf("%q was not there, or not in this order", kv)
			}
			rest = rest[at+1:]
			key, _, ok := strings.Cut(kv, "=")
			if !ok || key == "" || !allowed(key, true) {
				t.Fatalf("%q was kept", kv)
			}
		}
		if again := AllowedEnv(kept); !slices.Equal(again, kept) {
			t.Fatalf("%q became %q", kept, again)
		}
		for _, kv := range environ {
			key, _, ok := strings.Cut(kv, "=")
			if ok && allowed(key, runtime.GOOS == "windows") != slices.Contains(kept, kv) {
				t.Fatalf("%q: kept or not, it should be the other way", kv)
			}
			if allowed(key, true) != allowed(strings.ToUpper(key), true) {
				t.Fatalf("on Windows the case of %q matters", key)
			}
		}
	})
}
