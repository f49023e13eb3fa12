package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"

	"github.com/berth-run/berth"
)

// Place is where the key of the store is.
type Place string

const (
	// PlaceAny is where the key is; a new one goes into the keyring, or where there is
	// none into a file.
	PlaceAny Place = ""
	// PlaceKeyring is the keyring of the user's session.
	PlaceKeyring Place = "keyring"
	// PlaceFile is a file beside the store.
	PlaceFile Place = "file"
	// PlacePassphrase is a file beside the store that is encrypted with a passphrase.
	PlacePassphrase Place = "passphrase"
)

// The files that say where the key is. There is one of them.
const (
	identityFile = "identity.txt"
	sealedFile   = "identity.age"
	keyringFile  = "identity.keyring"
)

// placeFiles has the file of each place, in the order in which to look.
func placeFiles() []struct {
	place Place
	file  string
} {
	return []struct {
		place Place
		file  string
	}{{PlaceKeyring, keyringFile}, {PlacePassphrase, sealedFile}, {PlaceFile, identityFile}}
}

// Keyring keeps short texts outside the home; internal/keyring has one.
type Keyring interface {
	Get(account string) (string, error)
	Set(account, value string) error
	Delete(account string) error
	// Available returns why there is none.
	Available() error
}

// Options say where the key of the store is to be.
type Options struct {
	// Place is where the user wants it; a key that is elsewhere is an error then.
	Place Place
	// Keyring is nil where there is none.
	Keyring Keyring
	// Passphrase asks for the passphrase; again is for a new one, which is to be
	// typed twice. Nil: nobody can be asked.
	Passphrase func(again bool) (string, error)
}

// errNoKey: there is no key yet.
var errNoKey = errors.New("the secret store has no key yet")

// scryptWork is how much it costs to try a passphrase, as a power of two: a second
// or so, and 256 MiB.
const scryptWork = 18

// Place returns where the key is, or where a new one would go.
func (v *Vault) Place() (place Place, there bool, err error) {
	place, err = v.look()
	switch {
	case err == nil:
		return place, true, nil
	case errors.Is(err, errNoKey):
		return v.wanted(), false, nil
	}
	return "", false, err
}

// wanted is the place of a new key.
func (v *Vault) wanted() Place {
	switch {
	case v.o.Place != PlaceAny:
		return v.o.Place
	case v.o.Keyring != nil && v.o.Keyring.Available() == nil:
		return PlaceKeyring
	}
	return PlaceFile
}

// look finds out where the key is. After a move that was cut short it is in two
// places, the same in both.
func (v *Vault) look() (Place, error) {
	for _, p := range placeFiles() {
		_, _, err := v.files.StatCredential(p.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look for the key of the secret store: %w", err)
		}
		if v.o.Place != PlaceAny && v.o.Place != p.place {
			return "", berth.WithHint(fmt.Errorf("%w: the key of the secret store is to be in the %s, by BERTH_SECRET_BACKEND or berth.toml, and is in the %s",
				berth.ErrBadConfig, v.o.Place, p.place), fmt.Sprintf("berth secret move %s moves it", v.o.Place))
		}
		return p.place, nil
	}
	return "", errNoKey
}

// keyPath is where the key is, in words.
func (v *Vault) keyPath() string {
	for _, p := range placeFiles() {
		if _, _, err := v.files.StatCredential(p.file); err == nil {
			return v.files.CredentialPath(p.file)
		}
	}
	return v.files.CredentialPath(identityFile)
}

// forget has the key be looked for again.
func (v *Vault) forget() {
	v.keyMu.Lock()
	defer v.keyMu.Unlock()
	v.found, v.key = "", nil
}

// identity returns the key, or errNoKey. One that costs to look up is kept.
func (v *Vault) identity() (*age.X25519Identity, error) {
	v.keyMu.Lock()
	defer v.keyMu.Unlock()
	place, err := v.look()
	if err != nil {
		return nil, err
	}
	if place == v.found && place != PlaceFile {
		return v.key, nil
	}
	id, err := v.readKey(place)
	if err == nil {
		v.found, v.key = place, id
	}
	return id, err
}

func (v *Vault) readKey(place Place) (*age.X25519Identity, error) {
	switch place {
	case PlaceKeyring:
		data, err := v.files.ReadCredential(keyringFile)
		if err != nil {
			return nil, fmt.Errorf("read where the key of the secret store is: %w", err)
		}
		if v.o.Keyring == nil {
			return nil, fmt.Errorf("the key of the secret store is in a keyring: %w", errors.ErrUnsupported)
		}
		account, ok := line(data)
		if !ok {
			return nil, v.damaged(keyringFile, "it names no item of a keyring")
		}
		text, err := v.o.Keyring.Get(account)
		if err != nil {
			return nil, fmt.Errorf("get the key of the secret store (%s): %w", account, err)
		}
		return v.parse(keyringFile, []byte(text))
	case PlacePassphrase:
		data, err := v.files.ReadCredential(sealedFile)
		if err != nil {
			return nil, fmt.Errorf("read the key of the secret store: %w", err)
		}
		return v.unseal(data)
	}
	data, err := v.files.ReadCredential(identityFile)
	if err != nil {
		return nil, fmt.Errorf("read the key of the secret store: %w", err)
	}
	return v.parse(identityFile, data)
}

// line is the first line of a file that is no comment.
func line(data []byte) (string, bool) {
	for l := range strings.Lines(string(data)) {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			return l, true
		}
	}
	return "", false
}

func (v *Vault) parse(file string, data []byte) (*age.X25519Identity, error) {
	if text, ok := line(data); ok {
		// The parser's error may quote the line.
		if id, err := age.ParseX25519Identity(text); err == nil {
			return id, nil
		}
	}
	return nil, v.damaged(file, "it holds no X25519 identity of age")
}

func (v *Vault) unseal(data []byte) (*age.X25519Identity, error) {
	phrase, err := v.ask(false)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(phrase)
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(scryptWork + 2)
	plain, err := age.Decrypt(bytes.NewReader(data), id)
	if err != nil {
		var wrong *age.NoIdentityMatchError
		if errors.As(err, &wrong) {
			return nil, fmt.Errorf("that is not the passphrase of %s", v.files.CredentialPath(sealedFile))
		}
		return nil, v.damaged(sealedFile, "it is not a file of age, or damaged")
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, v.damaged(sealedFile, "it was changed or cut off")
	}
	return v.parse(sealedFile, text)
}

func (v *Vault) ask(again bool) (string, error) {
	if v.o.Passphrase == nil {
		return "", berth.WithHint(errors.New("the key of the secret store is encrypted with a passphrase, and there is nobody to ask"),
			"put the passphrase into a file of mode 0600 that BERTH_SECRET_PASSPHRASE_FILE names; or berth secret move keyring")
	}
	return v.o.Passphrase(again)
}

// newIdentity draws a key and puts it where it is to be, before anything is encrypted
// to it. The caller has the lock.
func (v *Vault) newIdentity() (*age.X25519Identity, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make the key of the secret store: %w", err)
	}
	place := v.wanted()
	err = v.writeKey(place, id)
	if err != nil && place == PlaceKeyring && v.o.Place == PlaceAny {
		// It is there and does not open: the file does what it would have.
		err = v.writeKey(PlaceFile, id)
	}
	if err != nil {
		return nil, fmt.Errorf("write the key of the secret store: %w", err)
	}
	return id, nil
}

// writeKey puts the key into a place, and looks that it can be had from there.
func (v *Vault) writeKey(place Place, id *age.X25519Identity) error {
	const head = "# The key of vault.age beside it"
	switch place {
	case PlaceKeyring:
		if v.o.Keyring == nil {
			return fmt.Errorf("there is no keyring: %w", errors.ErrUnsupported)
		}
		if err := v.o.Keyring.Available(); err != nil {
			return err
		}
		account := "secret store " + rand.Text()
		if err := v.o.Keyring.Set(account, id.String()); err != nil {
			return err
		}
		if got, err := v.o.Keyring.Get(account); err != nil || got != id.String() {
			return errors.Join(errors.New("the keyring does not give back what it was given"), err)
		}
		return v.files.WriteCredential(keyringFile, []byte(head+" is this item of the keyring, of the service \"berth\".\n"+account+"\n"))
	case PlacePassphrase:
		phrase, err := v.ask(true)
		if err != nil {
			return err
		}
		to, err := age.NewScryptRecipient(phrase)
		if err != nil {
			return err
		}
		to.SetWorkFactor(scryptWork)
		data, err := encrypt(to, []byte(id.String()+"\n"))
		if err != nil {
			return err
		}
		return v.files.WriteCredential(sealedFile, data)
	}
	return v.files.WriteCredential(identityFile, []byte(head+". Whoever has both files has what is in them.\n"+id.String()+"\n"))
}

// Move puts the key, which stays the same, into another place. A copy of the old one
// that was made before opens the store as it did.
func (v *Vault) Move(ctx context.Context, to Place) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it was not free for %v", patience))
	defer cancel()
	unlock, err := v.files.LockCredentials(ctx, "vault")
	if err != nil {
		return fmt.Errorf("change the secret store: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	v.o.Place = PlaceAny
	v.forget()
	id, err := v.identity()
	if errors.Is(err, errNoKey) {
		v.o.Place = to
		_, err = v.newIdentity()
		return err
	}
	if err != nil {
		return err
	}
	from := v.found
	if from == to {
		return nil
	}
	account := ""
	if from == PlaceKeyring {
		if data, err := v.files.ReadCredential(keyringFile); err == nil {
			account, _ = line(data)
		}
	}
	if err := v.writeKey(to, id); err != nil {
		return fmt.Errorf("move the key of the secret store: %w", err)
	}
	v.forget()
	for _, p := range placeFiles() {
		if p.place == from {
			err = v.files.RemoveCredential(p.file)
		}
	}
	if err == nil && account != "" {
		err = v.o.Keyring.Delete(account)
	}
	if err != nil {
		return fmt.Errorf("the key of the secret store is in the %s now, and in the %s still: %w", to, from, err)
	}
	return nil
}

func encrypt(to age.Recipient, text []byte) ([]byte, error) {
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}
