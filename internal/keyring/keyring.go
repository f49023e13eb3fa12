// Package keyring keeps short texts in the keyring of the user's session: the
// Keychain on macOS, the Credential Manager on Windows, the Secret Service elsewhere.
//
// A keyring may be locked and ask its user, who may not be there, and some never
// answer: each call has an end.
package keyring

import (
	"errors"
	"fmt"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/berth-run/berth"
)

// service is what Berth's items are called in the keyring.
const service = "berth"

// patience is how long the keyring may take, with a person who types a password.
const patience = 30 * time.Second

// ErrNotFound: the keyring has no such item.
var ErrNotFound = errors.New("not in the keyring")

// Keyring is that of this user's session. The zero value is ready.
type Keyring struct{}

// Get returns an item, or an error that wraps ErrNotFound.
func (Keyring) Get(account string) (value string, err error) {
	err = within(func() (err error) {
		value, err = keyring.Get(service, account)
		return err
	})
	if err != nil {
		return "", err
	}
	return value, nil
}

// Set keeps an item.
func (Keyring) Set(account, value string) error {
	return within(func() error { return keyring.Set(service, account, value) })
}

// Delete removes an item, or returns an error that wraps ErrNotFound.
func (Keyring) Delete(account string) error {
	return within(func() error { return keyring.Delete(service, account) })
}

// Available returns nil if this session seems to have a keyring, and else why not. It
// asks nobody: whether it opens is seen when it is used.
func (Keyring) Available() error { return available() }

// within asks the keyring something. What never answers is left behind: the library
// has no way to take a question back, and a command ends soon.
func within(ask func() error) error {
	if err := available(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- ask() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		err = fmt.Errorf("it has not answered for %v", patience)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return ErrNotFound
	}
	return berth.WithHint(fmt.Errorf("the keyring of this session: %w", err), "unlock it, or use a session in which it is unlocked")
}
