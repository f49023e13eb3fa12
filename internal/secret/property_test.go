package secret

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pieces are what adversarial text is made of.
func pieces() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"token", "TOKEN", "--api-key", "-key", "password", "Authorization", "Cookie", "Bearer ", "auth", "no", "file",
			"=", ":", ": ", " ", "\n", "\"", "'", "`", "\\", "\\\"", "&", ";", ",", "[", "]", "{", "}", "@", "/", "://", "https://", "secret://a/b",
			"*", "***", "****", "ghp_", "sk-", "eyJ", "AKIA", "xoxb-", "0123456789abcdef", "ABCDEFGHIJKLMNOP", "-----BEGIN PRIVATE KEY-----", "-----END",
			"-", "--", "x", "\xff", "é",
		}),
		rapid.StringN(0, 4, 8),
	)
}

func text() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(pieces(), 0, 12).Draw(t, "pieces"), "")
	})
}

func masker(t *rapid.T) (*Masker, []string) {
	values := rapid.SliceOfN(text(), 0, 3).Draw(t, "values")
	return NewMasker(nil, values...), values
}

// kept is what is left of s without the masks.
func kept(s string) string { return strings.ReplaceAll(s, "*", "") }

// subsequence says whether a can be had from b by leaving bytes out.
func subsequence(a, b string) bool {
	for i := 0; len(a) > 0; i++ {
		if i == len(b) {
			return false
		}
		if a[0] == b[i] {
			a = a[1:]
		}
	}
	return true
}

func checkText(t interface{ Fatalf(string, ...any) }, m *Masker, values []string, in string) {
	out := m.Text(in)
	if again := m.Text(out); again != out {
		t.Fatalf("not idempotent:\n   in %q\n once %q\ntwice %q", in, out, again)
	}
	if !subsequence(kept(out), kept(in)) {
		t.Fatalf("shows what was not there:\n in %q\nout %q", in, out)
	}
	for _, v := range values {
		if v = strings.TrimSpace(v); len(v) >= MinValue && !refOrStars(v) && strings.Contains(out, v) {
			t.Fatalf("shows the value %q:\n in %q\nout %q", v, in, out)
		}
	}
}

func TestTextProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, values := masker(t)
		in := text().Draw(t, "text")
		if len(values) > 0 && rapid.Bool().Draw(t, "plant") {
			in = text().Draw(t, "before") + values[0] + in
		}
		checkText(t, m, values, in)
	})
}

func TestArgsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, _ := masker(t)
		in := rapid.SliceOfN(text(), 0, 6).Draw(t, "args")
		out := m.Args(in)
		if len(out) != len(in) {
			t.Fatalf("%d arguments became %d", len(in), len(out))
		}
		if again := m.Args(out); !slices.Equal(again, out) {
			t.Fatalf("not idempotent:\n   in %q\n once %q\ntwice %q", in, out, again)
		}
		for i := range in {
			if !subsequence(kept(out[i]), kept(in[i])) {
				t.Fatalf("%q became %q", in[i], out[i])
			}
			// Whatever text alone hides, arguments hide too.
			if !subsequence(kept(out[i]), kept(m.Text(in[i]))) {
				t.Fatalf("%q: text %q, argument %q", in[i], m.Text(in[i]), out[i])
			}
		}
	})
}

// TestSecretNeverShown puts a random secret into each place that masking knows,
// amid other text, and looks for it afterwards.
func TestSecretNeverShown(t *testing.T) {
	places := []string{
		"GITHUB_TOKEN=%s", "--api-key=%s", "--password %s", "-token %s", `"client_secret": "%s"`, "'apiKey': '%s'", "X-Auth-Token: %s",
		"Authorization: Bearer %s", "Authorization: Basic %s", "bearer %s", "Cookie: sid=%s; a=b", "https://user:%s@host/path", "https://%s@host",
		"https://host/?access_token=%s", "https://host/?a=b&sig=%s&c=d", "ghp_0123456789abcdef%s", "sk-ant-0123456789abcdef%s", `{\"token\":\"%s\"}`,
		"-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----",
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[A-Za-z0-9_.]{12,40}`).Draw(t, "secret")
		word := rapid.StringMatching(`([a-z]{1,8} ){0,4}`)
		in := word.Draw(t, "before") + fmt.Sprintf(rapid.SampledFrom(places).Draw(t, "place"), value) + " " + word.Draw(t, "after")
		if out := MaskText(in); strings.Contains(out, value) {
			t.Fatalf("%q became %q", in, out)
		}
		if out := MaskArgs([]string{"x", in, "y"}); strings.Contains(strings.Join(out, " "), value) {
			t.Fatalf("as an argument %q became %q", in, out)
		}
	})
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"", "TOKEN=abc", "https://u:p@h", "Authorization: Bearer x", `{"key":"v"}`, "--token x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
		"key=`key='key=\"", "***=***", "token:[token:[", "a://b:c/d@e",
	} {
		f.Add(seed, "hunter2-hunter2")
	}
	f.Fuzz(func(t *testing.T, in, value string) {
		checkText(t, NewMasker(nil, value), []string{value}, in)
		args := strings.Split(in, " ")
		out := NewMasker(nil, value).Args(args)
		if len(out) != len(args) {
			t.Fatalf("%d arguments became %d", len(args), len(out))
		}
		if again := NewMasker(nil, value).Args(out); !slices.Equal(again, out) {
			t.Fatalf("not idempotent: %q, %q", out, again)
		}
	})
}

func BenchmarkText(b *testing.B) {
	line := strings.Repeat("2026-01-02T03:04:05Z level=info msg=\"tool called\" name=echo url=https://example.com/a?b=c ", 10)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		MaskText(line)
	}
}
