package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/keyring"
	"github.com/berth-run/berth/internal/vault"
)

// This file is how this program opens the secret store of a home.

// The variables that say how.
const (
	backendVariable    = "BERTH_SECRET_BACKEND"
	passphraseVariable = "BERTH_SECRET_PASSPHRASE_FILE"
)

// openVault opens the secret store: as the environment says, else berth.toml.
func openVault(h *home.Home) (*vault.Vault, error) {
	place, from := os.Getenv(backendVariable), backendVariable
	if place == "" {
		config, _, err := h.ReadConfig()
		if err != nil {
			return nil, err
		}
		place, from = config.Security.SecretBackend, h.ConfigPath()+": [security] secret_backend"
	}
	if place == "auto" {
		place = ""
	}
	v, err := vault.Open(h, &vault.Options{
		Place: vault.Place(place), Keyring: keyring.Keyring{}, Passphrase: passphrase,
	})
	if err != nil {
		return nil, berth.WithHint(fmt.Errorf("%s: %w", from, err), hintOf(err))
	}
	return v, nil
}

// passphrase gets the passphrase of the store's key: from the file that a variable
// names, or from whoever sits at the terminal. A new one is typed twice.
func passphrase(again bool) (string, error) {
	if path := os.Getenv(passphraseVariable); path != "" {
		return passphraseIn(path)
	}
	if !isTerminal(os.Stdin) {
		return "", berth.WithHint(errors.New("the key of the secret store is encrypted with a passphrase, and there is nobody to ask"),
			"put the passphrase into a file of mode 0600 that "+passphraseVariable+" names")
	}
	first, err := typed("passphrase of the secret store: ")
	if err != nil || !again {
		return first, err
	}
	second, err := typed("once more: ")
	if err == nil && first != second {
		err = errors.New("the two are not the same")
	}
	return first, err
}

func typed(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	line, err := readHidden(os.Stdin)
	fmt.Fprintln(os.Stderr)
	if err == nil && len(line) == 0 {
		err = errors.New("nothing was typed")
	}
	return line, err
}

func passphraseIn(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", passphraseVariable, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", berth.WithHint(fmt.Errorf("%s: %s may be read by other users (mode %04o)", passphraseVariable, path, info.Mode().Perm()), "chmod 600 "+path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", passphraseVariable, err)
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return "", fmt.Errorf("%s: %s is empty", passphraseVariable, path)
	}
	return string(text), nil
}
