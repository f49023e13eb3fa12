package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// checkProgram says whether a file that begins so can be executed on a system.
func checkProgram(start []byte, goos, goarch string) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("it is %s, and this is %s/%s", fmt.Sprintf(format, args...), goos, goarch)
	}
	has := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return bytes.HasPrefix(start, []byte(p)) })
	}
	switch {
	case has("\x7fELF"):
		if goos == "windows" || goos == "darwin" {
			return no("a program of Linux or its like")
		}
		if machine, known := map[string]uint16{"amd64": 62, "arm64": 183}[goarch]; known && len(start) >= 20 {
			if of := binary.LittleEndian.Uint16(start[18:]); of != machine {
				return no("a program for another processor (ELF machine %d)", of)
			}
		}
	case has("\xcf\xfa\xed\xfe", "\xfe\xed\xfa\xcf", "\xca\xfe\xba\xbe"):
		if goos != "darwin" {
			return no("a program of macOS")
		}
	case has("MZ"):
		if goos != "windows" {
			return no("a program of Windows")
		}
	case has("#!"):
		if goos == "windows" {
			return no("a script, which Windows does not run")
		}
	case has("BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "7z\xbc\xaf\x27\x1c"):
		return errors.New("it is an archive of a kind that Berth does not unpack: zip and tar.gz are")
	case has("<", "\n<", "\ufeff<"):
		return berth.WithHint(errors.New("it is a page and no program"), "use the address of the file itself")
	default:
		return errors.New("it is neither a program of any system, nor a script with #!, nor an archive")
	}
	return nil
}

// findProgram finds the program in a directory that was unpacked: the one that is named,
// else the only one that can be executed.
func findProgram(dir, program string) (string, error) {
	var all []string
	err := walk(dir, func(name string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		path := filepath.Join(dir, name)
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		start := make([]byte, 20)
		n, _ := f.Read(start) // what is empty is no program
		info, err := d.Info()
		if err != nil {
			return err
		}
		may := runtime.GOOS == "windows" || info.Mode()&0o100 != 0
		if slash := filepath.ToSlash(name); program == slash || program == "" && may && checkProgram(start[:n], runtime.GOOS, runtime.GOARCH) == nil {
			all = append(all, slash)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	switch {
	case len(all) == 1:
	case program != "":
		return "", berth.WithHint(fmt.Errorf("there is no %.120q in it", program), "--program PATH names the program in it")
	case len(all) == 0:
		return "", berth.WithHint(errors.New("nothing in it can be executed here"), "--program PATH names the program in it")
	default:
		slices.Sort(all)
		if len(all) > 8 {
			all = append(all[:8], "…")
		}
		return "", berth.WithHint(errors.New("there are several programs in it"), "--program PATH names one: "+strings.Join(all, ", "))
	}
	found := filepath.Join(dir, filepath.FromSlash(all[0]))
	return found, executable(found)
}

// executable has a file be one that its owner may execute: who packs on Windows has no
// modes.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case runtime.GOOS == "windows" || info.Mode()&0o100 != 0:
		return nil
	}
	return os.Chmod(path, info.Mode().Perm()|0o100)
}
