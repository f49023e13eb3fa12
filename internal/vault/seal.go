package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// Seal encrypts something with the store's key, for a file of the caller's: what is
// too long for the store, or read too seldom.
func (v *Vault) Seal(ctx context.Context, plain []byte) (sealed []byte, err error) {
	id, err := v.identity()
	if errors.Is(err, errNoKey) {
		id, err = v.firstIdentity(ctx)
	}
	if err != nil {
		return nil, err
	}
	if sealed, err = encrypt(id.Recipient(), plain); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed, nil
}

// firstIdentity makes the key of a store that has none, unless somebody else was
// faster.
func (v *Vault) firstIdentity(ctx context.Context) (id *age.X25519Identity, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it was not free for %v", patience))
	defer cancel()
	unlock, err := v.files.LockCredentials(ctx, "vault")
	if err != nil {
		return nil, fmt.Errorf("make the key of the secret store: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if id, err = v.identity(); errors.Is(err, errNoKey) {
		id, err = v.newIdentity()
	}
	return id, err
}

// Unseal decrypts what Seal has made.
func (v *Vault) Unseal(sealed []byte) ([]byte, error) {
	id, err := v.identity()
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		v.forget() // it may be another's by now
		return nil, errors.New("it was not encrypted for the key in " + v.keyPath() + ", or is damaged")
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, errors.New("it was changed or cut off")
	}
	return plain, nil
}
