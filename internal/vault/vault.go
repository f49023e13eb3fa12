// Package vault keeps secrets: values by key, in one file that is encrypted with
// age. It is what berth auth puts tokens in, and berth secret what it is given.
//
//	credentials/vault.age   a JSON object, encrypted to the key
//
// The key is an age X25519 identity, drawn at random. It is in one of these places:
//
//	credentials/identity.keyring   names the item of the session's keyring that has it
//	credentials/identity.age       has it, encrypted with a passphrase
//	credentials/identity.txt       has it as it is
//
// All are of mode 0600. A copy of vault.age alone, in a backup or a synchronised
// directory, tells nothing, and an edited one is noticed; but with the key in
// identity.txt whoever can read both files, as every program of the user can, has all
// that is in them. With a keyring or a passphrase it is so for a copy of all files, too.
//
// A file that does not open is an error that names it, and is left as it is.
//
//	v, err := vault.Open(home, nil)
//	err = v.Set(ctx, "oauth/…", value)
package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/berth-run/berth"
)

// Files is where the store is; internal/home has it. A file is replaced as a whole
// or not at all.
type Files interface {
	// CredentialPath returns a file's path, for messages.
	CredentialPath(name string) string
	// ReadCredential returns a file's bytes; fs.ErrNotExist if there is none.
	ReadCredential(name string) ([]byte, error)
	// StatCredential returns what tells whether a file was replaced: not if it is
	// as it was, and was settled then.
	StatCredential(name string) (info fs.FileInfo, settled bool, err error)
	// WriteCredential replaces a file.
	WriteCredential(name string, data []byte) error
	// RemoveCredential removes a file, if there is one.
	RemoveCredential(name string) error
	// LockCredentials takes a lock that excludes other processes and goroutines.
	LockCredentials(ctx context.Context, word string) (unlock func() error, err error)
}

// vaultFile is the file of the store.
const vaultFile = "vault.age"

// Bounds of what is kept. The whole is written at each change.
const (
	maxKey   = 2 << 10  // bytes
	maxValue = 64 << 10 // bytes
	maxKeys  = 1024
)

// patience is how long a change waits for one that another process makes; that
// takes milliseconds.
const patience = 10 * time.Second

// ErrNotFound: there is no value of that key.
var ErrNotFound = errors.New("no such secret")

// Vault is the secret store of a home. It may be used by several goroutines and
// processes at a time.
type Vault struct {
	files Files
	o     Options

	mu    sync.Mutex  // guards the fields below
	of    fs.FileInfo // the file that was read last; nil if it may have changed since
	known map[string][]byte

	keyMu sync.Mutex // guards the fields below; it is taken after mu
	found Place      // where the key was found; "" if it is to be looked for
	key   *age.X25519Identity
}

// Open returns the store that lies in files. It reads and makes nothing.
func Open(files Files, o *Options) (*Vault, error) {
	v := &Vault{files: files}
	if o != nil {
		v.o = *o
	}
	switch v.o.Place {
	case PlaceAny, PlaceFile, PlaceKeyring, PlacePassphrase:
		return v, nil
	}
	return nil, berth.WithHint(fmt.Errorf("%w: that is no place for the key of the secret store", berth.ErrBadConfig),
		"the places are keyring, file and passphrase")
}

// Get returns the value of a key, or an error that wraps ErrNotFound.
func (v *Vault) Get(key string) ([]byte, error) {
	all, err := v.current()
	if err != nil {
		return nil, err
	}
	value, ok := all[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, key)
	}
	return bytes.Clone(value), nil
}

// List returns the keys that begin with prefix, sorted.
func (v *Vault) List(prefix string) ([]string, error) {
	all, err := v.current()
	if err != nil {
		return nil, err
	}
	keys := slices.Sorted(maps.Keys(all))
	return slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, prefix) }), nil
}

// Set keeps a value. A key has 1 to 2048 bytes without control characters, a value
// 64 KiB at most.
func (v *Vault) Set(ctx context.Context, key string, value []byte) error {
	if key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("keep a secret: %.64q is no key", key)
	}
	if len(value) > maxValue {
		return fmt.Errorf("keep the secret %s: it has %d bytes, more than %d", key, len(value), maxValue)
	}
	return v.change(ctx, func(all map[string][]byte) error {
		if _, there := all[key]; !there && len(all) >= maxKeys {
			return fmt.Errorf("keep the secret %s: there are %d", key, len(all))
		}
		all[key] = value
		return nil
	})
}

// Delete forgets keys; one that is not there is no error.
func (v *Vault) Delete(ctx context.Context, keys ...string) error {
	return v.change(ctx, func(all map[string][]byte) error {
		for _, key := range keys {
			delete(all, key)
		}
		return nil
	})
}

// Lock takes a lock of its own for what must not be done twice at the same time
// with a value, such as to trade it for another. It is not needed for Set.
func (v *Vault) Lock(ctx context.Context, word string) (unlock func() error, err error) {
	return v.files.LockCredentials(ctx, word)
}

// change reads, changes and writes the store under a lock.
func (v *Vault) change(ctx context.Context, f func(map[string][]byte) error) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it was not free for %v", patience))
	defer cancel()
	unlock, err := v.files.LockCredentials(ctx, "vault")
	if err != nil {
		return fmt.Errorf("change the secret store: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := v.read()
	if err != nil {
		return err
	}
	if err := f(all); err != nil {
		return err
	}
	return v.write(all)
}

// current returns all that is kept, which nobody may change. To open the file costs
// a third of a millisecond, and a remote server's process looks for its token before
// each request: what is as it was is not opened again.
func (v *Vault) current() (map[string][]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// Before it is read: what replaces it in between is seen the next time.
	info, settled, err := v.files.StatCredential(vaultFile)
	if err == nil && v.of != nil && os.SameFile(v.of, info) && v.of.ModTime().Equal(info.ModTime()) && v.of.Size() == info.Size() && v.of.Mode() == info.Mode() {
		return v.known, nil
	}
	v.of, v.known = nil, nil
	all, readErr := v.read()
	if readErr == nil && err == nil && settled {
		v.of, v.known = info, all
	}
	return all, readErr
}

// read returns all that is kept: nothing, if nothing ever was.
func (v *Vault) read() (map[string][]byte, error) {
	data, err := v.files.ReadCredential(vaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string][]byte{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret store: %w", err)
	}
	id, err := v.identity()
	if errors.Is(err, errNoKey) {
		return nil, v.damaged(identityFile, "it is not there, and "+v.files.CredentialPath(vaultFile)+" does not open without it")
	}
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bytes.NewReader(data), id)
	if err != nil {
		v.forget() // it may be another's by now
		var foreign *age.NoIdentityMatchError
		if errors.As(err, &foreign) {
			return nil, v.damaged(vaultFile, "it was not encrypted for the key in "+v.keyPath())
		}
		return nil, v.damaged(vaultFile, "it is not a file of age, or damaged")
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, v.damaged(vaultFile, "it was changed or cut off")
	}
	all := map[string][]byte{}
	if json.Unmarshal(text, &all) != nil || all == nil {
		return nil, v.damaged(vaultFile, "what is in it is not Berth's")
	}
	return all, nil
}

// damaged is the error for a file that does not open. It quotes nothing of it.
func (v *Vault) damaged(file, why string) error {
	return berth.WithHint(fmt.Errorf("%w: %s: %s", berth.ErrBadConfig, v.files.CredentialPath(file), why),
		"restore both files of "+v.files.CredentialPath("*")+" from a backup, or move them away and log in anew (berth auth)")
}

// write replaces all that is kept.
func (v *Vault) write(all map[string][]byte) error {
	id, err := v.identity()
	if errors.Is(err, errNoKey) {
		id, err = v.newIdentity()
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	file, err := encrypt(id.Recipient(), text)
	if err != nil {
		return fmt.Errorf("encrypt the secret store: %w", err)
	}
	if err := v.files.WriteCredential(vaultFile, file); err != nil {
		return fmt.Errorf("write the secret store: %w", err)
	}
	return nil
}
