package bundle

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/smallstep/pkcs7"
)

// ErrSignature: a bundle has a signature that is not one of what is in it.
var ErrSignature = errors.New("the signature of the bundle is bad")

// A signature is what follows the zip file: a mark, the length of a PKCS #7 message in four
// bytes, the least first, the message, and another mark. The message is detached: it
// signs all that is before the first mark. (@anthropic-ai/mcpb 2.1.2, dist/node/sign.js.)
const (
	sigBegin = "MCPB_SIG_V1"
	sigEnd   = "MCPB_SIG_END"
	maxSig   = 1 << 20
)

// signed says where the content of a file ends, and returns the message that follows it.
func signed(r io.ReaderAt, size int64) (content int64, der []byte, err error) {
	const around = len(sigBegin) + 4 + len(sigEnd)
	tail := make([]byte, min(size, maxSig+int64(around)))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	if !bytes.HasSuffix(tail, []byte(sigEnd)) {
		return size, nil, nil
	}
	// The mark may be a part of the message by chance: it is the one with the right length.
	for before := tail; ; {
		i := bytes.LastIndex(before, []byte(sigBegin))
		if i < 0 {
			return 0, nil, fmt.Errorf("%w: its block is damaged, or longer than %d bytes", ErrSignature, maxSig)
		}
		rest := tail[i+len(sigBegin):]
		if n := len(rest) - 4 - len(sigEnd); n >= 0 && int64(binary.LittleEndian.Uint32(rest)) == int64(n) {
			return size - int64(len(tail)-i), rest[4 : 4+n], nil
		}
		before = before[:i]
	}
}

// Signature is what a signature that is good says.
type Signature struct {
	// Signer is the name in the certificate, Issuer that of who gave it out, and
	// Fingerprint the SHA-256 of the certificate.
	Signer, Issuer, Fingerprint string
	// Trusted: an authority that is trusted here vouches for it, for signing code, now;
	// Why says why none does.
	Trusted bool
	Why     string
}

// Signature checks the signature that follows the bundle; nil if there is none. An error
// wraps ErrSignature if it is bad. Roots are the authorities; nil for those of the system.
func (b *Bundle) Signature(roots *x509.CertPool, now time.Time) (*Signature, error) {
	if b.der == nil {
		return nil, nil
	}
	bad := func(format string, args ...any) (*Signature, error) {
		return nil, fmt.Errorf("%w: %s", ErrSignature, fmt.Sprintf(format, args...))
	}
	p, err := pkcs7.Parse(b.der)
	if err != nil {
		return bad("%v", err)
	}
	if len(p.Content) > 0 {
		return bad("it has contents of its own")
	}
	leaf := p.GetOnlySigner()
	if leaf == nil {
		return bad("it is not of one signer who is named")
	}
	var digest []byte
	if err := p.UnmarshalSignedAttribute(pkcs7.OIDAttributeMessageDigest, &digest); err != nil {
		return bad("it does not say what it signs")
	}
	p.Hasher = &hasher{b}
	if err := p.Verify(); err != nil {
		var other *pkcs7.MessageDigestMismatchError
		if errors.As(err, &other) {
			return bad("the bundle was changed after it was signed")
		}
		return bad("%v", err)
	}
	print := sha256.Sum256(leaf.Raw)
	s := &Signature{Signer: name(leaf.Subject.CommonName), Issuer: name(leaf.Issuer.CommonName), Fingerprint: hex.EncodeToString(print[:])}
	between := x509.NewCertPool()
	for _, c := range p.Certificates {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if s.Trusted = err == nil; err != nil {
		s.Why = err.Error()
	}
	return s, nil
}

func name(common string) string {
	if common == "" {
		return "somebody without a name"
	}
	return common
}

// hasher hashes the content in the place of what the message has in it, which is nothing.
type hasher struct{ b *Bundle }

// Hash implements pkcs7.Hasher.
func (h *hasher) Hash(with crypto.Hash, _ io.Reader) ([]byte, error) {
	switch with {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("it hashes with %v, which is weak", with)
	}
	sum := with.New()
	if _, err := io.Copy(sum, io.NewSectionReader(h.b.r, 0, h.b.content)); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}
