package home

import "sync"

// Rules reads profiles and clients for who asks on each request: a file that is as
// it was is not read again. Asking costs microseconds, and a change is seen by who
// asks next. It may be used by several goroutines; its zero value is not ready, see
// Home.Rules.
type Rules struct {
	home *Home

	mu       sync.Mutex // guards the fields below
	profiles map[string]read[Profile]
	clients  map[string]read[Client]
}

// read is what a file said and the stamp that was taken before it was read.
type read[T any] struct {
	stamp Stamp
	value T
}

// Rules returns a reader that has read nothing yet.
func (h *Home) Rules() *Rules {
	return &Rules{home: h, profiles: map[string]read[Profile]{}, clients: map[string]read[Client]{}}
}

// Profile is ReadProfile; it returns the warnings each time that the file is read.
func (r *Rules) Profile(name string) (p Profile, warnings []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return again(r.profiles, name, r.home.ProfileStamp, r.home.ReadProfile)
}

// Client is ReadClient; it returns the warnings each time that the file is read.
func (r *Rules) Client(name string) (c Client, warnings []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return again(r.clients, name, r.home.ClientStamp, r.home.ReadClient)
}

// again returns what was read before, or reads. What cannot be read is not kept, so
// that names which nobody has take no memory.
func again[T any](kept map[string]read[T], name string, stampOf func(string) Stamp, readAll func(string) (T, []string, error)) (T, []string, error) {
	stamp := stampOf(name)
	if was, ok := kept[name]; ok && was.stamp == stamp && stamp.Settled {
		return was.value, nil, nil
	}
	value, warnings, err := readAll(name)
	if err != nil {
		delete(kept, name)
		return value, nil, err
	}
	kept[name] = read[T]{stamp, value}
	return value, warnings, nil
}
