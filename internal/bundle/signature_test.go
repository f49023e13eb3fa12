package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
)

var testTime = time.Now()

// signer is somebody with a certificate.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newSigner makes one whose certificate another gave out; by itself if that is nil.
func newSigner(t testing.TB, name string, by *signer) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true, IsCA: by == nil,
	}
	parent, parentKey := template, key
	if by != nil {
		parent, parentKey = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

// sign returns a bundle with its signature, of which change may change something.
func (s *signer) sign(t testing.TB, data []byte, change func(*pkcs7.SignedData)) []byte {
	t.Helper()
	p, err := pkcs7.NewSignedData(data)
	if err != nil {
		t.Fatal(err)
	}
	p.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if change == nil {
		change = func(p *pkcs7.SignedData) {
			if err := p.AddSigner(s.cert, crypto.PrivateKey(s.key), pkcs7.SignerInfoConfig{}); err != nil {
				t.Fatal(err)
			}
			p.Detach()
		}
	}
	change(p)
	der, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return block(data, der)
}

func block(data, der []byte) []byte {
	out := append(bytes.Clone(data), sigBegin...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(der)))
	return append(append(out, der...), sigEnd...)
}

func signatureOf(data []byte, roots *x509.CertPool) (*Signature, error) {
	b, err := Open(bytes.NewReader(data), int64(len(data)), DefaultLimits())
	if err != nil {
		return nil, err
	}
	return b.Signature(roots, testTime)
}

func TestSignature(t *testing.T) {
	authority := newSigner(t, "An Authority", nil)
	author := newSigner(t, "An Author", authority)
	data := zipOf(t, part{name: ManifestName, text: "{}"})
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)

	if s, err := signatureOf(data, roots); s != nil || err != nil {
		t.Errorf("unsigned: %v, %v", s, err)
	}
	signed := author.sign(t, data, nil)
	s, err := signatureOf(signed, roots)
	if err != nil || s.Signer != "An Author" || s.Issuer != "An Authority" || !s.Trusted || len(s.Fingerprint) != 64 {
		t.Fatalf("signed: %+v, %v", s, err)
	}
	if err := unzip(signed, t.TempDir(), DefaultLimits()); err != nil {
		t.Errorf("a signed one: %v", err)
	}
	if s, err := signatureOf(signed, x509.NewCertPool()); err != nil || s.Trusted || s.Why == "" {
		t.Errorf("nobody vouches: %+v, %v", s, err)
	}
	if s, err := signatureOf(authority.sign(t, data, nil), x509.NewCertPool()); err != nil || s.Trusted {
		t.Errorf("signed by itself: %+v, %v", s, err)
	}
}

func TestBadSignature(t *testing.T) {
	author := newSigner(t, "An Author", nil)
	data, other := zipOf(t, part{name: ManifestName, text: "{}"}), zipOf(t, part{name: ManifestName, text: "[]"})
	signed := author.sign(t, data, nil)
	der := signed[len(data):]
	add := func(p *pkcs7.SignedData) {
		if err := p.AddSigner(author.cert, author.key, pkcs7.SignerInfoConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(at int) []byte {
		bad := bytes.Clone(signed)
		bad[at] ^= 1
		return bad
	}
	for what, bad := range map[string][]byte{
		"of another bundle": append(bytes.Clone(other), der...),
		"a bit of it":       flip(len(signed) - len(sigEnd) - 3),
		"its length":        flip(len(data) + len(sigBegin)),
		"its mark":          append(append(bytes.Clone(data), "MCPB_SIG_V2"...), der[len(sigBegin):]...),
		"nothing":           block(data, nil),
		"no ASN.1":          block(data, []byte("hello")),
		"nobody":            author.sign(t, data, func(p *pkcs7.SignedData) { p.Detach() }),
		"two":               author.sign(t, data, func(p *pkcs7.SignedData) { add(p); add(p); p.Detach() }),
		"of itself":         author.sign(t, data, add),
		"with SHA-1": author.sign(t, data, func(p *pkcs7.SignedData) {
			p.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA1)
			add(p)
			p.Detach()
		}),
		"without what it signs": author.sign(t, data, func(p *pkcs7.SignedData) {
			if err := p.SignWithoutAttr(author.cert, author.key, pkcs7.SignerInfoConfig{}); err != nil {
				t.Fatal(err)
			}
			p.Detach()
		}),
		"of nothing at all": block(data, emptySigned(t, author)),
	} {
		s, err := signatureOf(bad, nil)
		if !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
		if what == "of another bundle" && !strings.Contains(err.Error(), "changed after it was signed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// emptySigned signs nothing, without saying so: what a reader that forgets the content
// would take for a signature of it.
func emptySigned(t *testing.T, s *signer) []byte {
	p, err := pkcs7.NewSignedData(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := p.SignWithoutAttr(s.cert, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	p.Detach()
	der, err := p.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return der
}
