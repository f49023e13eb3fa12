package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
)

// This file is what the headers of remote servers stand for. A value that is a
// secret is in the secret store, and the server's file refers to it.

// fromEnv begins a value that stands for a variable of whoever starts the server.
const fromEnv = "env:"

// stored is a secret that is to be put into the store.
type stored struct {
	ref   secret.Ref
	value string
}

// putAway has the file refer to the values of headers that are secrets: those that
// were asked for, and those whose name or form tells. It returns what they are.
func putAway(server string, headers []home.Header, asked map[int]bool) (all []stored) {
	for i, h := range headers {
		if _, _, isRef := refIn(h.Value); isRef || strings.HasPrefix(h.Value, fromEnv) ||
			!asked[i] && !secret.LooksSecret(h.Name) && secret.MaskText(h.Value) == h.Value {
			continue
		}
		ref := secret.Ref{Server: server, Key: "header-" + strings.ToLower(h.Name)}
		if _, err := secret.ParseRef(ref.String()); err != nil {
			ref.Key = fmt.Sprintf("header-%d", i+1) // names of headers may hold more than keys
		}
		headers[i].Value = ref.String()
		all = append(all, stored{ref, h.Value})
	}
	return all
}

// refIn is the reference in a value, and what stands before it: a scheme of
// Authorization, as in "Bearer secret://NAME/KEY". isRef is true also of one that is
// not well formed.
func refIn(value string) (scheme, ref string, isRef bool) {
	if secret.IsRef(value) {
		return "", value, true
	}
	scheme, ref, ok := strings.Cut(value, " ")
	if ok && secret.IsRef(ref) {
		return scheme + " ", ref, true
	}
	return "", "", false
}

// headerValue is what a header's value stands for.
func (s *site) headerValue(server, value string) (string, error) {
	if scheme, ref, isRef := refIn(value); isRef {
		got, err := s.lookUp(server, ref)
		return scheme + got, err
	}
	if name, isVariable := strings.CutPrefix(value, fromEnv); isVariable {
		got, set := os.LookupEnv(name)
		if !set {
			return "", berth.WithHint(fmt.Errorf("%s is not set", name), "set it where the server is started, also for `berth up`")
		}
		return strings.TrimSpace(got), nil
	}
	return value, nil
}

// resolveHeaders has the headers of a remote server be what they stand for.
func (s *site) resolveHeaders(server home.Server, spec *berth.ProcessSpec) error {
	headers, err := server.Headers()
	if err != nil {
		return err
	}
	for i, h := range headers {
		value, err := s.headerValue(server.Name, h.Value)
		if err == nil {
			err = home.CheckHeader(h.Name, value)
		}
		if err != nil {
			return berth.WithHint(fmt.Errorf("%w: server %q: header %s: %w", berth.ErrBadConfig, server.Name, h.Name, err), hintOf(err))
		}
		key := fmt.Sprintf("%s%d", home.RemoteHeader, i)
		spec.Env[key] = value
		if value != h.Value {
			spec.Secrets = append(spec.Secrets, key)
		}
	}
	return nil
}

// maskerOf knows the values of headers, and the token alone of one that is
// "Bearer TOKEN".
func maskerOf(env map[string]string, values []string) *secret.Masker {
	all := values[:len(values):len(values)]
	for _, v := range values {
		if _, token, ok := strings.Cut(v, " "); ok {
			all = append(all, token)
		}
	}
	return secret.NewMasker(env, all...)
}
