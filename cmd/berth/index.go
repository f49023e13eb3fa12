package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/listing"
)

// indexSource is the index that this user has besides: what the variables of Berth 0.1 name,
// else [registry] index in berth.toml; "" is none.
func (s *site) indexSource() (at string, ttl time.Duration, err error) {
	config, _, err := s.home.ReadConfig()
	if err != nil {
		return "", 0, err
	}
	at = cmp.Or(os.Getenv("BERTH_REGISTRY_INDEX_FILE"), os.Getenv("BERTH_REGISTRY_INDEX_URL"), config.Registry.Index)
	return at, cmp.Or(config.Registry.CacheTTL, 7*24*time.Hour), nil
}

// index returns the entries of the user's index. One that cannot be had is told of, and is
// no error: what the other sources have is there all the same.
func (s *site) index(ctx context.Context) []listing.Entry {
	at, ttl, err := s.indexSource()
	if err != nil || at == "" {
		return nil // a configuration that does not parse is said elsewhere
	}
	doc, err := s.indexDocument(ctx, at, ttl)
	if err != nil {
		s.ui.warn("the index %s is left out: %v", printable(cut(at, 120)), err)
		return nil
	}
	list, bad, err := listing.ParseIndex(doc, at)
	if err != nil {
		s.ui.warn("the index %s is left out: %v", printable(cut(at, 120)), err)
		return nil
	}
	if len(bad) > 0 {
		s.ui.note("%d entries of the index %s are left out, the first because of %s", len(bad), printable(cut(at, 120)), printable(cut(bad[0].Error(), 200)))
	}
	return list
}

// indexDocument reads an index: a file, or the copy of what a URL had, which is fetched
// where there is none that is young enough.
func (s *site) indexDocument(ctx context.Context, at string, ttl time.Duration) ([]byte, error) {
	if !strings.Contains(at, "://") {
		if !filepath.IsAbs(at) {
			return nil, errors.New("its path is not a full one")
		}
		f, err := os.Open(at)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, listing.MaxIndex+1))
	}
	copied, age, err := s.home.ReadIndex(at)
	if err == nil && age <= ttl {
		return copied, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	doc, failed := s.fetchIndex(ctx, at)
	if failed == nil {
		return doc, nil
	}
	if err == nil {
		s.ui.warn("the index %s was not reached, and its copy of %s ago is used: %v", printable(cut(at, 120)), ageText(age), failed)
		return copied, nil
	}
	return nil, failed
}

// fetchIndex fetches an index, and keeps it if it is one.
func (s *site) fetchIndex(ctx context.Context, at string) ([]byte, error) {
	if _, err := guard.CheckURL(at); err != nil {
		return nil, err
	}
	body, err := download(ctx, at)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	doc, err := io.ReadAll(io.LimitReader(body, listing.MaxIndex+1))
	if err == nil {
		_, _, err = listing.ParseIndex(doc, at)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", cut(at, 120), err)
	}
	if err := s.home.WriteIndex(at, doc); err != nil {
		s.ui.note("the index is not kept: %v", err) // where nothing may be written
	}
	return doc, nil
}

// syncIndex fetches the user's index anew, if it is at a URL.
func (s *site) syncIndex(ctx context.Context) error {
	at, _, err := s.indexSource()
	if err != nil || !strings.Contains(at, "://") {
		return err
	}
	doc, err := s.fetchIndex(ctx, at)
	if err != nil {
		return fmt.Errorf("the index: %w", err)
	}
	list, _, err := listing.ParseIndex(doc, at)
	s.ui.say("index: %d servers of %s", len(list), printable(cut(at, 120)))
	return err
}
