package secret

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMaskText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		// Nothing to hide.
		{"", ""},
		{"hello world", "hello world"},
		{"listening on http://127.0.0.1:8080/mcp", "listening on http://127.0.0.1:8080/mcp"},
		{"https://registry.npmjs.org/@scope/pkg", "https://registry.npmjs.org/@scope/pkg"},
		{"http://localhost:3000/@scope/pkg", "http://localhost:3000/@scope/pkg"},
		{"http://[::1]:3000/@scope", "http://[::1]:3000/@scope"},
		{"npx -y @modelcontextprotocol/server-everything", "npx -y @modelcontextprotocol/server-everything"},
		{"pip install sk-learn scikit-learn", "pip install sk-learn scikit-learn"},
		{"author=me keyboard=us monkey=1 PWD=/tmp", "author=me keyboard=us monkey=1 PWD=/tmp"},
		{"TOKENIZERS_PARALLELISM=false max_tokens=100", "TOKENIZERS_PARALLELISM=false max_tokens=100"},
		{"GITHUB_TOKEN_FILE=/run/secrets/github", "GITHUB_TOKEN_FILE=/run/secrets/github"},
		{"TOKEN=secret://github/token", "TOKEN=secret://github/token"},
		{"at 12:30:01 [C:\\x] x=1", "at 12:30:01 [C:\\x] x=1"},
		{"\xff\xfe not UTF-8", "\xff\xfe not UTF-8"},
		{"token=", "token="},
		{"the token", "the token"},

		// Names that tell.
		{"GITHUB_TOKEN=abc", "GITHUB_TOKEN=***"},
		{"export API_KEY=abc; run", "export API_KEY=***; run"},
		{"DB_PWD=x y", "DB_PWD=*** y"},
		{"token = abc def", "token = *** def"},
		{"a?api_key=abc&b=1", "a?api_key=***&b=1"},
		{"password: hunter2", "password: ***"},
		{`{"apiKey": "a\"b", "n": 1}`, `{"apiKey": "***", "n": 1}`},
		{`{"a":"{\"client_secret\":\"x\",\"b\":1}"}`, `{"a":"{\"client_secret\":\"***\",\"b\":1}"}`},
		{`{"tokens":["a","b"],"n":1}`, `{"tokens":[***],"n":1}`},
		{`{"auth":{"user":"u","password":"p"}}`, `{"auth":{"user":"u","password":"***"}}`},
		{"SECRET='two words' x", "SECRET='***' x"},
		{`SECRET="never closed`, `SECRET="***`},
		{"run --api-key abc --name x", "run --api-key *** --name x"},
		{"run --token 'a b' x", "run --token '***' x"},
		{"run --token --verbose", "run --token --verbose"},
		{"Server=db;Password=abc;Timeout=1", "Server=db;Password=***;Timeout=1"},

		// Headers.
		{"Authorization: Bearer abc.def", "Authorization: ***"},
		{"curl -H 'Authorization: Basic dTpw' https://x", "curl -H 'Authorization: ***' https://x"},
		{"sent Bearer abc.def-_~ to x", "sent Bearer *** to x"},
		{"Cookie: a=1; b=2\nHost: x", "Cookie: ***\nHost: x"},
		{"X-Api-Key: abc", "X-Api-Key: ***"},

		// URLs.
		{"postgres://user:pa55@db.example/x", "postgres://***@db.example/x"},
		{"postgres://user:p/w@db.example/x", "postgres://***@db.example/x"},
		{"https://tok@github.com/a.git", "https://***@github.com/a.git"},
		{"x https://u:p@h y", "x https://***@h y"},

		// Well-known tokens.
		{"ghp_0123456789abcdefABCD", "***"},
		{"berth_abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst is ours, berth_home not", "*** is ours, berth_home not"},
		{"x github_pat_0123456789abcdefABCD.", "x ***"},
		{"sk-proj-0123456789abcdef", "***"},
		{"(xoxb-123456789-abc)", "(***)"},
		{"AKIAIOSFODNN7EXAMPLE", "***"},
		{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "***"},
		{"AKIA is short, sk- too, eyJ also", "AKIA is short, sk- too, eyJ also"},
		{"task-0123456789abcdefgh", "task-0123456789abcdefgh"},
		{"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx", "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nx"},
		{"-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----"},
	} {
		if got := MaskText(tt.in); got != tt.want {
			t.Errorf("%q\n got %q\nwant %q", tt.in, got, tt.want)
		}
	}
}

func TestMaskArgs(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{}, []string{}},
		{[]string{"-y", "pkg", "--port", "80"}, []string{"-y", "pkg", "--port", "80"}},
		{[]string{"--token=abc def", "x"}, []string{"--token=***", "x"}},
		{[]string{"--api-key", "VALUE", "x"}, []string{"--api-key", "***", "x"}},
		{[]string{"--api-key", "-Vx9", "x"}, []string{"--api-key", "***", "x"}},
		{[]string{"--api-key", "--verbose", "x"}, []string{"--api-key", "--verbose", "x"}},
		{[]string{"--api-key", "--password", "x"}, []string{"--api-key", "--password", "***"}},
		{[]string{"--api-key", "-v", "x"}, []string{"--api-key", "-v", "x"}},
		{[]string{"--api-key", "", "x"}, []string{"--api-key", "", "x"}},
		{[]string{"--api-key"}, []string{"--api-key"}},
		{[]string{"--no-auth", "server.js"}, []string{"--no-auth", "server.js"}},
		{[]string{"--token-file", "/x"}, []string{"--token-file", "/x"}},
		{[]string{"--token", "secret://a/b"}, []string{"--token", "secret://a/b"}},
		{[]string{"-e", "DB_PASSWORD=a b&c,d"}, []string{"-e", "DB_PASSWORD=***"}},
		{[]string{"--header", "X-Api-Key: a b"}, []string{"--header", "X-Api-Key: ***"}},
		{[]string{"--header=Authorization: Bearer a b"}, []string{"--header=Authorization: ***"}},
		{[]string{"sh", "-c", "run --token=x y"}, []string{"sh", "-c", "run --token=*** y"}},
		{[]string{"sh", "-c", "KEY=1 run y"}, []string{"sh", "-c", "KEY=***"}},
		{[]string{"https://u:p@h/x"}, []string{"https://***@h/x"}},
		{[]string{"token", "abc"}, []string{"token", "abc"}}, // a word, not a flag
	} {
		in := slices.Clone(tt.in)
		if got := MaskArgs(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("%q\n got %q\nwant %q", tt.in, got, tt.want)
		}
		if !slices.Equal(in, tt.in) {
			t.Errorf("the arguments themselves became %q", tt.in)
		}
	}
}

func TestMaskEnv(t *testing.T) {
	in := map[string]string{
		"GITHUB_TOKEN": "abc", "PATH": "/bin", "DATABASE_URL": "postgres://u:p@h/d",
		"API_KEY": "secret://x/API_KEY", "BAD_KEY": "secret://u:p@h", "EMPTY_SECRET": "", "PWD": "/tmp",
	}
	want := map[string]string{
		"GITHUB_TOKEN": "***", "PATH": "/bin", "DATABASE_URL": "postgres://***@h/d",
		"API_KEY": "secret://x/API_KEY", "BAD_KEY": "***", "EMPTY_SECRET": "", "PWD": "/tmp",
	}
	if got := MaskEnv(in); !maps.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestMaskerKnowsValues(t *testing.T) {
	m := NewMasker(map[string]string{
		"MY_TOKEN":     "correct horse",
		"LONGER_TOKEN": "correct horse battery",
		"SHORT_TOKEN":  "12345",
		"REGION":       "eu-west-1",
		"DATABASE_URL": "postgres://u:p@h/d",
		"PEM_KEY":      "-----BEGIN\nMIIEpAIBAAKCAQEA7\n-----END",
		"REF_TOKEN":    "secret://server/key",
	}, "by hand", "***********")
	for _, tt := range []struct{ in, want string }{
		{"it is correct horse.", "it is ***."},
		{"it is correct horse battery.", "it is ***."},
		{"correct horsecorrect horse", "***"},
		{"12345 eu-west-1", "12345 eu-west-1"},
		{"connect to postgres://u:p@h/d now", "connect to *** now"},
		{"line MIIEpAIBAAKCAQEA7", "line ***"},
		{"secret://server/key", "secret://server/key"},
		{"done by hand", "done ***"},
		{"************", "************"},
	} {
		if got := m.Text(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := m.Args([]string{"a", "xcorrect horsey"}); !slices.Equal(got, []string{"a", "x***y"}) {
		t.Errorf("arguments: %q", got)
	}
	if got := m.Env(map[string]string{"A": "correct horse!"}); got["A"] != "***!" {
		t.Errorf("environment: %q", got)
	}
}

func TestLooksSecret(t *testing.T) {
	yes := "TOKEN GITHUB_TOKEN github-token --token apiKey APIKey X-API-Key APIKEY openaiApiKey AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID " +
		"password DB_PASSWORD PGPASSWORD passwd MYSQL_PWD passphrase credentials GOOGLE_APPLICATION_CREDENTIALS auth X-Auth Authorization _authToken " +
		"clientSecret client.secret OAuth oauth2 bearer cookie Set-Cookie GITHUB_PAT sig SSHKEY private-key keys"
	for key := range strings.FieldsSeq(yes) {
		if !LooksSecret(key) {
			t.Errorf("%s: no", key)
		}
	}
	no := "PATH HOME PWD OLDPWDX author AUTHORS authority keyboard keyword KEYCLOAK_URL monkey TOKENIZER tokenize max_tokens --max-tokens " +
		"TOKEN_FILE key-path secrets_dir compass pattern signal no-auth --no-token name URL port - -- _"
	for key := range strings.FieldsSeq(no) {
		if LooksSecret(key) {
			t.Errorf("%s: yes", key)
		}
	}
	if LooksSecret("") {
		t.Error("the empty name: yes")
	}
}

func TestIssuers(t *testing.T) {
	for _, i := range issuers() {
		if got := MaskText("x " + i.prefix + strings.Repeat("a1", i.tail/2) + " y"); got != "x *** y" {
			t.Errorf("%s: %q", i.prefix, got)
		}
		if short := "x " + i.prefix + strings.Repeat("a", i.tail-1) + " y"; MaskText(short) != short {
			t.Errorf("%s: a word of %d letters is taken for a token", i.prefix, i.tail-1)
		}
	}
}

// TestCopyOfAPackage: the directory of a package of PyPI is no token of PyPI.
func TestCopyOfAPackage(t *testing.T) {
	if path := "/home/a/.berth/packages/pypi-mcp-server-time-2026.10.19-9c7b3de93db73aae/bin/x"; MaskText(path) != path {
		t.Errorf("%s became %s", path, MaskText(path))
	}
}
