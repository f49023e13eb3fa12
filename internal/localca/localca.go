// Package localca is a certificate authority of one home: it makes the certificates
// by which clients know the gateway of that home, and no other machine's.
//
//	ca.pem ──▶ clients      ca.key ──▶ Open ──▶ Leaf, anew each day
//
// What it makes is kept by the caller.
package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// caLives is how long a CA is good for: its certificate is in clients' settings.
	caLives = 10 * 365 * 24 * time.Hour
	// LeafLives is how long a certificate of the gateway is. It is kept in memory
	// only, and another is made once half of that is over.
	LeafLives = 48 * time.Hour
	// skew is how far clocks may differ.
	skew = time.Hour
)

// CA is a certificate authority.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes a CA and returns its certificate and its key, each as PEM.
func New(name string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"Berth"}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(caLives),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a CA: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// Open returns the CA of a certificate and its key; an error if they are not those
// of one that is good now.
func Open(cert, key []byte, now time.Time) (*CA, error) {
	block, rest := pem.Decode(cert)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it holds no certificate, or more than one")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("its key is not in order: %w", err)
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	switch {
	case !ok || !c.IsCA:
		return nil, errors.New("it is not one that Berth has made")
	case now.After(c.NotAfter.Add(-LeafLives)):
		return nil, fmt.Errorf("it expires at %s", c.NotAfter.Format(time.RFC3339))
	}
	return &CA{cert: c, key: private}, nil
}

// Leaf makes a certificate for a server of these names and addresses.
func (ca *CA) Leaf(hosts []string, now time.Time) (*tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Berth"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(LeafLives),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: private, Leaf: leaf}, nil
}
