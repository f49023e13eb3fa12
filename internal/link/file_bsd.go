//go:build unix && !linux && !darwin

package link

// exchange would exchange two files; no call of this system does.
func exchange(string, string) (bool, error) { return false, nil }
