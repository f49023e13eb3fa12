package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/secret"
	"github.com/berth-run/berth/internal/vault"
)

// This file is what references in a server's file (secret://NAME/KEY) stand for. They
// are looked up when the server is started, by whoever starts it, and go to its shim
// by the socket: the shim keeps them in memory, for restarts that nobody asks for.

// storeKey is what a secret is called in the store.
func storeKey(ref secret.Ref) string { return storePrefix(ref.Server) + ref.Key }

func storePrefix(server string) string { return "secret/" + server + "/" }

// headerPrefix begins the keys that berth add makes for headers.
const headerPrefix = "header-"

// secretKeys are the keys of a server's secrets.
func (s *site) secretKeys(server string) ([]string, error) {
	v, err := s.vault()
	if err != nil {
		return nil, err
	}
	keys, err := v.List(storePrefix(server))
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], storePrefix(server))
	}
	return keys, err
}

// store puts secrets into the store. Of the server's headers, those that it had before
// and are none of these go.
func (s *site) store(ctx context.Context, server string, all []stored) error {
	v, err := s.vault()
	if err != nil {
		return err
	}
	old, err := v.List(storePrefix(server) + headerPrefix)
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := v.Set(ctx, storeKey(one.ref), []byte(one.value)); err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(key string) bool { return key == storeKey(one.ref) })
	}
	if len(old) == 0 {
		return nil
	}
	return v.Delete(ctx, old...)
}

// ownRef reads a reference in a server's file: to a secret of that server, which no
// other may have.
func ownRef(server, value string) (secret.Ref, error) {
	ref, err := secret.ParseRef(value)
	if err == nil && ref.Server != server {
		err = berth.WithHint(fmt.Errorf("%w: %s is a secret of another server", berth.ErrBadConfig, ref),
			fmt.Sprintf("berth secret set %s/%s gives this one a secret of its own", server, ref.Key))
	}
	return ref, err
}

// lookUp returns the secret that a reference in a server's file stands for.
func (s *site) lookUp(server, value string) (string, error) {
	ref, err := ownRef(server, value)
	if err != nil {
		return "", err
	}
	v, err := s.vault()
	if err != nil {
		return "", err
	}
	got, err := v.Get(storeKey(ref))
	if errors.Is(err, vault.ErrNotFound) {
		hint := fmt.Sprintf("berth secret set %s/%s", ref.Server, ref.Key)
		if strings.HasPrefix(ref.Key, headerPrefix) {
			hint += "; berth add --replace --header K asks for it, too"
		}
		if old := s.oldSecrets(); old != "" {
			hint += "; what Berth 0.1 may have left in " + old + " is not read"
		}
		err = berth.WithHint(fmt.Errorf("there is no secret %s", ref), hint)
	}
	return string(got), err
}

// checkRefs returns an error for what refers to a secret in a way that cannot be: to
// another server's, or where the value would be seen.
func checkRefs(server home.Server) error {
	bad := func(where string, err error) error {
		return berth.WithHint(fmt.Errorf("%w: server %q: %s: %v", berth.ErrBadConfig, server.Name, where, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")), hintOf(err))
	}
	for _, table := range []struct {
		name   string
		values map[string]string
	}{{"env", server.Env}, {"config", server.Config}} {
		for _, key := range slices.Sorted(maps.Keys(table.values)) {
			if value := table.values[key]; secret.IsRef(value) {
				if _, err := ownRef(server.Name, value); err != nil {
					return bad("["+table.name+"] "+key, err)
				}
			}
		}
	}
	headers, err := server.Headers()
	if err != nil {
		return err
	}
	for _, h := range headers {
		if _, ref, isRef := refIn(h.Value); isRef {
			if _, err := ownRef(server.Name, ref); err != nil {
				return bad("header "+h.Name, err)
			}
		}
	}
	for i, arg := range append([]string{server.Runtime.Command}, server.Runtime.Args...) {
		if strings.Contains(arg, secret.Scheme) {
			where := fmt.Sprintf("[runtime] argument %d", i)
			if i == 0 {
				where = "[runtime] command"
			}
			return bad(where, berth.WithHint(errors.New("a reference to a secret is not looked up here: every user of this machine sees the arguments of a process"),
				"have the server read it from its environment: [env] or berth add --secret"))
		}
	}
	return nil
}

// resolve has the values of a server's file that refer to secrets be what they stand
// for. It is done for a start only: who merely looks at a server needs none of them.
func (s *site) resolve(server home.Server, spec *berth.ProcessSpec) error {
	for _, key := range slices.Sorted(maps.Keys(server.Env)) {
		if _, given := spec.Env[key]; !given || !secret.IsRef(server.Env[key]) {
			continue // one that was revoked is not given
		}
		value, err := s.lookUp(server.Name, server.Env[key])
		if err == nil && strings.ContainsRune(value, 0) {
			err = errors.New("the secret holds a NUL byte, which no variable can")
		}
		if err != nil {
			return berth.WithHint(fmt.Errorf("%w: server %q: [env] %s: %w", berth.ErrBadConfig, server.Name, key, err), hintOf(err))
		}
		spec.Env[key] = value
		spec.Secrets = append(spec.Secrets, key)
	}
	if server.Remote() {
		return s.resolveHeaders(server, spec)
	}
	return nil
}

// mask is the masker of what a server is given, env among it.
func (s *site) mask(server home.Server, env map[string]string) *secret.Masker {
	var values []string
	for _, value := range server.Env {
		if secret.IsRef(value) {
			if got, err := s.lookUp(server.Name, value); err == nil {
				values = append(values, got)
			}
		}
	}
	headers, err := server.Headers()
	if err != nil {
		headers = nil // a start says what is wrong
	}
	for _, h := range headers {
		if value, err := s.headerValue(server.Name, h.Value); err == nil {
			values = append(values, value)
		}
	}
	return maskerOf(env, values)
}
