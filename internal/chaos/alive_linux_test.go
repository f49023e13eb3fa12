//go:build failpoint

package chaos

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

const nullSignal = syscall.Signal(0)

// isZombie says whether a child of ours has ended.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(after, []byte("Z"))
}
