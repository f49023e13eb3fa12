package home

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
)

// The tokens by which clients are known are kept as hashes in tokens.json: who
// reads the file cannot use them. SHA-256 is enough for that. A slow hash makes it
// dear to try the passwords that people choose; a token is 256 random bits, which
// nobody tries, and is hashed once for each request.

const (
	// TokenPrefix begins every token, so that programs that look for secrets in
	// files and logs find one.
	TokenPrefix = "berth_"
	// TokenLength is the length of a token, in bytes: of the prefix and of 256 bits in
	// base 32.
	TokenLength = len(TokenPrefix) + 52

	// tokensMost bounds how many tokens a home has, and tokensBytes the file.
	tokensMost  = 1000
	tokensBytes = 1 << 20
)

// tokenDigits write the bits of a token: nothing in them ends a word in a terminal,
// and nothing has to be escaped anywhere.
const tokenDigits = "abcdefghijklmnopqrstuvwxyz234567"

// IsToken says whether a text has the form of a token.
func IsToken(text string) bool {
	digits, ok := strings.CutPrefix(text, TokenPrefix)
	return ok && len(text) == TokenLength && strings.Trim(digits, tokenDigits) == ""
}

var (
	// ErrNoToken: there is no such token.
	ErrNoToken = errors.New("no such token")
	// ErrTokenExpired: the token has expired.
	ErrTokenExpired = errors.New("the token has expired")
)

// digitsOf writes 256 bits, five to a digit.
func digitsOf(bits [32]byte) string {
	digits := make([]byte, 0, TokenLength-len(TokenPrefix))
	var left, n uint
	for _, b := range bits {
		left, n = left<<8|uint(b), n+8
		for ; n >= 5; n -= 5 {
			digits = append(digits, tokenDigits[left>>(n-5)&31])
		}
	}
	return string(append(digits, tokenDigits[left<<(5-n)&31]))
}

// TokenSum is what a token is known by.
type TokenSum [sha256.Size]byte

// SumOf returns what a text is known by if it is a token.
func SumOf(text string) TokenSum { return sha256.Sum256([]byte(text)) }

// storedToken is a token in the file.
type storedToken struct {
	berth.Token
	SHA256 string `json:"sha256"`
}

// tokensFile is the file.
type tokensFile struct {
	Tokens []storedToken `json:"tokens"`
}

func (h *Home) tokensPath() string { return h.path("tokens.json") }

// readTokens reads the file; info is nil where there is none. A file that is
// damaged is an error: it lets nobody in.
func (h *Home) readTokens() (all []storedToken, info fs.FileInfo, err error) {
	f, err := os.Open(h.tokensPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the tokens: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, fmt.Errorf("read the tokens: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, tokensBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the tokens: %w", err)
	}
	all, err = decodeTokens(data)
	if err != nil {
		return nil, info, berth.WithHint(fmt.Errorf("%w %s: %w", berth.ErrBadState, h.tokensPath(), err),
			"nobody is let in by a token until it is in order; remove it to make new tokens")
	}
	return all, info, nil
}

func decodeTokens(data []byte) ([]storedToken, error) {
	if len(data) > tokensBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", tokensBytes)
	}
	var file tokensFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	for _, t := range file.Tokens {
		if err := checkToken(t.Token); err != nil {
			return nil, err
		}
		if sum, err := hex.DecodeString(t.SHA256); err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("the token of %s has no hash", t.Name)
		}
	}
	return file.Tokens, nil
}

func checkToken(t berth.Token) error {
	err := berth.CheckNameOf("client", t.Name)
	if t.Profile != "" && err == nil {
		err = berth.CheckNameOf("profile", t.Profile)
	}
	return err
}

// Tokens lists the tokens of the home, expired ones included, by name.
func (h *Home) Tokens() ([]berth.Token, error) {
	stored, _, err := h.readTokens()
	all := make([]berth.Token, 0, len(stored))
	for _, t := range stored {
		all = append(all, t.Token)
	}
	slices.SortFunc(all, func(a, b berth.Token) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// CreateToken makes a token for a client and returns it: it is kept nowhere. The
// client must have none that works.
func (h *Home) CreateToken(t berth.Token) (token string, err error) {
	if err := checkToken(t); err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // it never fails
	token = TokenPrefix + digitsOf(bits)
	sum := SumOf(token)
	err = h.changeTokens(func(all []storedToken) ([]storedToken, error) {
		for i, other := range all {
			if other.Name != t.Name {
				continue
			}
			if !other.Expired(time.Now()) {
				return nil, berth.WithHint(fmt.Errorf("%s has a token already", t.Name),
					fmt.Sprintf("berth token revoke %s, and create it again; what the old one opened ends", t.Name))
			}
			all = slices.Delete(all, i, i+1)
			break
		}
		if len(all) >= tokensMost {
			return nil, berth.WithHint(fmt.Errorf("there are %d tokens already", len(all)), "revoke those that are not used any more")
		}
		return append(all, storedToken{t, hex.EncodeToString(sum[:])}), nil
	})
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	return token, nil
}

// RevokeToken removes the token of a client; ErrNoToken if it has none.
func (h *Home) RevokeToken(name string) error {
	err := h.changeTokens(func(all []storedToken) ([]storedToken, error) {
		rest := slices.DeleteFunc(slices.Clone(all), func(t storedToken) bool { return t.Name == name })
		if len(rest) == len(all) {
			return nil, berth.WithHint(fmt.Errorf("%w: %s", ErrNoToken, name), "`berth token list` lists those that there are")
		}
		return rest, nil
	})
	if err != nil {
		return fmt.Errorf("revoke a token: %w", err)
	}
	return nil
}

func (h *Home) changeTokens(change func([]storedToken) ([]storedToken, error)) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("tokens"))
	if err != nil {
		return h.writeError(err)
	}
	defer func() { _ = lock.Unlock() }()
	all, _, err := h.readTokens()
	if err != nil {
		return err
	}
	if all, err = change(all); err != nil {
		return err
	}
	data, err := json.MarshalIndent(tokensFile{all}, "", "  ")
	if err != nil {
		return err
	}
	return h.replace(h.tokensPath(), append(data, '\n'))
}

// TokenBook knows whose a token is. It reads the file again when that was changed:
// a token that was revoked is unknown from then on. Its methods may be called
// concurrently.
type TokenBook struct {
	h *Home

	mu    sync.Mutex // guards the fields below
	known []knownToken
	info  fs.FileInfo // of the file that they are from; nil: there was none
	fresh bool        // known and info are those of the file, unless it was changed
}

type knownToken struct {
	berth.Token
	sum TokenSum
}

// TokenBook returns a book of the home's tokens.
func (h *Home) TokenBook() *TokenBook { return &TokenBook{h: h} }

// Find returns whose a token is, by its sum. The error is ErrNoToken,
// ErrTokenExpired, or one that says why it cannot be known.
func (b *TokenBook) Find(sum TokenSum) (berth.Token, error) {
	known, err := b.all()
	if err != nil {
		return berth.Token{}, err
	}
	// How long this takes tells nothing: every token is compared, in constant time.
	found := -1
	for i := range known {
		if subtle.ConstantTimeCompare(known[i].sum[:], sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return berth.Token{}, ErrNoToken
	}
	t := known[found].Token
	if t.Expired(time.Now()) {
		return t, ErrTokenExpired
	}
	return t, nil
}

// all returns the tokens that the file has now.
func (b *TokenBook) all() ([]knownToken, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Stat(b.h.tokensPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if b.fresh && sameFile(info, b.info) {
		return b.known, nil
	}
	stored, info, err := b.h.readTokens()
	if err != nil {
		b.fresh = false
		return nil, err
	}
	known := make([]knownToken, len(stored))
	for i, t := range stored {
		known[i].Token = t.Token
		_, _ = hex.Decode(known[i].sum[:], []byte(t.SHA256)) // decodeTokens has
	}
	b.known, b.info = known, info
	// Of a file that was written just now, another change could go unnoticed.
	b.fresh = info == nil || time.Since(info.ModTime()) > stampSettles
	return known, nil
}

// sameFile says whether two looks at a path saw one file, unchanged.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
