package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// This file is how variables of a server's environment are given.

// buildEnv joins the variables of the files and of the flags.
func buildEnv(o addOptions, environ []string) (map[string]string, error) {
	env := map[string]string{}
	for _, file := range o.envFiles {
		doc, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		if err := parseEnvFile(env, file, string(doc), environ); err != nil {
			return nil, err
		}
	}
	for _, entry := range o.env {
		if err := addVariable(env, entry, environ); err != nil {
			return nil, usagef("--env: %v", err).hintFrom(err)
		}
	}
	return env, nil
}

// parseEnvFile adds the variables of a file to env. An error names the line
// and, since the file holds secrets, quotes none of it.
func parseEnvFile(env map[string]string, file, doc string, environ []string) error {
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(doc, "\ufeff")) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		if key, value, ok := strings.Cut(line, "="); ok {
			line = strings.TrimSpace(key) + "=" + unquote(strings.TrimSpace(value))
		}
		if err := addVariable(env, line, environ); err != nil {
			err = berth.WithHint(fmt.Errorf("%s:%d: %w", file, n, err), hintOf(err))
			return &exitError{code: exitUsage, err: err}
		}
	}
	return nil
}

func unquote(v string) string {
	if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

// addVariable adds "K=V", or "K" with the value that K has in environ. Errors
// never show a value.
func addVariable(env map[string]string, entry string, environ []string) error {
	key, value, given := strings.Cut(entry, "=")
	if !isVariableName(key) {
		return errors.New("not a variable: expected K=V or K, where K has letters, digits and _")
	}
	if !given {
		if !slices.ContainsFunc(environ, func(kv string) bool { return sameVariable(kv, key) }) {
			return berth.WithHint(fmt.Errorf("%s is not set", key), "set it, or give its value: "+key+"=…")
		}
		value = valueOf(environ, key)
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("%s: the value holds a NUL byte", key)
	}
	env[key] = value
	return nil
}

// isVariableName is stricter than the system: what else stands before "=" is a
// mistake, such as a path or a secret.
func isVariableName(key string) bool {
	for i, c := range key {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		other := '0' <= c && c <= '9' || c == '.' || c == '-' || runtime.GOOS == "windows" && (c == '(' || c == ')')
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return key != ""
}

// valueOf is the value of a variable in environ, whose last entry wins.
func valueOf(environ []string, key string) (value string) {
	for _, kv := range environ {
		if sameVariable(kv, key) {
			value = kv[len(key)+1:]
		}
	}
	return value
}

func sameVariable(kv, key string) bool {
	if len(kv) <= len(key) || kv[len(key)] != '=' {
		return false
	}
	return kv[:len(key)] == key || runtime.GOOS == "windows" && strings.EqualFold(kv[:len(key)], key)
}
