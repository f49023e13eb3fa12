//go:build !linux

package netns

import (
	"errors"
	"os"
)

// Prepare needs network namespaces, which are Linux's.
func Prepare(ports []uint16) ([]*os.File, error) { return nil, errors.ErrUnsupported }
