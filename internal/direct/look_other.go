//go:build !linux || !(amd64 || arm64)

package direct

import "os"

// Looker looks at files again and again, by their paths: the ordinary way here, see
// half. Several goroutines may use it; its zero value is ready.
type Looker struct{}

// Look returns when the file at a path was last written, in nanoseconds since the
// epoch, and how long it is.
func (l *Looker) Look(path string) (written, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.ModTime().UnixNano(), info.Size(), nil
}
