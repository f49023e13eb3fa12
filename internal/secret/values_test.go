package secret

import "testing"

func TestValuesMasksOnlyWhatItKnows(t *testing.T) {
	m := NewMasker(map[string]string{"API_TOKEN": "s3cr3t-value", "LANG": "en_GB.UTF-8"})
	in := "\xfftoken=other s3cr3t-value en_GB.UTF-8 Bearer abcdef0123456789 s3cr3t-value\n"
	want := "\xfftoken=other *** en_GB.UTF-8 Bearer abcdef0123456789 ***\n"
	if got := string(m.Values([]byte(in))); got != want {
		t.Errorf("Values(%q) = %q, want %q", in, got, want)
	}
}
