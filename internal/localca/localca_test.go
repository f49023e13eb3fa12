package localca

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// TestLeaf: who trusts the CA knows the server by each of its names while its
// certificate is good, and by no other name; another CA's is not trusted.
func TestLeaf(t *testing.T) {
	now := time.Now()
	cert, key, err := New("this home", now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := Open(cert, key, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf([]string{"localhost", "127.0.0.1", "::1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	trusted, strange := x509.NewCertPool(), x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	other, _, err := New("another home", now)
	if err != nil {
		t.Fatal(err)
	}
	strange.AppendCertsFromPEM(other)
	for _, c := range []struct {
		what, name string
		roots      *x509.CertPool
		at         time.Time
		ok         bool
	}{
		{"by name", "localhost", trusted, now, true},
		{"by address", "127.0.0.1", trusted, now, true},
		{"by IPv6", "[::1]", trusted, now, true},
		{"before it is renewed", "localhost", trusted, now.Add(LeafLives - time.Minute), true},
		{"another name", "evil.example", trusted, now, false},
		{"another address", "127.0.0.2", trusted, now, false},
		{"another CA", "localhost", strange, now, false},
		{"later", "localhost", trusted, now.Add(LeafLives + time.Minute), false},
	} {
		_, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: c.name, Roots: c.roots, CurrentTime: c.at})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if ca.cert.CheckSignatureFrom(ca.cert) != nil || leaf.Leaf.IsCA {
		t.Error("the CA is not one, or the leaf is")
	}
}

// TestOpen: what is not a CA and its key, or is about to end, is refused.
func TestOpen(t *testing.T) {
	now := time.Now()
	cert, key, err := New("a", now)
	if err != nil {
		t.Fatal(err)
	}
	otherCert, otherKey, err := New("b", now)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		cert, key string
		at        time.Time
	}{
		"nothing":               {"", "", now},
		"no key":                {string(cert), "", now},
		"another key":           {string(cert), string(otherKey), now},
		"a key for a CA":        {string(key), string(key), now},
		"two CAs":               {string(cert) + string(otherCert), string(key), now},
		"half":                  {string(cert[:len(cert)/2]), string(key), now},
		"damaged":               {strings.Replace(string(cert), "MII", "MIJ", 1), string(key), now},
		"one that is at an end": {string(cert), string(key), now.Add(caLives)},
	} {
		if _, err := Open([]byte(c.cert), []byte(c.key), c.at); err == nil {
			t.Errorf("%s: opened", what)
		}
	}
}
